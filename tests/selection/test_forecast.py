"""Forecasts of useful pairs: what they hold on processes whose truth is known."""

import numpy as np
import pytest

from equal_hf.selection.forecast import Ahead, forecast, found_share


def rounds_of(rate, rounds, rng, overdispersion=1.0):
    """Useful pairs of rounds that spend 1 each, at a rate by round."""
    means = np.array([rate(index) for index in range(rounds)])
    if overdispersion <= 1:
        return rng.poisson(means)
    return rng.negative_binomial(np.maximum(means, 1e-9) / (overdispersion - 1), 1 / overdispersion)


RATES = {
    "level": lambda index: 30.0,
    "hyperbolic": lambda index: 60.0 / (1 + index / 6),
    "exponential": lambda index: 60.0 * np.exp(-index / 12),
    "learned first": lambda index: 8.0 * min(index + 1, 5) / (1 + max(index - 5, 0) / 10),
}


@pytest.mark.parametrize(
    "name, least", [("level", 0.7), ("hyperbolic", 0.7), ("exponential", 0.55), ("learned first", 0.55)]
)
def test_intervals_hold_what_comes(name, least):
    rng = np.random.default_rng(3)
    held = []
    for _ in range(60):
        useful = rounds_of(RATES[name], 40, rng, overdispersion=2.0)
        for now in (10, 16, 24):
            half = forecast([1.0] * now, useful[:now], 40.0 - now)[1]
            held.append(half.low <= useful[now : now + (40 - now) // 2].sum() <= half.high)
    assert np.mean(held) > least


def test_a_rate_that_falls_is_not_carried_on():
    useful = [round(RATES["exponential"](index)) for index in range(20)]
    whole = forecast([1.0] * 20, useful, 20.0)[-1]
    assert whole.useful < 0.7 * 20 * useful[-1]


def test_it_is_the_same_in_any_unit_and_every_time():
    useful = [40, 36, 31, 27, 24, 20]
    once, cents = forecast([2.0] * 6, useful, 8.0), forecast([200.0] * 6, useful, 800.0)
    assert once == forecast([2.0] * 6, useful, 8.0)
    assert [part.useful for part in cents] == pytest.approx([part.useful for part in once])
    assert [part.budget for part in cents] == pytest.approx([80.0, 400.0, 800.0])


def test_nothing_useful_is_told_as_little_to_come():
    ahead = forecast([1.0] * 30, [0] * 30, 10.0)
    assert ahead[-1].useful < 1 and ahead[-1].low == 0 and ahead[-1].high <= 3


def test_there_is_none_without_rounds_or_budget():
    assert forecast([1.0] * 3, [5] * 3, 10.0) == ()
    assert forecast([1.0] * 9, [5] * 9, 0.0) == ()
    assert forecast([0.0] * 9, [0] * 9, 10.0) == ()  # replies that cost nothing say nothing of what money buys


def test_many_rounds_take_no_longer_than_a_round_may():
    import time

    began = time.perf_counter()
    ahead = forecast([1.0] * 20_000, [3] * 20_000, 20_000.0)
    assert time.perf_counter() - began < 1.0
    assert ahead[-1].low < 60_000 < ahead[-1].high


def test_the_share_that_is_found():
    assert found_share(30.0, [Ahead(0.1, 1, 2, 1, 3), Ahead(1.0, 10, 10, 5, 20)]) == 0.75
    assert found_share(30.0, ()) is None
