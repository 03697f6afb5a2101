"""How many requests an endpoint takes at a time, learned from what it answers and what it refuses.

The window starts small and doubles with each round trip (slow start) until the endpoint first refuses: by 429, 503 or
a timeout. From there it moves as TCP's congestion window does (RFC 5681), with two changes for servers whose capacity
is a fixed number of slots: a refusal takes the window back to what the endpoint still holds, at least 10 % and at most
half, and a window that is back at the last level that was not refused is tried one higher only once in ten round
trips. So a server with 8 slots sees about one refusal in 80 requests instead of one in 9.

>>> window = Window(limit=64)
>>> tickets = [window.sent() for _ in range(window.free)]
>>> for ticket in tickets:
...     window.answered(ticket)
>>> window.size
8
"""

from __future__ import annotations

_PATIENCE = 10  # round trips,
_PATIENT_REQUESTS = 40  # and requests, before a level that was refused is tried again
_START = 4
_SHARE_LOST = 0.1
_MOST_LOST = 0.5
_STEPS_BACK = 32


class Window:
    """The number of requests that may be under way at one endpoint.

    Args:
        limit (`int`): Never more than this.

    Attributes:
        size (`int`): Requests that may be under way now.
        in_flight (`int`): Requests that are.
        refusals (`int`): Refusals so far.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = min(_START, limit)
        self.in_flight = 0
        self.refusals = 0
        self._ceiling: int | None = None  # the highest size that was not refused; `None` in slow start
        self._next_ticket = 0
        self._round_trip_ends = 0  # the ticket whose answer ends the present round trip
        self._peak = 0  # most requests under way in this round trip: a window that is not used proves nothing
        self._patience = 0
        self._shrunk_at = -1  # tickets up to this one belong to a refusal that was already acted on
        self._floor = 1

    @property
    def free(self) -> int:
        """How many more requests may be sent now."""
        return max(0, self.size - self.in_flight)

    def sent(self) -> int:
        """Take a slot; returns the ticket to give it back with."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        self._next_ticket += 1
        return self._next_ticket

    def answered(self, ticket: int) -> None:
        """A request came back with an answer: the window may grow, if it was in use."""
        in_use = 2 * self._peak >= self.size
        self.in_flight -= 1
        round_trip_over = ticket > self._round_trip_ends
        if round_trip_over:
            self._round_trip_ends, self._peak = self._next_ticket, self.in_flight + 1
        if not in_use or self.size >= self.limit:
            return
        if self._ceiling is None:
            self.size += 1
        elif round_trip_over:
            self._grow(self._ceiling)

    def refused(self, ticket: int) -> None:
        """A request came back with 429 or 503, or timed out: the window shrinks, once for all that were out then."""
        self.in_flight -= 1
        self.refusals += 1
        if ticket > self._shrunk_at:
            self._shrunk_at = self._next_ticket
            self._floor = max(1, round(self.size * _MOST_LOST))
            self._ceiling = max(1, self.size - 1)
            self.size = max(self._floor, int(self.size * (1 - _SHARE_LOST)))
        # What the endpoint has not refused it holds; a refusal that comes at once tells how much that is.
        self.size = max(self._floor, min(self.size, self.in_flight))
        self._ceiling = max(self.size, min(self._ceiling or self.size, self.in_flight))
        self._patience = max(_PATIENCE, _PATIENT_REQUESTS // self.size)

    def broke(self, ticket: int) -> None:
        """A request came back with a fault that says nothing about how busy the endpoint is."""
        self.in_flight -= 1

    def _grow(self, ceiling: int) -> None:
        if self.size < ceiling:
            self.size = min(ceiling, self.size + max(1, ceiling // _STEPS_BACK))
        elif self._patience > 0:
            self._patience -= 1
        else:
            self.size += 1
            self._ceiling = self.size
            self._patience = _PATIENCE
