"""Which endpoints are there: one that is loading or down is asked in the background until it is back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from equal_hf.errors import EndpointError
from equal_hf.extraction.transport.endpoint_state import EndpointState
from equal_hf.extraction.transport.queue import RequestQueue

logger = logging.getLogger(__name__)


class Availability:
    """Keeps the `state` of each endpoint, and stops the queue when none is left.

    Args:
        endpoints (`Sequence[EndpointState]`): The endpoints.
        queue ([`RequestQueue`]): What waits for them.
        load_timeout_s (`float`): How long to wait while no endpoint is there.
    """

    def __init__(self, endpoints: Sequence[EndpointState], queue: RequestQueue, load_timeout_s: float) -> None:
        self.endpoints, self.queue, self.load_timeout_s = endpoints, queue, load_timeout_s
        self._watching: set[asyncio.Task[None]] = set()

    async def is_away(self, endpoint: EndpointState, since_s: float) -> bool:
        """Whether an endpoint is loading or down, or was since this moment; if so, it is watched from here on."""
        async with endpoint.gate:
            if endpoint.state != "up" or endpoint.state_since_s > since_s:
                return True
            try:
                state, _ = await endpoint.client.state()
            except EndpointError:  # what is in the way is told by the next request
                return False
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

    def lose(self, endpoint: EndpointState, error: EndpointError) -> None:
        """An endpoint refuses every request: go on without it, or stop if it was the last."""
        endpoint.state = "lost"
        if all(other.state == "lost" for other in self.endpoints):
            self.queue.stop(error)
            raise error
        logger.warning("%s Going on with the other endpoints.", error)

    def restart(self) -> None:
        """Take every endpoint for available again."""
        for watch in self._watching:
            watch.cancel()
        for endpoint in self.endpoints:
            endpoint.state = "up"

    async def _watch(self, endpoint: EndpointState) -> None:
        """Ask an endpoint that is away until it is back; give up when all have been away for too long."""
        pause_s = min(1.0, self.load_timeout_s / 10)
        while True:
            away = [other for other in self.endpoints if other.state in ("loading", "down")]
            if len(away) + sum(other.state == "lost" for other in self.endpoints) == len(self.endpoints):
                since_s = max(other.state_since_s for other in away)
                if time.monotonic() - since_s > self.load_timeout_s:
                    fact = (
                        f"it is still {endpoint.state} after {self.load_timeout_s:.0f} s. Look at the server's log, "
                        "or raise `extractor_load_timeout_s`."
                    )
                    self.queue.stop(endpoint.client.error(fact))
                    return
            await asyncio.sleep(pause_s)
            try:
                state, _ = await endpoint.client.state()
            except EndpointError as error:
                with contextlib.suppress(EndpointError):  # whoever waits gets it
                    self.lose(endpoint, error)
                return
            if state == "up":
                endpoint.state, endpoint.state_since_s = "up", time.monotonic()
                logger.warning("%s answers again.", endpoint.client.address.shown)
                self.queue.dispatch()
                return
            endpoint.state = state
