"""Requests that wait for a free slot at an endpoint, in one line.

Whenever an endpoint has room the first of the line goes there, so a fast endpoint serves more. A slower one is passed
over when the line would be served sooner without it, so that the end of a round never waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from equal_hf.extraction.transport.endpoint_state import EndpointState, Permit

# Longest time between two looks at the line: an endpoint's latency fades while nobody answers.
_TICK_S = 1.0


@dataclass
class _Waiting:
    permit: asyncio.Future[Permit]
    tokens: int
    avoid: EndpointState | None


class RequestQueue:
    """The line, within one event loop.

    Args:
        endpoints (`Sequence[EndpointState]`): Where requests may go.

    Attributes:
        waiting (`int`): Requests that wait for a permit, or for being written down before.
        to_come (`int`): Requests that do not wait yet, as far as the caller knows.
        stopped (`Exception`, *optional*): What everybody in the line gets, once nothing is sent any more.
    """

    def __init__(self, endpoints: Sequence[EndpointState]) -> None:
        self.endpoints = endpoints
        self.waiting = self.to_come = 0
        self.stopped: Exception | None = None
        self._line: deque[_Waiting] = deque()
        self._random = Random()
        self._timer: asyncio.TimerHandle | None = None

    async def permit(self, tokens: int, avoid: EndpointState | None) -> Permit:
        """Wait for leave to send a request.

        Args:
            tokens (`int`): The most it can use.
            avoid ([`EndpointState`], *optional*): Where it should not go if it can go elsewhere.

        Raises:
            `Exception`: What [`stop`] was given.
        """
        waiting = _Waiting(asyncio.get_running_loop().create_future(), tokens, avoid)
        self._line.append(waiting)
        self.dispatch()
        try:
            return await waiting.permit
        except asyncio.CancelledError:
            if waiting.permit.done() and not waiting.permit.cancelled() and waiting.permit.exception() is None:
                permit = waiting.permit.result()
                permit.endpoint.on_error(permit, time.monotonic(), "given_up")
                self.dispatch()
            raise

    def stop(self, error: Exception) -> None:
        """Send nothing more: whoever waits gets this error, or the one of an earlier stop."""
        self.stopped = self.stopped or error
        self.dispatch()

    def dispatch(self) -> None:
        """Start every request that has a free slot; re-check on a timer."""
        now = time.monotonic()
        if self.stopped is not None:
            while self._line:
                waiting = self._line.popleft()
                if not waiting.permit.done():
                    waiting.permit.set_exception(self.stopped)
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
        self.dispatch()

    def _next_look_s(self, now: float) -> float:
        tokens = self._line[0].tokens
        waits = [endpoint.wait_s(now, tokens) for endpoint in self.endpoints if endpoint.state == "up"]
        return min([_TICK_S, *(wait for wait in waits if wait > 0)]) + self._random.uniform(0.0, 0.01)

    def _choose(self, waiting: _Waiting, now: float) -> EndpointState | None:
        up = [endpoint for endpoint in self.endpoints if endpoint.state == "up"]
        ready = [one for one in up if one.concurrency.free and one.wait_s(now, waiting.tokens) <= 0]
        if len(up) <= 1:
            return ready[0] if ready else None
        latencies = {id(endpoint): endpoint.latency_s(now) for endpoint in up}
        for endpoint in sorted(ready, key=lambda one: (one is waiting.avoid, latencies[id(one)])):
            faster = [other for other in up if 0 < latencies[id(other)] < latencies[id(endpoint)]]
            if not faster:
                return endpoint
            per_s = sum(other.concurrency.size / latencies[id(other)] for other in faster)
            without_s = (self.waiting + self.to_come) / per_s + min(latencies[id(other)] for other in faster)
            if without_s >= latencies[id(endpoint)]:
                return endpoint
        return None
