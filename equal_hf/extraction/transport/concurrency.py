"""How many requests an endpoint takes at a time, learned from what it answers and what it refuses.

The window starts small and doubles with each round trip (slow start) until the endpoint first refuses, by 429, 503 or
a timeout. From there it grows additively and shrinks multiplicatively, as TCP's congestion window does; a refusal can
mean two things, and each request remembers how many were under way when it was sent, to tell them apart:

- **More than it takes.** Refusals of requests that went where none was answered yet. The window goes back to what the
  endpoint still holds, and one more is tried once in ten round trips: a server with 8 slots refuses a request or two
  in 80, instead of one in 9.
- **Trouble.** Refusals where others were answered. The window shrinks by half the share of requests that was refused
  (DCTCP, RFC 8257): the odd 429 costs little, and an endpoint that refuses half of all is soon asked for less.

>>> window = ConcurrencyLimit(limit=64)
>>> tickets = [window.acquire() for _ in range(window.free)]
>>> for ticket in tickets:
...     window.on_response(ticket)
>>> window.size
8
"""

from __future__ import annotations

_START = 4
_PATIENCE = 10  # round trips,
_PATIENT_REQUESTS = 60  # and requests, before a level that was refused is tried again
_STRIKES = 2  # one refusal may be bad luck,
_CONFIRMATIONS = 12  # and one answer good luck: a slot may come free while a request is on its way
_GROWTH = 1 / 8  # of the window each round trip, and 1 at least, up to a level that was held before; half of it beyond
_EVIDENCE = 32  # requests that the share refused is taken over, at least
_COLLAPSE = 0.5  # from this share on, what was held before says nothing any more


class ConcurrencyLimit:
    """The number of requests that may be under way at one endpoint.

    Args:
        limit (`int`): Never more than this.

    Attributes:
        in_flight (`int`): Requests that are under way.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._size = float(min(_START, limit))
        self._slow_start = True
        self._levels: dict[int, int] = {}  # by ticket: how many were under way, itself included
        self._held = 0  # the highest level at which requests were answered
        self._above: list[int] = []  # levels above it that were answered since one was refused
        self._strikes = 0
        self._ceiling: int | None = None  # what the endpoint holds, where it has shown that
        self._probe = 1  # by how much more it is tried next
        self._patience = 0
        self._next_ticket = 0
        self._trip_ends = 0  # the ticket whose return ends the present round trip
        self._peak = 0  # most requests under way in this round trip: a window that is not used proves nothing
        self._returned = 0
        self._troubled = 0
        self._share = 0.0  # of requests that are in trouble

    @property
    def size(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(self._size))

    @property
    def free(self) -> int:
        """How many more requests may be sent now."""
        return max(0, self.size - self.in_flight)

    def acquire(self) -> int:
        """Take a slot; returns the ticket to give it back with."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        self._next_ticket += 1
        self._levels[self._next_ticket] = self.in_flight
        return self._next_ticket

    def on_response(self, ticket: int) -> None:
        """A request came back with an answer: the window may grow, if it was in use."""
        level = self._levels.pop(ticket)
        if level > self._held:
            self._above.append(level)
            if len(self._above) == _CONFIRMATIONS:
                self._held, self._above, self._strikes = min(self._above), [], 0
        if self._slow_start and 2 * self._peak >= self.size:
            self._size = min(self.limit, self._size + 1)
        self.in_flight -= 1
        self._return(ticket)

    def on_overload(self, ticket: int) -> None:
        """A request came back with 429 or 503, or timed out."""
        level = self._levels.pop(ticket)
        self.in_flight -= 1
        self._slow_start = False
        if level <= self._held:
            self._troubled += 1
        else:
            self._above = []
            self._strikes += 1
            if self._strikes >= _STRIKES:
                self._step_back()
        self._return(ticket)

    def on_error(self, ticket: int) -> None:
        """A request came back with a fault that says nothing about how busy the endpoint is."""
        del self._levels[ticket]
        self.in_flight -= 1

    def _step_back(self) -> None:
        """To what the endpoint holds, and stay there for a while."""
        self._ceiling, self._probe = max(1, self._held, min(self.in_flight, self.size)), 1
        self._size = min(self._size, float(self._ceiling))
        self._patience = max(_PATIENCE, _PATIENT_REQUESTS // self._ceiling)

    def _return(self, ticket: int) -> None:
        self._returned += 1
        if ticket <= self._trip_ends:
            return
        in_use = 2 * self._peak >= self.size
        troubled = self._troubled > 0
        self._share += min(1.0, self._returned / _EVIDENCE) * (self._troubled / self._returned - self._share)
        self._trip_ends, self._peak = self._next_ticket, self.in_flight + 1
        self._returned = self._troubled = 0
        if troubled:
            self._size = max(1.0, self._size * (1 - self._share / 2))
        if self._share > _COLLAPSE:
            self._held, self._above, self._share = self.size, [], 0.0
        if in_use and not self._slow_start:
            self._grow()

    def _grow(self) -> None:
        if self._ceiling is not None and self._size >= self._ceiling:
            if self._patience > 0:
                self._patience -= 1
            elif self._held >= self.size:  # one more, and twice as many more each time that is answered
                self._ceiling = min(self.limit, self._ceiling + self._probe)
                self._size, self._probe, self._strikes = float(self._ceiling), 2 * self._probe, 0
            return
        growth = _GROWTH if self._size < self._held else _GROWTH / 2
        most = self.limit if self._ceiling is None else self._ceiling
        self._size = min(float(most), self._size + max(1.0, self._size * growth))
