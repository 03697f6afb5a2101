"""SIGTERM and SIGHUP stop a command as Ctrl-C does: schedulers send the one, a terminal that closes the other.

>>> with interrupted_by_sigterm():
...     pass
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came."""


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Raise [`Terminated`] in the main thread on SIGTERM and SIGHUP, unless somebody handles or ignores them."""
    free = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        free = []

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    for number in free:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, signal.SIG_DFL)
