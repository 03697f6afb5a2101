"""Progress of a stage: a bar on a terminal; elsewhere a line in the log every half minute."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from equal_hf.utils.waiting import LINE_EVERY_S, duration

logger = logging.getLogger(__name__)


class Progress:
    """Counts what a stage has done; says how many a second, and how long the rest will take.

    Args:
        stage (`str`): What is being done, such as `"embedding"`.
        total (`int`, *optional*): How many there are in all, where that is known.
        unit (`str`, *optional*, defaults to `"documents"`): What is counted.
        show (`bool`, *optional*, defaults to `True`): `False` says nothing.
    """

    def __init__(self, stage: str, total: int | None, unit: str = "documents", *, show: bool = True) -> None:
        from tqdm.auto import tqdm

        self._stage, self._total, self.unit = stage, total, unit
        terminal = sys.stderr.isatty()
        self._bar: Any = tqdm(total=total, desc=stage, unit=f" {unit}") if show and terminal else None
        self._lines = show and not terminal
        self._done = self._found = 0.0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._lines and kind is None and self._done:
            seconds = time.monotonic() - self._began
            logger.info("%s: %s %s in %s", self._stage, f"{self._done:,.0f}", self.unit, duration(seconds))

    def found(self, count: float) -> None:
        """Count what an earlier run has done already."""
        self._found += count
        self._advance(count)

    def made(self, count: float) -> None:
        """Count what was done now; parts of one count too."""
        self._advance(count)

    def _advance(self, count: float) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(int(self._done + 1e-6) - self._bar.n)  # parts of one count too, and are not shown
        now = time.monotonic()
        if self._lines and now - self._said >= LINE_EVERY_S:
            self._said = now
            logger.info("%s", self.line(now - self._began))

    def line(self, seconds: float) -> str:
        """What is done after so many seconds, in words.

        >>> progress = Progress("embedding", 1000, show=False)
        >>> progress.found(200)
        >>> progress.made(100)
        >>> progress.line(40.0)
        'embedding: 300 of 1,000 documents, 2.5 a second, 4 min 40 s left'
        """
        whole = f" of {self._total:,}" if self._total is not None else ""
        rate = (self._done - self._found) / max(seconds, 1e-9)
        text = f"{self._stage}: {int(self._done):,}{whole} {self.unit}, {rate:,.{0 if rate >= 10 else 1}f} a second"
        if self._total is None or rate <= 0:
            return text
        return f"{text}, {duration((self._total - self._done) / rate)} left"
