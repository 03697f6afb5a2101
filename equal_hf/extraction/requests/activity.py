"""Whether anybody may still come with a request: a batch is sent once nobody does.

Whatever may lead to a request counts as active, except while it waits for an answer of somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# What was just answered gets its turn first, however many tasks it wakes.
_QUIET_S = 0.05


class Activity:
    """Counts what is active, within one event loop.

    Attributes:
        on_quiet (`Callable`, *optional*): Called whenever nothing is active any more.
    """

    def __init__(self) -> None:
        self.on_quiet: Callable[[], None] | None = None
        self._active = 0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, something may lead to a request."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    @contextmanager
    def parked(self) -> Iterator[None]:
        """Inside, something that is active waits for others."""
        self._end()
        try:
            yield
        finally:
            self._begin()

    def _begin(self) -> None:
        self._active += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._active -= 1
        if not self._active and self.on_quiet is not None:
            self._timer = asyncio.get_running_loop().call_later(_QUIET_S, self._quiet)

    def _quiet(self) -> None:
        self._timer = None
        if not self._active and self.on_quiet is not None:
            self.on_quiet()
