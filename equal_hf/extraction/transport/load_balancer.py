"""Chat requests over one endpoint or several: who is sent what and when, what is tried again, and when to stop.

Requests wait in one line. Whenever an endpoint has room in its window the first of the line goes there, so a fast
endpoint serves more. A slower one is passed over when the line would be served sooner without it, so that the end of a
round never waits for it. One that is loading or away is asked in the background until it is back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from equal_hf.errors import EndpointError
from equal_hf.extraction.transport.client import ChatResponse
from equal_hf.extraction.transport.dialects import guided
from equal_hf.extraction.transport.endpoint_state import EndpointState, Permit
from equal_hf.extraction.transport.error_rate import PATIENT_ATTEMPTS, ErrorRateBreaker
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.types import Messages
from equal_hf.utils.retry import backoff_s

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_LONG_PAUSE_S = 60.0
_BOOKED_AHEAD = 16


class AttemptLog(Protocol):
    """Keeps the books of one request over all its attempts."""

    async def sending(self) -> None:
        """An attempt is next in line to be sent."""

    async def unanswered(self, *, maybe_billed: bool) -> bool:
        """It got no answer; returns whether another attempt can be paid for."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request.

    Args:
        messages (`list[dict[str, str]]`): The conversation.
        max_tokens (`int`): Limit of the reply.
        prompt_tokens (`int`): Upper bound of the prompt.
        sampling (`dict[str, Any]`): Sampling parameters.
        schema (`dict[str, Any]`, *optional*): What the reply is guided by, put in the server's own dialect.
    """

    messages: Messages
    max_tokens: int
    prompt_tokens: int
    sampling: dict[str, Any]
    schema: dict[str, Any] | None


@dataclass
class _Waiting:
    permit: asyncio.Future[Permit]
    tokens: int
    avoid: EndpointState | None


class LoadBalancer:
    """Endpoints that serve the same model.

    Args:
        endpoints (`Sequence[EndpointState]`): The endpoints.
        max_retries (`int`): Faults a request survives. A 429 or 503 counts only if the endpoint answered
            nobody since the last one.
        load_timeout_s (`float`): How long to wait when no endpoint is there.
        breaker ([`ErrorRateBreaker`]): When to stop.
    """

    def __init__(
        self,
        endpoints: Sequence[EndpointState],
        *,
        max_retries: int,
        load_timeout_s: float,
        breaker: ErrorRateBreaker,
    ) -> None:
        self.endpoints = list(endpoints)
        self.max_retries = max_retries
        self.load_timeout_s = load_timeout_s
        self.breaker = breaker
        self.to_come = 0  # requests that are not in the line yet, as far as the caller knows
        self._waiting = 0  # requests that wait for their permit, booked or not
        self._line: deque[_Waiting] = deque()
        # Booking waits for the disk: the next few are booked in advance, so that no slot stands empty meanwhile.
        self._booked = asyncio.Semaphore(_BOOKED_AHEAD)
        self._random = Random()
        self._timer: asyncio.TimerHandle | None = None
        self._watching: set[asyncio.Task[None]] = set()
        self._lost: Exception | None = None

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(endpoint.concurrency.in_flight for endpoint in self.endpoints)

    async def chat(self, ask: ChatRequest, attempts: AttemptLog) -> tuple[ChatResponse, EndpointState]:
        """Ask as often as it takes, wherever there is room.

        Raises:
            `TransportFault`: If no usable answer came in `max_retries + 1` attempts.
            `Refusal`: If a server refuses this request for good.
            `EndpointError`: If no endpoint can be used, or too many requests fail.
        """
        faults = 0
        refused_at_s = -math.inf  # when it last came to nothing
        avoid: EndpointState | None = None
        while True:
            self._waiting += 1
            try:
                permit = await self._booked_permit(ask, attempts, avoid)
            finally:
                self._waiting -= 1
            endpoint, server = permit.endpoint, permit.endpoint.server
            pause_s = 0.0
            try:
                completion = await endpoint.client.chat(
                    ask.messages,
                    server.requested_model,
                    ask.max_tokens,
                    ask.sampling | (guided(server.dialect, ask.schema) if ask.schema is not None else {}),
                )
            except TransportFault as fault:
                endpoint.on_error(permit, time.monotonic(), fault.kind)
                counts = await self._after(fault, endpoint, permit, refused_at_s)
                refused_at_s = time.monotonic()
                if not await attempts.unanswered(maybe_billed=fault.maybe_billed):
                    raise
                if counts:
                    faults += 1
                    if faults > PATIENT_ATTEMPTS:
                        self._count(str(fault))
                    if faults > self.max_retries:
                        raise
                    if fault.retry_after_s is None:
                        pause_s = backoff_s(faults - 1, self._random)
                avoid = endpoint
            except Refusal as refusal:
                endpoint.on_response(permit, time.monotonic(), ask.prompt_tokens)
                self._count(str(refusal))
                raise
            except EndpointError as error:
                await attempts.unanswered(maybe_billed=False)
                endpoint.on_error(permit, time.monotonic(), "given_up")
                self._lose(endpoint, error)
            except BaseException:
                endpoint.on_error(permit, time.monotonic(), "given_up")
                raise
            else:
                tokens = (completion.prompt_tokens or ask.prompt_tokens) + (completion.completion_tokens or 0)
                endpoint.on_response(permit, time.monotonic(), tokens)
                self.breaker.add(None)
                return completion, endpoint
            finally:
                self._dispatch()
            # Only now: the slot is somebody else's while this request waits.
            await asyncio.sleep(pause_s)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post JSON to a path of whichever endpoint is there, and read JSON; tried again as [`chat`] is."""
        faults = 0
        while True:
            if self._lost is not None:
                raise self._lost
            # Only servers of the first one's kind have the path.
            dialect = self.endpoints[0].server.dialect
            alike = (endpoint for endpoint in self.endpoints if endpoint.server.dialect == dialect)
            endpoint = next((endpoint for endpoint in alike if endpoint.state == "up"), None)
            if endpoint is None:
                await asyncio.sleep(_TICK_S / 10)
                continue
            asked_at_s = time.monotonic()
            try:
                return await endpoint.client.post(path, body, retries=0)
            except TransportFault as fault:
                if fault.kind in ("refused", "unavailable") and await self._is_away(endpoint, asked_at_s):
                    continue
                faults += 1
                if faults > self.max_retries:
                    raise
                await asyncio.sleep(fault.retry_after_s or backoff_s(faults - 1, self._random))

    # -- the line --------------------------------------------------------------------------------------------------

    async def _booked_permit(self, ask: ChatRequest, attempts: AttemptLog, avoid: EndpointState | None) -> Permit:
        async with self._booked:
            await attempts.sending()
            try:
                return await self._permit(ask.prompt_tokens + ask.max_tokens, avoid)
            except Exception:
                await attempts.unanswered(maybe_billed=False)
                raise

    async def _permit(self, tokens: int, avoid: EndpointState | None) -> Permit:
        waiting = _Waiting(asyncio.get_running_loop().create_future(), tokens, avoid)
        self._line.append(waiting)
        self._dispatch()
        try:
            return await waiting.permit
        except asyncio.CancelledError:
            if waiting.permit.done() and not waiting.permit.cancelled() and waiting.permit.exception() is None:
                permit = waiting.permit.result()
                permit.endpoint.on_error(permit, time.monotonic(), "given_up")
                self._dispatch()
            raise

    def _dispatch(self) -> None:
        """Let go whoever may go, and look again when time alone may have changed that."""
        now = time.monotonic()
        if self._lost is not None:
            while self._line:
                waiting = self._line.popleft()
                if not waiting.permit.done():
                    waiting.permit.set_exception(self._lost)
        while self._line:
            waiting = self._line[0]
            if waiting.permit.done():  # its request was cancelled
                self._line.popleft()
                continue
            endpoint = self._choose(waiting, now)
            if endpoint is None:
                break
            self._line.popleft()
            waiting.permit.set_result(endpoint.acquire(now, waiting.tokens))
        if self._line and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._next_look_s(now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._dispatch()

    def _next_look_s(self, now: float) -> float:
        tokens = self._line[0].tokens
        waits = [endpoint.wait_s(now, tokens) for endpoint in self.endpoints if endpoint.state == "up"]
        return min([_TICK_S, *(wait for wait in waits if wait > 0)]) + self._random.uniform(0.0, 0.01)

    def _choose(self, waiting: _Waiting, now: float) -> EndpointState | None:
        up = [endpoint for endpoint in self.endpoints if endpoint.state == "up"]
        ready = [
            endpoint for endpoint in up if endpoint.concurrency.free and endpoint.wait_s(now, waiting.tokens) <= 0
        ]
        if len(up) <= 1:
            return ready[0] if ready else None
        latencies = {id(endpoint): endpoint.latency_s(now) for endpoint in up}
        for endpoint in sorted(ready, key=lambda endpoint: (endpoint is waiting.avoid, latencies[id(endpoint)])):
            faster = [other for other in up if 0 < latencies[id(other)] < latencies[id(endpoint)]]
            if not faster:
                return endpoint
            per_s = sum(other.concurrency.size / latencies[id(other)] for other in faster)
            without_s = (self._waiting + self.to_come) / per_s + min(latencies[id(other)] for other in faster)
            if without_s >= latencies[id(endpoint)]:
                return endpoint
        return None

    # -- faults ----------------------------------------------------------------------------------------------------

    async def _after(
        self, fault: TransportFault, endpoint: EndpointState, permit: Permit, refused_at_s: float
    ) -> bool:
        """Act on a fault; returns whether it counts against the request."""
        logger.debug("%s: %s", endpoint.client.address.shown, fault)
        if fault.kind in ("refused", "unavailable") and await self._is_away(endpoint, permit.since_s):
            return False
        if fault.retry_after_s is not None:
            # The server asks everyone to hold, so nobody is sent there before that.
            endpoint.resume_at_s = max(endpoint.resume_at_s, time.monotonic() + fault.retry_after_s)
            if fault.retry_after_s > _LONG_PAUSE_S:
                logger.warning("%s asks to wait %.0f s.", endpoint.client.address.shown, fault.retry_after_s)
        # A server that answers others is busy, not broken: the window learns from that, the request just waits.
        return fault.kind not in ("busy", "unavailable") or endpoint.answered_at_s < refused_at_s

    def _count(self, failure: str) -> None:
        self.breaker.add(failure)
        if reason := self.breaker.tripped():
            shown = ", ".join(endpoint.client.address.shown for endpoint in self.endpoints)
            self._lost = EndpointError(
                f"Extraction from {shown} stopped: {reason}. What came is in the response store: mend the endpoint "
                "and run again to go on, or raise `extractor_max_error_rate`."
            )
            raise self._lost

    async def _is_away(self, endpoint: EndpointState, since_s: float) -> bool:
        """Whether an endpoint is loading or down, or was since this moment."""
        async with endpoint.gate:
            if endpoint.state != "up" or endpoint.state_since_s > since_s:
                return True
            state, _ = await endpoint.client.state()
            if state == "up":
                return False
            endpoint.state, endpoint.state_since_s = state, time.monotonic()
            others = any(other.state == "up" for other in self.endpoints)
            logger.warning(
                "%s is %s: %s.",
                endpoint.client.address.shown,
                state,
                "going on without it until it is back"
                if others
                else f"waiting up to {self.load_timeout_s:.0f} s for it",
            )
            watch = asyncio.create_task(self._watch(endpoint))
            self._watching.add(watch)
            watch.add_done_callback(self._watching.discard)
            return True

    async def _watch(self, endpoint: EndpointState) -> None:
        """Ask an endpoint that is away until it is back; give up when all have been away for too long."""
        pause_s = min(1.0, self.load_timeout_s / 10)
        while True:
            now = time.monotonic()
            away = [other for other in self.endpoints if other.state in ("loading", "down")]
            if len(away) + sum(other.state == "lost" for other in self.endpoints) == len(self.endpoints):
                since_s = max(other.state_since_s for other in away)
                if now - since_s > self.load_timeout_s:
                    self._lost = endpoint.client.error(
                        f"it is still {endpoint.state} after {self.load_timeout_s:.0f} s. Look at the server's log, "
                        "or raise `extractor_load_timeout_s`."
                    )
                    self._dispatch()
                    return
            await asyncio.sleep(pause_s)
            state, _ = await endpoint.client.state()
            if state == "up":
                endpoint.state, endpoint.state_since_s = "up", time.monotonic()
                logger.warning("%s answers again.", endpoint.client.address.shown)
                self._dispatch()
                return
            endpoint.state = state

    def _lose(self, endpoint: EndpointState, error: EndpointError) -> None:
        """An endpoint refuses every request: go on without it, or stop if it was the last."""
        endpoint.state = "lost"
        if all(other.state == "lost" for other in self.endpoints):
            self._lost = error
            raise error
        logger.warning("%s Going on with the other endpoints.", error)

    def stop(self, error: Exception) -> None:
        """Send nothing more: whoever waits in the line gets this error. What is under way goes on."""
        self._lost = self._lost or error
        self._dispatch()

    def restart(self) -> None:
        """After a stop, give every endpoint another chance."""
        if self._lost is None:
            return
        self._lost = None
        self.breaker.clear()
        for watch in self._watching:
            watch.cancel()
        for endpoint in self.endpoints:
            endpoint.state = "up"
