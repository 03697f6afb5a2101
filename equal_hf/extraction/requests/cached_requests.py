"""Responses by request: stored ones, or new ones that are in the ledger before they are sent and stored before use."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from equal_hf.extraction.batch.sender import TooFewError
from equal_hf.extraction.budget import NANO
from equal_hf.extraction.requests.activity import Activity
from equal_hf.extraction.requests.answers import Terms
from equal_hf.extraction.requests.answers import received as received_of
from equal_hf.extraction.requests.attempts import BudgetSpentError, LedgerAttemptLog, StepReservation
from equal_hf.extraction.requests.in_batches import RequestsInBatches
from equal_hf.extraction.requests.request import Request, Settings
from equal_hf.extraction.responses.leases import RENEW_EVERY_S, owner_id
from equal_hf.extraction.responses.ledger import (
    AttemptFailed,
    LeaseReleased,
    LeaseWanted,
    Response,
    refusal_key,
    response_key,
)
from equal_hf.extraction.responses.response_store import ResponseStore, StoreWriter
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.endpoint_state import EndpointState
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.extraction.transport.load_balancer import ChatRequest, LoadBalancer
from equal_hf.extraction.transport.streamed_chat import Watch
from equal_hf.types import Messages, Usage

logger = logging.getLogger(__name__)

# How often to look whether another asker has its answer: at first, and after some time.
MIN_LEASE_POLL_S, MAX_LEASE_POLL_S = 0.05, 1.0


class CachedRequests:
    """Responses from the store, or from the endpoints where it has none.

    Args:
        balancer ([`LoadBalancer`]): The endpoints.
        store ([`ResponseStore`]): Where responses and the ledger are.
        settings ([`Settings`]): What is asked.
        run (`str`): Who pays.

    Attributes:
        activity ([`Activity`]): Whether anybody may still come with a request.
        batches ([`RequestsInBatches`]): Those that go as batches.
    """

    def __init__(self, balancer: LoadBalancer, store: ResponseStore, settings: Settings, run: str) -> None:
        self.balancer, self.store, self.settings, self.run = balancer, store, settings, run
        self.writer = StoreWriter(store)
        shown = [endpoint.client.address.shown for endpoint in balancer.endpoints]
        # Of several, which one an attempt goes to is known when it is sent; what a kill leaves, nobody knows.
        self.only_endpoint = shown[0] if len(shown) == 1 else ""
        self.activity = Activity()
        self.batches = RequestsInBatches(self)
        # Two requests for the same response, as of two copies of a paragraph, become one.
        self._one_at_a_time: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.owner = owner_id()
        self._renewing: asyncio.Task[None] | None = None
        self.in_flight: dict[int, LedgerAttemptLog] = {}
        self._warned_over_bound = self._warned_untold_tier = self._warned_of_thoughts = self._said_waiting = False

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
        self, request: Request, reservation: StepReservation, watch: Callable[[], Watch] | None = None
    ) -> Response:
        """The stored response, or a new one.

        Args:
            request ([`Request`]): The request.
            reservation ([`StepReservation`]): What its document may use.
            watch (`Callable`, *optional*): Makes a [`Watch`] that says where a reply that is streamed may be ended.

        Raises:
            `TransportFault`: If none came after all retries.
            `BudgetSpentError`: If none came and the allowance has no room to try again.
            `EndpointError`: If no endpoint can be used.
        """
        if (stored := self.look_up(request)) is not None:
            await self.batches.settle_carried(request, reservation)
            return stored
        lock = self._one_at_a_time.setdefault(request.key, asyncio.Lock())
        with self.activity.parked():
            await lock.acquire()
        try:
            stored = await self._lease(request)
            if stored is not None:
                await self.batches.settle_carried(request, reservation)
                return stored
            try:
                if self.batches.takes(request.key):
                    with contextlib.suppress(TooFewError):
                        return await self.batches.pay(request, reservation)
                await self.batches.settle_carried(request, reservation)
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
        if self.batches.sender is not None:
            await self.batches.sender.close()
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
            self.store.release_leases(self.owner)

    async def _lease(self, request: Request) -> Response | None:
        """Wait until nobody else asks for a response; the response, if that brought it."""
        wanted = LeaseWanted(request.key, self.owner, self.settings.completion_limit)
        pause_s = MIN_LEASE_POLL_S
        self.keep_leases()
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
                await self.batches.look_after()
        if isinstance(answer, Response):
            return answer
        # A refusal is stored under a key of its own.
        if (refusal := self.look_up(request)) is not None:
            await self.writer.write(LeaseReleased(request.key, self.owner))
        return refusal

    def keep_leases(self) -> None:
        """Renew all leases of this asker from here on."""
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            await asyncio.to_thread(self.store.renew_leases, self.owner)

    async def _pay(
        self, request: Request, reservation: StepReservation, watch: Callable[[], Watch] | None
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
        reservation.pay(received.cost)
        stored = await self.writer.write(received)
        self.in_flight.pop(attempts.attempt, None)
        if received.key != request.key:
            await self.writer.write(LeaseReleased(request.key, self.owner))
        self.look_at(received.response, request.bound)
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
            settings.model,
            server.dialect,
            endpoint.identity,
            shown,
            settings.completion_limit,
            settings.prices,
            tier,
            settings.dearest_tier,
        )

    def _warn_untold_tier(self, endpoint: EndpointState) -> None:
        if not self._warned_untold_tier:
            self._warned_untold_tier = True
            logger.warning(
                "%s does not tell at which service tier it answered: its replies are booked at the full price.",
                endpoint.client.address.shown,
            )

    def look_at(self, response: Response, bound: int) -> None:
        """Tell once of what is odd about responses.

        Args:
            response ([`Response`]): What came.
            bound (`int`): Upper bound of the prompt's tokens.
        """
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
