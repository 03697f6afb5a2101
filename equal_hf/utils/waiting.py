"""Says what a program waits for, once that takes more than a few seconds.

```python
with waiting("the first reply of http://localhost:8080"):
    ...
```

On a terminal it is one line that is gone with the wait; elsewhere a line in the log, and another one every half
minute. Where a progress bar or a live view has the terminal, that shows it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

AFTER_S = 5.0
LINE_EVERY_S = 30.0
_TICK_S = 0.5


def duration(seconds: float) -> str:
    """A time span in words.

    >>> duration(8.4), duration(95), duration(7322)
    ('8 s', '1 min 35 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass(eq=False)
class _Wait:
    name: str
    text: Callable[[float], str] | None
    show: Callable[[str], None] | None
    since_s: float

    def line(self, now: float) -> str:
        seconds = now - self.since_s
        return self.text(seconds) if self.text is not None else f"waiting for {self.name} ({duration(seconds)})"


class _Teller:
    """All waits of the process, told by one thread that lives as long as there is one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waits: list[_Wait] = []
        self._thread: threading.Thread | None = None
        self._live: Any = None
        self._said_s: dict[str, float] = {}
        self.views = 0

    def add(self, wait: _Wait) -> None:
        with self._lock:
            self._waits.append(wait)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="equal-hf-waiting", daemon=True)
                self._thread.start()

    def remove(self, wait: _Wait) -> None:
        with self._lock:
            with contextlib.suppress(ValueError):  # hushed
                self._waits.remove(wait)
            if not self._due():
                self._clear()

    def hush(self) -> None:
        with self._lock:
            self._waits.clear()
            self._clear()

    def line(self) -> str | None:
        """The longest wait that is worth telling."""
        due = self._due()
        if not due:
            return None
        more = f", and {len(due) - 1} more" if len(due) > 1 else ""
        return due[0].line(time.monotonic()) + more

    def _due(self) -> list[_Wait]:
        now = time.monotonic()
        return [wait for wait in list(self._waits) if now - wait.since_s >= AFTER_S]

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waits:
                    self._thread = None
                    return
                if (due := self._due()) and not self.views:
                    self._tell(due[0])
            time.sleep(min(_TICK_S, AFTER_S))

    def _tell(self, wait: _Wait) -> None:
        now = time.monotonic()
        if wait.show is not None:
            wait.show(wait.line(now))
        elif self._live is None and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            # What others write to standard error meanwhile goes above it.
            self._live = Live(
                console=Console(stderr=True),
                get_renderable=lambda: _one_line(self.line() or ""),
                refresh_per_second=1 / _TICK_S,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start(refresh=True)
        elif self._live is None and now - self._said_s.get(wait.name, -LINE_EVERY_S) >= LINE_EVERY_S:
            self._said_s[wait.name] = now
            logger.info("%s", self.line())

    def _clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _one_line(text: str) -> Any:
    from rich.text import Text

    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


_TELLER = _Teller()


@contextmanager
def waiting(
    name: str, text: Callable[[float], str] | None = None, show: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Inside, what is waited for is told after `AFTER_S` seconds.

    Args:
        name (`str`): What is waited for; in a log it is said once in `LINE_EVERY_S` seconds at most, over all waits
            of this name.
        text (`Callable[[float], str]`, *optional*): What is told after so many seconds; `waiting for NAME (12 s)`
            where left out. Called on another thread.
        show (`Callable[[str], None]`, *optional*): Takes the line instead, where a progress bar has the terminal.
            Called on another thread.
    """
    wait = _Wait(name, text, show, time.monotonic())
    _TELLER.add(wait)
    try:
        yield
    finally:
        _TELLER.remove(wait)


def current() -> str | None:
    """What is waited for now, for a view of one's own; `None` where nothing takes long."""
    return _TELLER.line()


def show_elsewhere(shown: bool) -> None:
    """Say nothing while somebody else shows [`current`], or no longer.

    Args:
        shown (`bool`): Whether that begins or ends.
    """
    _TELLER.views += 1 if shown else -1


def is_shown_elsewhere() -> bool:
    """Whether a view has the terminal, so that no bar belongs there."""
    return _TELLER.views > 0


def hush() -> None:
    """Tell of no wait that is under way any more: the program ends."""
    _TELLER.hush()
