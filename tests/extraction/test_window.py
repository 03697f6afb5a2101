"""The window against simulated servers: it finds out how many requests they take, and seldom asks for more."""

from __future__ import annotations

import heapq
import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.window import Window


def simulate(slots: int, limit: int = 256, seconds: float = 400.0, latency_s: float = 2.0) -> tuple[float, float]:
    """Share of the server's capacity that is reached, and of requests refused, after the first 60 seconds."""
    rng, order, window = random.Random(0), count(), Window(limit)
    events: list[tuple[float, int, str, int]] = []
    now, held, answered, refused = 0.0, 0, 0, 0
    while now < seconds:
        while window.free:
            heapq.heappush(events, (now + 0.005, next(order), "arrives", window.sent()))
        now, _, event, ticket = heapq.heappop(events)
        if event == "arrives" and held < slots:
            held += 1
            takes_s = latency_s * rng.uniform(0.95, 1.05)
            heapq.heappush(events, (now + takes_s, next(order), "done", ticket))
        elif event == "arrives":
            heapq.heappush(events, (now + 0.005, next(order), "refused", ticket))
        elif event == "done":
            held -= 1
            heapq.heappush(events, (now + 0.005, next(order), "answered", ticket))
        elif event == "answered":
            window.answered(ticket)
            answered += now > 60
        else:
            window.refused(ticket)
            refused += now > 60
    return answered * latency_s / ((seconds - 60) * slots), refused / (answered + refused)


@pytest.mark.parametrize("slots", [1, 2, 8, 33, 100, 256])
def test_a_fixed_number_of_slots_is_found_and_kept(slots: int) -> None:
    share, refused = simulate(slots)
    assert share > 0.95
    assert refused < 0.05


def test_slow_start_doubles_and_stops_at_the_limit() -> None:
    window, sizes = Window(50), []
    for _ in range(5):
        sizes.append(window.size)
        for ticket in [window.sent() for _ in range(window.free)]:
            window.answered(ticket)
    assert sizes == [4, 8, 16, 32, 50]


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = Window(50)
    for _ in range(20):
        window.answered(window.sent())
    assert window.size == 4


def test_requests_that_were_out_together_shrink_the_window_once() -> None:
    window = Window(64)
    while window.size < 64:
        for ticket in [window.sent() for _ in range(window.free)]:
            window.answered(ticket)
    for ticket in [window.sent() for _ in range(64)]:
        window.refused(ticket)
    assert window.size == 32, "half is the most that one event takes"
    window.refused(window.sent())
    assert window.size < 32, "what was sent after that is another event"


@given(st.lists(st.sampled_from(["send", "answered", "refused", "broke"]), max_size=300), st.integers(1, 40))
def test_the_window_stays_between_one_and_its_limit(events: list[str], limit: int) -> None:
    window, out = Window(limit), []
    for event in events:
        if event == "send":
            if window.free:
                out.append(window.sent())
        elif out:
            getattr(window, event)(out.pop(0))
        assert 1 <= window.size <= limit
        assert window.in_flight == len(out)
