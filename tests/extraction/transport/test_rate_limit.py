"""Caps per minute hold in every minute, for whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.transport.rate_limit import RateLimiter


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 500), st.floats(0, 1)), max_size=60),
)
def test_no_minute_holds_more_than_the_cap(cap: int, arrivals: list[tuple[float, int, float]]) -> None:
    minutes, now, sent = RateLimiter(cap), 0.0, []
    for gap, wanted, used in arrivals:
        amount = min(wanted, cap)
        now += gap
        now += minutes.wait_s(now, amount)
        assert minutes.wait_s(now, amount) < 1e-6
        entry = minutes.take(now, amount)
        came_to = int(amount * used)
        minutes.correct(entry, came_to)
        sent.append((now, came_to))
        # The request just sent counted in full until its reply was there.
        others = sum(tokens for when, tokens in sent[:-1] if when > now - 60 + 1e-6)
        assert others + amount <= cap


def test_without_a_cap_nothing_waits_and_nothing_is_kept() -> None:
    minutes = RateLimiter(None)
    for second in range(1000):
        minutes.take(float(second), 10**9)
    assert minutes.wait_s(1000.0, 10**9) == 0.0
    assert not minutes._entries


def test_what_is_larger_than_the_cap_waits_for_an_empty_minute() -> None:
    minutes = RateLimiter(100)
    minutes.take(0.0, 10)
    assert minutes.wait_s(1.0, 500) == 59.0
    assert minutes.wait_s(60.0, 500) == 0.0
