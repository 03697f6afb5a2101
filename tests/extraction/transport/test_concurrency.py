"""The window against simulated servers: it finds out how many requests they take, and seldom asks for more."""

from __future__ import annotations

import heapq
import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.transport.concurrency import ConcurrencyLimit


def simulate(
    slots: int,
    limit: int = 256,
    seconds: float = 400.0,
    latency_s: float = 2.0,
    bad_luck: float = 0.0,
    later: int | None = None,
) -> tuple[float, float, int]:
    """Share of the server's capacity that is reached, share of requests refused, both after the first 60 seconds, and
    the window's last size. After 100 seconds the server has `later` slots."""
    rng, order, window = random.Random(0), count(), ConcurrencyLimit(limit)
    events: list[tuple[float, int, str, int]] = []
    now, held, answered, refused = 0.0, 0, 0, 0
    while now < seconds:
        while window.free:
            heapq.heappush(events, (now + 0.005, next(order), "arrives", window.acquire()))
        now, _, event, ticket = heapq.heappop(events)
        has = later if later is not None and now > 100 else slots
        if event == "arrives" and held < has and rng.random() >= bad_luck:
            held += 1
            takes_s = latency_s * rng.uniform(0.95, 1.05)
            heapq.heappush(events, (now + takes_s, next(order), "done", ticket))
        elif event == "arrives":
            heapq.heappush(events, (now + 0.005, next(order), "refused", ticket))
        elif event == "done":
            held -= 1
            heapq.heappush(events, (now + 0.005, next(order), "answered", ticket))
        elif event == "answered":
            window.on_response(ticket)
            answered += now > 60
        else:
            window.on_overload(ticket)
            refused += now > 60
    share = answered * latency_s / ((seconds - 60) * min(slots, limit))
    return share, refused / (answered + refused), window.size


@pytest.mark.parametrize("slots", [1, 2, 8, 33, 100, 256])
def test_a_fixed_number_of_slots_is_found_and_kept(slots: int) -> None:
    share, refused, _ = simulate(slots)
    assert share > 0.92
    assert refused < 0.05


@pytest.mark.parametrize(("bad_luck", "reached"), [(0.01, 0.95), (0.03, 0.9), (0.1, 0.2)])
def test_the_odd_refusal_does_not_shut_the_window(bad_luck: float, reached: float) -> None:
    share, refused, _ = simulate(1000, limit=32, bad_luck=bad_luck)
    assert share > reached
    assert refused < 1.3 * bad_luck


@pytest.mark.parametrize("later", [64, 8, 1])
def test_a_server_that_loses_slots_is_followed(later: int) -> None:
    _, refused, size = simulate(256, later=later)
    assert later <= size <= max(1.2 * later, later + 1)
    assert refused < 0.1, "most of them while the window finds out"


def test_slow_start_doubles_and_stops_at_the_limit() -> None:
    window, sizes = ConcurrencyLimit(50), []
    for _ in range(5):
        sizes.append(window.size)
        for ticket in [window.acquire() for _ in range(window.free)]:
            window.on_response(ticket)
    assert sizes == [4, 8, 16, 32, 50]


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = ConcurrencyLimit(50)
    for _ in range(20):
        window.on_response(window.acquire())
    assert window.size == 4


def test_a_round_trip_that_is_refused_halves_the_window() -> None:
    window = ConcurrencyLimit(64)
    while window.size < 64:
        for ticket in [window.acquire() for _ in range(window.free)]:
            window.on_response(ticket)
    window.on_response(window.acquire())
    for ticket in [window.acquire() for _ in range(window.free)]:
        window.on_overload(ticket)
    window.on_overload(window.acquire())
    assert 1 <= window.size <= 32


@given(st.lists(st.sampled_from(["send", "on_response", "on_overload", "on_error"]), max_size=300), st.integers(1, 40))
def test_the_window_stays_between_one_and_its_limit(events: list[str], limit: int) -> None:
    window, out = ConcurrencyLimit(limit), []
    for event in events:
        if event == "send":
            if window.free:
                out.append(window.acquire())
        elif out:
            getattr(window, event)(out.pop(0))
        assert 1 <= window.size <= limit
        assert window.in_flight == len(out)
