"""Responses by request: stored ones, or new ones that are in the ledger before they are sent and stored before use."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from equal_hf.errors import EndpointError
from equal_hf.extraction.batch.sender import BatchSender, TooFewError
from equal_hf.extraction.budget import NANO, Admission, Prices
from equal_hf.extraction.requests.activity import Activity
from equal_hf.extraction.requests.answers import Terms
from equal_hf.extraction.requests.answers import received as received_of
from equal_hf.extraction.responses.batch_table import BatchedRequest, BatchEnded, lease_key
from equal_hf.extraction.responses.leases import RENEW_EVERY_S, owner_id
from equal_hf.extraction.responses.ledger import (
    AttemptFailed,
    AttemptStarted,
    LeaseReleased,
    LeaseWanted,
    Response,
    refusal_key,
    response_key,
)
from equal_hf.extraction.responses.response_store import ResponseStore, StoreWriter
from equal_hf.extraction.transport.chat_body import chat_body
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.endpoint_state import EndpointState
from equal_hf.extraction.transport.error_rate import PATIENT_ATTEMPTS
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.extraction.transport.load_balancer import ChatRequest, LoadBalancer
from equal_hf.extraction.transport.streamed_chat import Watch
from equal_hf.types import Messages, Usage

logger = logging.getLogger(__name__)

# Providers have a day to do a batch: after two, one that cannot be asked about is over.
BATCH_KEPT_S = 2 * 86_400.0

# How often to look whether another asker has its answer: at first, and after some time.
MIN_LEASE_POLL_S, MAX_LEASE_POLL_S = 0.05, 1.0


@dataclass(frozen=True)
class Settings:
    """What one extractor asks of its endpoints.

    Args:
        model (`str`): What they serve.
        revision (`str`): The model's revision, or `"unknown"`.
        max_new_tokens (`int`): Limit of a reply text, in tokens.
        completion_limit (`int`): Limit of a response: what the model thinks, and its reply.
        prompt_limit (`int`, *optional*): Limit of a prompt.
        sampling (`dict[str, Any]`): Sampling parameters that change a response, as far as all endpoints take them.
        asked_sampling (`dict[str, Any]`): The same as the user asks for them.
        guided (`bool`): Whether responses are guided by a schema.
        prices ([`Prices`]): What tokens cost.
        record_reasoning (`bool`): Whether pairs carry what the model thought.
        service_tier (`str`): What single requests are asked at; empty for the provider's usual tier.
        extra (`dict[str, Any]`): Further fields of every body.
    """

    model: str
    revision: str
    max_new_tokens: int
    completion_limit: int
    prompt_limit: int | None
    sampling: dict[str, Any]
    asked_sampling: dict[str, Any]
    guided: bool
    prices: Prices
    extra: dict[str, Any]
    record_reasoning: bool = False
    service_tier: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be answered from the store.

    Args:
        key (`str`): Its key there.
        messages (`list[dict[str, str]]`): What is sent.
        bound (`int`): Upper bound of the prompt's tokens.
        schema (`dict[str, Any]`, *optional*): What the response is guided by.
    """

    key: str
    messages: Messages
    bound: int
    schema: dict[str, Any] | None


class BudgetSpentError(Exception):
    """The allowance has no room to send a request once more whose last attempt may have been billed."""


@dataclass
class DocumentReservation:
    """What one document may use and cost, and what it lost; costs in billionths of the currency.

    Args:
        admission ([`Admission`]): Whose allowance it is.
        reserved (`Usage`): The most it can use.
        reserved_cost (`int`): The most it can cost.

    Attributes:
        paid (`int`): What it cost.
        lost (`Usage`): What attempts used that brought nothing, or can have used.
    """

    admission: Admission
    reserved: Usage = field(default_factory=Usage)
    reserved_cost: int = 0
    paid: int = 0
    lost: Usage = field(default_factory=Usage)

    def lose(self, usage: Usage, cost: int) -> bool:
        """Write an attempt off; returns whether another one fits the allowance."""
        self.paid += cost
        self.lost += usage
        if self.admission.more(usage, cost):
            self.reserved += usage
            self.reserved_cost += cost
            return True
        return False


