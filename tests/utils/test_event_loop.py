"""The event loop's thread: an interrupt is raised at once, and it can be stopped from anywhere."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import CancelledError

import pytest

from equal_hf.utils.event_loop import LoopThread


def test_an_interrupt_is_raised_at_once_and_cancels_what_runs() -> None:
    thread, cancelled = LoopThread(), threading.Event()

    async def wait_for_long() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    # A process that a shell starts in the background ignores the signal until it says otherwise.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            thread.run(wait_for_long())
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 2
    assert cancelled.wait(2)
    thread.stop()


def test_it_ends_by_its_actions_and_starts_again() -> None:
    thread, done = LoopThread(), []

    async def number(value: int) -> int:
        return value

    async def action() -> None:
        done.append(1)

    assert thread.run(number(1)) == 1
    thread.at_stop(action)
    before = threading.active_count()
    thread.stop()
    thread.stop()
    assert done == [1] and threading.active_count() < before
    assert thread.run(number(2)) == 2
    thread.stop()


def test_it_may_be_stopped_on_its_own_thread() -> None:
    # The garbage collector closes an extractor wherever it runs.
    thread = LoopThread()

    async def stop() -> None:
        thread.stop()
        await asyncio.sleep(60)

    with pytest.raises(CancelledError):
        thread.run(stop())


def test_an_error_comes_through() -> None:
    thread = LoopThread()

    async def fail() -> None:
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        thread.run(fail())
    thread.stop()
