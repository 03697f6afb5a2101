"""Caps per minute that hold in every minute, not only on average.

A token bucket of a minute's size lets twice that through in its first minute (`aiolimiter` is one), and servers count
in windows of their own; so what was sent in the last 60 seconds is kept, and nothing goes that would pass the cap.

>>> cap = RateLimiter(2)
>>> first, second = cap.take(0.0, 1), cap.take(10.0, 1)
>>> cap.wait_s(20.0, 1), cap.wait_s(61.0, 1)
(40.0, 0.0)
"""

from __future__ import annotations

import math
from collections import deque

_MINUTE_S = 60.0


class RateLimiter:
    """At most so much in any 60 seconds.

    Args:
        per_minute (`int`, *optional*): Requests, or tokens; `None` for no cap.
    """

    def __init__(self, per_minute: int | None) -> None:
        self.per_minute = math.inf if per_minute is None else per_minute
        self._entries: deque[list[float]] = deque()  # [when, amount]
        self._total = 0.0

    def wait_s(self, now: float, amount: float) -> float:
        """Seconds until `amount` may go; an amount above the cap waits until nothing else counts.

        Args:
            now (`float`): Seconds on any clock that does not go back.
            amount (`float`): Requests or tokens.
        """
        while self._entries and self._entries[0][0] <= now - _MINUTE_S:
            self._total -= self._entries.popleft()[1]
        excess = self._total + min(amount, self.per_minute) - self.per_minute
        if excess <= 0:
            return 0.0
        for when, held in self._entries:
            excess -= held
            if excess <= 0:
                return when + _MINUTE_S - now
        return 0.0

    def take(self, now: float, amount: float) -> list[float]:
        """Count an amount that goes now; what is returned may be given to [`correct`]."""
        entry = [now, float(amount)]
        if self.per_minute < math.inf:
            self._entries.append(entry)
            self._total += amount
        return entry

    def correct(self, entry: list[float], amount: float) -> None:
        """Replace an amount that was an upper bound by what it came to."""
        if self._entries and entry[0] >= self._entries[0][0]:
            self._total += amount - entry[1]
        entry[1] = amount
