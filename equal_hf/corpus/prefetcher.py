"""Fetches ahead, in the background, what is likely to be drawn next."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from equal_hf.errors import CorpusError

logger = logging.getLogger(__name__)


class Prefetcher:
    """One background thread that goes through the latest list of wishes.

    A new list replaces what is left of the one before: what was likely then may not be now. A wish that fails is left
    to whoever draws for real, who gets the error.
    """

    def __init__(self) -> None:
        self._wishes: queue.SimpleQueue[tuple[int, Callable[[], None]]] = queue.SimpleQueue()
        self._latest = 0
        self._thread: threading.Thread | None = None
        self._idle = threading.Condition()
        self._open = 0

    def want(self, wishes: Sequence[Callable[[], None]]) -> None:
        """Replace what is wanted.

        Args:
            wishes (`Sequence[Callable]`): Each fetches something, the most likely first.
        """
        with self._idle:
            self._latest += 1
            self._open += len(wishes)
        for wish in wishes:
            self._wishes.put((self._latest, wish))
        if wishes and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="equal-hf-prefetch", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is wanted any more; whether that came in time."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, timeout_s)

    def _work(self) -> None:
        while True:
            number, wish = self._wishes.get()
            try:
                if number == self._latest:
                    wish()
            except Exception as error:
                logger.debug("Prefetching failed: %s", error, exc_info=not isinstance(error, CorpusError))
            finally:
                with self._idle:
                    self._open -= 1
                    self._idle.notify_all()
