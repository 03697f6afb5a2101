"""An event loop on a thread of its own, so that connections outlive a call and a caller's own loop is not in the way.

>>> async def answer() -> int:
...     return 42
>>> thread = LoopThread()
>>> thread.run(answer())
42
>>> thread.stop()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import wait
from typing import Any, TypeVar

T = TypeVar("T")

_STOP_TIMEOUT_S = 10.0


class LoopThread:
    """Runs coroutines on one event loop until it is stopped; starts with the first."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._at_stop: list[Callable[[], Awaitable[Any]]] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and give what it gives. An interrupt cancels it first."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._started())
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                wait([future], _STOP_TIMEOUT_S)
            raise

    def at_stop(self, action: Callable[[], Awaitable[Any]]) -> None:
        """Await this on the loop before it ends."""
        self._at_stop.append(action)

    def stop(self) -> None:
        """End the loop and the thread; a later `run` starts another."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            actions, self._at_stop = self._at_stop, []
        if loop is None or thread is None:
            return

        async def finish() -> None:
            for action in actions:
                await action()
            loop.stop()

        loop.call_soon_threadsafe(lambda: _keep(loop.create_task(finish())))
        if thread is not threading.current_thread():  # the garbage collector may run anywhere
            thread.join(_STOP_TIMEOUT_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="equal-hf-extraction", daemon=True
                )
                self._thread.start()
            return self._loop


_tasks: set[asyncio.Task[Any]] = set()


def _keep(task: asyncio.Task[Any]) -> None:
    """A loop holds its tasks weakly: hold this one until it is done."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