class LedgerAttemptLog:
    """The ledger entries of one request, over all its attempts."""

    def __init__(
        self, requests: CachedRequests, request: Request, reservation: DocumentReservation, tier: str = ""
    ) -> None:
        self._requests, self._request, self._reservation, self._tier = requests, request, reservation, tier
        self.attempt = 0
        self.worst = Usage(request.bound, requests.settings.completion_limit, 1)
        # A flex request may be answered at the full price.
        self._worst_tier = tier if tier == "batch" else ""
        self.cost = requests.settings.prices.cost(self.worst, self._worst_tier)
        self.spent = False

    def begin(self) -> AttemptStarted:
        """An attempt, to be written down before it is sent."""
        # Processes share a store, so the name comes from no counter.
        self.attempt = secrets.randbits(62)
        requests = self._requests
        return AttemptStarted(
            self.attempt,
            requests.run,
            self._request.key,
            self.worst,
            self.cost,
            model=requests.settings.model,
            tier=self._tier,
            endpoint=requests.only_endpoint,
        )

    async def sending(self) -> None:
        started = self.begin()
        self._requests.in_flight[self.attempt] = self
        await self._requests.writer.write(started)

    async def unanswered(self, *, maybe_billed: bool, usage: Usage | None = None, endpoint: str = "") -> bool:
        cost = self.cost if usage is None else self._requests.settings.prices.cost(usage, self._worst_tier)
        await self._requests.writer.write(AttemptFailed(self.attempt, maybe_billed, usage, cost, endpoint))
        self._requests.in_flight.pop(self.attempt, None)
        if maybe_billed and not self._reservation.lose(usage or self.worst, cost):
            self.spent = True
            return False
        return True


