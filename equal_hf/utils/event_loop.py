"""An event loop on a thread of its own, so that connections outlive a call and a caller's own loop is not in the way.

>>> async def answer() -> int:
...     return 42
>>> thread = LoopThread()
>>> thread.run(answer())
42
>>> thread.stop()
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")

# A store on a slow disk may hold the loop's last task; a process that ends does not wait longer for it.
_STOP_TIMEOUT_S = 10.0


class LoopThread:
    """Runs coroutines on one event loop until it is stopped; starts with the first."""

    def __init__(self) -> None:
        self._running: tuple[BlockingPortal, AbstractContextManager[BlockingPortal]] | None = None
        self._thread_id: int | None = None
        self._lock = threading.Lock()
        self._at_stop: list[Callable[[], Awaitable[Any]]] = []
        self._futures: set[Future[Any]] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and give what it gives. An interrupt cancels it and is raised at once."""
        future = self._portal().start_task_soon(lambda: coroutine)
        self._futures.add(future)
        try:
            return future.result()
        finally:
            self._futures.discard(future)
            future.cancel()  # does nothing to one that is done

    def interrupt(self) -> None:
        """Cancel what other threads run here; for them `run` raises `concurrent.futures.CancelledError`."""
        for future in list(self._futures):
            future.cancel()

    def at_stop(self, action: Callable[[], Awaitable[Any]]) -> None:
        """Await this on the loop before it ends."""
        self._at_stop.append(action)

    def stop(self) -> None:
        """End the loop and the thread; a later `run` starts another."""
        with self._lock:
            running, self._running = self._running, None
            actions, self._at_stop = self._at_stop, []
        if running is None:
            return
        # Not on this thread: the garbage collector may call this anywhere, the loop's own thread included.
        stopping = threading.Thread(target=_stop, args=(*running, actions), daemon=True)
        stopping.start()
        if threading.get_ident() != self._thread_id:
            stopping.join(_STOP_TIMEOUT_S)

    def _portal(self) -> BlockingPortal:
        with self._lock:
            if self._running is None:
                context = start_blocking_portal(name="equal-hf-extraction")
                portal = context.__enter__()
                self._running = portal, context
                self._thread_id = portal.call(threading.get_ident)
            return self._running[0]


def _stop(
    portal: BlockingPortal,
    context: AbstractContextManager[BlockingPortal],
    actions: list[Callable[[], Awaitable[Any]]],
) -> None:
    for action in actions:
        portal.call(action)
    portal.call(portal.stop, True)
    context.__exit__(None, None, None)
