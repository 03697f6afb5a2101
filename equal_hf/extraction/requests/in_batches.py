"""Requests that go in a provider's batches, and those that an earlier start left in some."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from equal_hf.errors import EndpointError
from equal_hf.extraction.batch.keeper import BATCH_KEPT_S
from equal_hf.extraction.batch.sender import BatchSender
from equal_hf.extraction.requests.attempts import Asker, BudgetSpentError, LedgerAttemptLog, StepReservation
from equal_hf.extraction.requests.request import Request
from equal_hf.extraction.responses.batch_table import BatchedRequest, BatchEnded, lease_key
from equal_hf.extraction.responses.ledger import LeaseWanted, Response
from equal_hf.extraction.transport.chat_body import chat_body
from equal_hf.extraction.transport.error_rate import PATIENT_ATTEMPTS
from equal_hf.extraction.transport.faults import TransportFault


class RequestsInBatches:
    """What of the requests of one call of `extract` is in batches.

    Args:
        requests ([`Asker`]): Who asks.

    Attributes:
        sender ([`BatchSender`], *optional*): Where requests go, or where some went.
        sends (`bool`): Whether all new ones go there.
        carried (`dict[str, BatchedRequest]`): Requests that this run has in batches from before; the ledger holds the
            most that each can cost.
    """

    def __init__(self, requests: Asker) -> None:
        self._requests = requests
        self.sender: BatchSender | None = None
        self.sends = False
        self.carried: dict[str, BatchedRequest] = {}

    @property
    def worst_tier(self) -> str:
        """The dearest service tier that a request may be answered at."""
        if self.sender is not None and self.sends and self.sender.fewest <= 1:
            return "batch"
        return self._requests.settings.dearest_tier

    async def take_up(self, sender: BatchSender, *, send: bool) -> None:
        """Before the first request: keep the batches that nobody keeps.

        Args:
            sender ([`BatchSender`]): Keeps them.
            send (`bool`): Whether new requests go there too.

        Raises:
            `EndpointError`: If their provider cannot be asked.
        """
        self.sender, self.sends = sender, send
        self._requests.keep_leases()
        await sender.adopt()
        self.carried = {one.key: one for one in await asyncio.to_thread(sender.store.batched, run=self._requests.run)}

    def takes(self, key: str) -> bool:
        """Whether a request goes in a batch, or is in one that is kept here."""
        return self.sender is not None and (self.sends or self.sender.holds(key))

    async def pay(self, request: Request, reservation: StepReservation) -> Response:
        """The response to a request whose lease is held, in whatever batch it is or will be.

        Args:
            request ([`Request`]): The request.
            reservation ([`StepReservation`]): What its document may use.

        Raises:
            `TransportFault`: If none came after all retries.
            [`BudgetSpentError`]: If none came and the allowance has no room to try again.
            [`TooFewError`]: If it is to be sent by itself.
            `EndpointError`: If there are no batches to be had.
        """
        batches = self.sender
        assert batches is not None, "who asks has looked whether there are batches"
        faults = 0
        while True:
            # Its batch may have been read since the lease was asked for.
            if (stored := self._requests.look_up(request)) is not None:
                await self.settle_carried(request, reservation)
                return stored
            if (stopped := self._requests.balancer.queue.stopped) is not None:
                raise stopped
            if not batches.holds(request.key):
                await self.settle_carried(request, reservation)
            attempts = LedgerAttemptLog(self._requests, request, reservation, "batch")
            try:
                answered = await batches.answer(request.key, self._body(request), attempts.begin())
            except TransportFault as fault:
                carried = self.carried.pop(request.key, None)
                worst, cost = (carried.worst, carried.cost) if carried else (attempts.worst, attempts.cost)
                if fault.maybe_billed:
                    used = fault.usage or worst
                    cost = cost if fault.usage is None else self._requests.settings.prices.cost(used, "batch")
                    if not reservation.lose(used, cost):
                        raise BudgetSpentError(str(fault)) from fault
                faults += 1
                if faults > PATIENT_ATTEMPTS:
                    self._requests.balancer.count(str(fault))
                if faults > self._requests.balancer.max_retries:
                    raise
                continue
            self._requests.balancer.breaker.add(None)
            self.carried.pop(request.key, None)
            if answered.run == self._requests.run:
                reservation.pay(answered.cost)
            self._requests.look_at(answered.response, request.bound)
            return answered.response

    async def settle_carried(self, request: Request, reservation: StepReservation) -> None:
        """Book what an attempt from before came to, whose reservation was moved to the document.

        Args:
            request ([`Request`]): What was asked for.
            reservation ([`StepReservation`]): What its document may use.

        Raises:
            [`BudgetSpentError`]: If it was lost, and the allowance has no room to try again.
        """
        carried = self.carried.pop(request.key, None)
        if carried is None:
            return
        state, usage, cost = await asyncio.to_thread(self._requests.store.attempt, carried.attempt)
        if state == "answered":
            reservation.pay(cost)
        elif state == "lost" and not reservation.lose(usage, cost):
            raise BudgetSpentError("its batch is lost")

    async def look_after(self) -> None:
        """Whoever kept a batch that is waited for may be gone.

        Raises:
            `EndpointError`: If there is one at an endpoint that this run does not know.
        """
        if self.sender is not None:
            await self.sender.adopt()
        known = {endpoint.client.address.shown for endpoint in self._requests.balancer.endpoints}
        for batch in await asyncio.to_thread(self._requests.store.open_batches):
            if batch.endpoint in known:
                continue
            if (
                await self._requests.writer.write(LeaseWanted(lease_key(batch.name), self._requests.owner, 0))
                is not True
            ):
                continue
            if time.time() - batch.made_unix_s > BATCH_KEPT_S:
                await self._requests.writer.write(BatchEnded(batch.name, maybe_billed=True))
                continue
            raise EndpointError(
                f"Responses that are needed are in a batch that an earlier start sent to {batch.endpoint} "
                f"({batch.batch_id or batch.name}), and paid for there. Set `extractor_url` to that endpoint to take "
                "it up, or use another `response_store` to ask for them, and pay for them, again."
            )

    def _body(self, request: Request) -> dict[str, Any]:
        settings, endpoint = self._requests.settings, self._requests.balancer.endpoints[0]
        return chat_body(
            endpoint.capabilities,
            endpoint.server.requested_model,
            request.messages,
            request.schema,
            settings.completion_limit,
            settings.sampling,
            settings.extra,
        )