class CachedRequests:
    """Responses from the store, or from the endpoints where it has none.

    Args:
        balancer ([`LoadBalancer`]): The endpoints.
        store ([`ResponseStore`]): Where responses and the ledger are.
        settings ([`Settings`]): What is asked.
        run (`str`): Who pays.

    Attributes:
        activity ([`Activity`]): Whether anybody may still come with a request.
        batches ([`BatchSender`], *optional*): Where requests go, or where some went, as batches.
        sends_batches (`bool`): Whether all go there.
        carried (`dict[str, BatchedRequest]`): Requests that this run has in batches from before; the ledger holds the
            most that each can cost.
    """

    def __init__(self, balancer: LoadBalancer, store: ResponseStore, settings: Settings, run: str) -> None:
        self.balancer, self.store, self.settings, self.run = balancer, store, settings, run
        self.writer = StoreWriter(store)
        shown = [endpoint.client.address.shown for endpoint in balancer.endpoints]
        # Of several, which one an attempt goes to is known when it is sent; what a kill leaves, nobody knows.
        self.only_endpoint = shown[0] if len(shown) == 1 else ""
        self.activity = Activity()
        self.batches: BatchSender | None = None
        self.sends_batches = False
        self.carried: dict[str, BatchedRequest] = {}
        # Two requests for the same response, as of two copies of a paragraph, become one.
        self._one_at_a_time: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.owner = owner_id()
        self._renewing: asyncio.Task[None] | None = None
        self.in_flight: dict[int, LedgerAttemptLog] = {}
        self._warned_over_bound = self._warned_untold_tier = self._warned_of_thoughts = self._said_waiting = False

    @property
    def worst_tier(self) -> str:
        """The dearest service tier that a request may be answered at."""
        return "batch" if self.batches is not None and self.sends_batches and self.batches.fewest <= 1 else ""

    async def take_up_batches(self, batches: BatchSender, *, send: bool) -> None:
        """Before the first request: keep the batches that nobody keeps.

        Args:
            batches ([`BatchSender`]): Keeps them.
            send (`bool`): Whether new requests go there too.
        """
        self.batches, self.sends_batches = batches, send
        self._keep_leases()
        await batches.adopt()
        self.carried = {one.key: one for one in await asyncio.to_thread(self.store.batched, run=self.run)}

    def request(self, messages: Messages, bound: int, schema: dict[str, Any], attempt: int) -> Request:
        """A request for these messages.

        Args:
            messages (`list[dict[str, str]]`): What is sent.
            bound (`int`): Upper bound of the prompt's tokens.
            schema (`dict[str, Any]`): What the response should look like.
            attempt (`int`): 0, or 1 for a repair.
        """
        settings = self.settings
        guide = schema if settings.guided else None

        def key(sampling: dict[str, Any]) -> str:
            return response_key(settings.model, settings.revision, messages, sampling, guide, attempt, settings.extra)

        own = key(settings.sampling)
        if settings.sampling != settings.asked_sampling and not self._has(own):
            # One from when the endpoint took all that is asked, or had not refused it yet.
            asked = key(settings.asked_sampling)
            own = asked if self._has(asked) else own
        return Request(own, messages, bound, guide)

    def _has(self, key: str) -> bool:
        return self.store.get(key, self.settings.completion_limit) is not None

    def look_up(self, request: Request) -> Response | None:
        """The stored response, if there is one that serves; or that one of these endpoints refuses the request."""
        limit = self.settings.completion_limit
        stored = self.store.get(request.key, limit)
        if stored is not None and stored.finish_reason != "refused":  # under this key, one of an earlier version
            return stored
        refusals = (self.store.get(refusal_key(request.key, one.identity), limit) for one in self.balancer.endpoints)
        return next((refusal for refusal in refusals if refusal is not None), None)

    async def ask(
        self, request: Request, reservation: DocumentReservation, watch: Callable[[], Watch] | None = None
    ) -> Response:
        """The stored response, or a new one.

        Args:
            request ([`Request`]): The request.
            reservation ([`DocumentReservation`]): What its document may use.
            watch (`Callable`, *optional*): Makes a [`Watch`] that says where a reply that is streamed may be ended.

        Raises:
            `TransportFault`: If none came after all retries.
            `BudgetSpentError`: If none came and the allowance has no room to try again.
            `EndpointError`: If no endpoint can be used.
        """
        if (stored := self.look_up(request)) is not None:
            await self._settle_carried(request, reservation)
            return stored
        lock = self._one_at_a_time.setdefault(request.key, asyncio.Lock())
        with self.activity.parked():
            await lock.acquire()
        try:
            stored = await self._lease(request)
            if stored is not None:
                await self._settle_carried(request, reservation)
                return stored
            try:
                if self.batches is not None and (self.sends_batches or self.batches.holds(request.key)):
                    return await self._pay_in_batch(self.batches, request, reservation, watch)
                await self._settle_carried(request, reservation)
                return await self._pay(request, reservation, watch)
            except Exception:
                await self.writer.write(LeaseReleased(request.key, self.owner))
                raise
        finally:
            lock.release()

    def abandon(self) -> None:
        """Give up what is in flight: it stays in the ledger at the most it can cost, and a warning says so."""
        attempts, self.in_flight = list(self.in_flight.values()), {}
        if not attempts:
            return
        self.store.commit([AttemptFailed(log.attempt, maybe_billed=True) for log in attempts])
        worst = sum((log.worst for log in attempts), Usage())
        logger.warning(
            "%d requests were given up that the endpoint may still answer and bill. They stay in the ledger at the "
            "most they can cost: %.4f, for %d prompt and %d completion tokens. The same command asks for them again.",
            len(attempts),
            sum(log.cost for log in attempts) / NANO,
            worst.prompt_tokens,
            worst.completion_tokens,
        )

    async def close(self) -> None:
        """Ask no more: others may ask for what this one waited for, and take up its batches."""
        if self.batches is not None:
            await self.batches.close()
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
            self.store.release_leases(self.owner)

    async def _lease(self, request: Request) -> Response | None:
        """Wait until nobody else asks for a response; the response, if that brought it."""
        wanted = LeaseWanted(request.key, self.owner, self.settings.completion_limit)
        pause_s = MIN_LEASE_POLL_S
        self._keep_leases()
        while not (answer := await self.writer.write(wanted)):
            if (stopped := self.balancer.queue.stopped) is not None:
                raise stopped
            if not self._said_waiting:
                self._said_waiting = True
                logger.info("Waiting for responses that somebody else asks for, who shares %s.", self.store.path)
            with self.activity.parked():
                await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_LEASE_POLL_S)
            if pause_s == MAX_LEASE_POLL_S:
                await self._look_after_batches()
        if isinstance(answer, Response):
            return answer
        # A refusal is stored under a key of its own.
        if (refusal := self.look_up(request)) is not None:
            await self.writer.write(LeaseReleased(request.key, self.owner))
        return refusal

    async def _look_after_batches(self) -> None:
        """Whoever kept a batch that is waited for may be gone.

        Raises:
            `EndpointError`: If there is one at an endpoint that this run does not know.
        """
        if self.batches is not None:
            await self.batches.adopt()
        known = {endpoint.client.address.shown for endpoint in self.balancer.endpoints}
        for batch in await asyncio.to_thread(self.store.open_batches):
            if batch.endpoint in known:
                continue
            if await self.writer.write(LeaseWanted(lease_key(batch.name), self.owner, 0)) is not True:
                continue
            if time.time() - batch.made_unix_s > BATCH_KEPT_S:
                await self.writer.write(BatchEnded(batch.name, maybe_billed=True))
                continue
            raise EndpointError(
                f"Responses that are needed are in a batch that an earlier start sent to {batch.endpoint} "
                f"({batch.batch_id or batch.name}), and paid for there. Set `extractor_url` to that endpoint to take "
                "it up, or use another `response_store` to ask for them, and pay for them, again."
            )

    def _keep_leases(self) -> None:
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            await asyncio.to_thread(self.store.renew_leases, self.owner)

    async def _settle_carried(self, request: Request, reservation: DocumentReservation) -> None:
        """Book what an attempt from before came to, whose reservation was moved to the document."""
        carried = self.carried.pop(request.key, None)
        if carried is None:
            return
        state, usage, cost = await asyncio.to_thread(self.store.attempt, carried.attempt)
        if state == "answered":
            reservation.paid += cost
        elif state == "lost" and not reservation.lose(usage, cost):
            raise BudgetSpentError("its batch is lost")

    async def _pay_in_batch(
        self,
        batches: BatchSender,
        request: Request,
        reservation: DocumentReservation,
        watch: Callable[[], Watch] | None,
    ) -> Response:
        faults = 0
        while True:
            # Its batch may have been read since the lease was asked for.
            if (stored := self.look_up(request)) is not None:
                await self._settle_carried(request, reservation)
                return stored
            if (stopped := self.balancer.queue.stopped) is not None:
                raise stopped
            if not batches.holds(request.key):
                await self._settle_carried(request, reservation)
            attempts = LedgerAttemptLog(self, request, reservation, "batch")
            try:
                answered = await batches.answer(request.key, self._batch_body(request), attempts.begin())
            except TooFewError:
                return await self._pay(request, reservation, watch)
            except TransportFault as fault:
                carried = self.carried.pop(request.key, None)
                worst, cost = (carried.worst, carried.cost) if carried else (attempts.worst, attempts.cost)
                if fault.maybe_billed:
                    used = fault.usage or worst
                    cost = cost if fault.usage is None else self.settings.prices.cost(used, "batch")
                    if not reservation.lose(used, cost):
                        raise BudgetSpentError(str(fault)) from fault
                faults += 1
                if faults > PATIENT_ATTEMPTS:
                    self.balancer.count(str(fault))
                if faults > self.balancer.max_retries:
                    raise
                continue
            self.balancer.breaker.add(None)
            self.carried.pop(request.key, None)
            if answered.run == self.run:
                reservation.paid += answered.cost
            self._look_at(answered.response, request.bound)
            return answered.response

    def _batch_body(self, request: Request) -> dict[str, Any]:
        settings, endpoint = self.settings, self.balancer.endpoints[0]
        return chat_body(
            endpoint.capabilities,
            endpoint.server.requested_model,
            request.messages,
            request.schema,
            settings.completion_limit,
            settings.sampling,
            settings.extra,
        )

    async def _pay(
        self, request: Request, reservation: DocumentReservation, watch: Callable[[], Watch] | None
    ) -> Response:
        settings = self.settings
        attempts = LedgerAttemptLog(self, request, reservation, settings.service_tier)
        answer: ChatResponse | Refusal
        try:
            ask = ChatRequest(
                request.messages,
                settings.completion_limit,
                request.bound,
                settings.sampling,
                request.schema,
                watch,
                settings.extra,
                settings.service_tier,
            )
            answer, endpoint = await self.balancer.chat(ask, attempts)
            terms = self.terms(endpoint)
            if settings.service_tier and not answer.tier:
                self._warn_untold_tier(endpoint)
        except Refusal as refusal:
            answer = refusal
            terms = Terms(settings.model, "", refusal.server, "", settings.completion_limit, settings.prices)
        except TransportFault as fault:
            if attempts.spent:
                raise BudgetSpentError(str(fault)) from fault
            raise
        received = received_of(request.key, request.bound, attempts.attempt, answer, terms)
        reservation.paid += received.cost
        stored = await self.writer.write(received)
        self.in_flight.pop(attempts.attempt, None)
        if received.key != request.key:
            await self.writer.write(LeaseReleased(request.key, self.owner))
        self._look_at(received.response, request.bound)
        return stored if isinstance(stored, Response) else received.response

    def terms(self, endpoint: EndpointState, tier: str = "") -> Terms:
        """What answers of an endpoint are stored under and booked at.

        Args:
            endpoint ([`EndpointState`]): The endpoint.
            tier (`str`, *optional*, defaults to `""`): The service tier it is asked at.
        """
        settings, server = self.settings, endpoint.server
        shown = endpoint.client.address.shown
        return Terms(
            settings.model, server.dialect, endpoint.identity, shown, settings.completion_limit, settings.prices, tier
        )

    def _warn_untold_tier(self, endpoint: EndpointState) -> None:
        if not self._warned_untold_tier:
            self._warned_untold_tier = True
            logger.warning(
                "%s does not tell at which service tier it answered: its replies are booked at the full price.",
                endpoint.client.address.shown,
            )

    def _look_at(self, response: Response, bound: int) -> None:
        """Tell once of what is odd about responses."""
        usage = response.usage
        thinks = bool(response.reasoning or usage.reasoning_tokens)
        if (
            response.finish_reason == "length"
            and thinks
            and not response.text.strip()
            and not self._warned_of_thoughts
        ):
            self._warned_of_thoughts = True
            logger.warning(
                "%s thought until the limit of %d tokens, and gave no reply: such documents count under "
                "`thought_only`. Give it more by `extractor_max_reasoning_tokens`, or let it think less by "
                "`extractor_body`.",
                self.settings.model,
                self.settings.completion_limit,
            )
        over = usage.prompt_tokens > bound or usage.completion_tokens > self.settings.completion_limit
        if over and not self._warned_over_bound:
            self._warned_over_bound = True
            logger.warning(
                "%s reports %s for a request bounded by %d prompt and %d completion tokens: its counts cannot be "
                "trusted, and an allowance may be passed by the difference.",
                ", ".join(endpoint.client.address.shown for endpoint in self.balancer.endpoints),
                usage,
                bound,
                self.settings.completion_limit,
            )
