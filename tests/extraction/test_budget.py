from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.errors import ConfigError
from equal_hf.extraction.budget import Admission, Prices, nano
from equal_hf.types import Allowance, Usage


@st.composite
def cases(draw: st.DrawFn) -> tuple[Allowance, list[tuple[Usage, Usage]], int]:
    limits = st.none() | st.integers(0, 300)
    allowance = Allowance(draw(limits), draw(limits))
    documents = []
    for _ in range(draw(st.integers(0, 25))):
        worst = Usage(draw(st.integers(0, 100)), draw(st.integers(0, 100)), 2)
        used = Usage(draw(st.integers(0, worst.prompt_tokens)), draw(st.integers(0, worst.completion_tokens)), 1)
        documents.append((worst, used))
    return allowance, documents, draw(st.integers(0, 2**32))


def in_turn(allowance: Allowance, documents: list[tuple[Usage, Usage]]) -> tuple[list[bool], Usage]:
    """The rule with one document out at a time."""
    total, goes = Usage(), []
    for worst, used in documents:
        goes.append(allowance.holds(total + worst))
        total += used if goes[-1] else Usage()
    return goes, total


@given(cases())
def test_who_goes_depends_on_no_timing_and_the_allowance_is_never_passed(case) -> None:
    allowance, documents, seed = case
    timing = random.Random(seed)
    admission, out, goes = Admission(allowance), [], []
    waiting = deque(documents)
    while waiting or out:
        # Everything that is out might still use its worst case: even then the allowance holds.
        assert allowance.holds(admission.used + sum((worst for worst, _ in out), Usage()))
        verdict = None
        if waiting and not (out and timing.random() < 0.5):
            verdict = admission.decide(waiting[0][0])
        if verdict == "go":
            out.append(waiting.popleft())
            goes.append(True)
        elif verdict == "refused":
            waiting.popleft()
            goes.append(False)
        else:
            assert out, "it waits for nothing"
            admission.settle(*out.pop(timing.randrange(len(out))))
    assert (goes, admission.used) == in_turn(allowance, documents)


def test_documents_overlap_while_there_is_room() -> None:
    admission = Admission(Allowance(prompt_tokens=100))
    assert [admission.decide(Usage(10, 5)) for _ in range(10)] == ["go"] * 10
    assert admission.decide(Usage(10, 5)) == "wait"


def test_no_allowance_admits_everything() -> None:
    admission = Admission(None)
    assert {admission.decide(Usage(10**12, 10**12)) for _ in range(100)} == {"go"}


def test_costs_are_what_the_prices_say_as_written() -> None:
    """Binary fractions would make 3 tokens at 0.1 a million cost 301 billionths."""
    assert Prices(0.1, 0.1).cost(Usage(3, 0)) == Prices(0.1, 0.1).cost(Usage(0, 3)) == 300
    assert nano(0.29) == nano(0.29, up=True) == 290_000_000
    assert (nano(1.5e-9), nano(1.5e-9, up=True)) == (1, 2)
    assert Prices(0.0001).cost(Usage(1)) == 1, "rounded up"


def test_tokens_of_every_kind_have_their_price() -> None:
    prices, usage = Prices(2.0, 8.0, cached=0.5, flex=0.4), Usage(1000, 100, 1, cached_tokens=600, reasoning_tokens=90)
    full = 400 * 2000 + 600 * 500 + 100 * 8000
    assert prices.cost(usage) == full
    assert prices.cost(usage, "batch") == full // 2
    assert prices.cost(usage, "flex") == full * 4 // 10
    assert prices.cost(usage, "priority") == 2 * full
    assert prices.cost(usage, "scale") == full, "a tier of no price of its own"
    assert Prices(2.0, 8.0).cost(usage) == Prices(2.0, 8.0).cost(Usage(1000, 100)), "cached at the prompt's price"
    assert prices.cost(Usage(10, 0, 1, cached_tokens=999)) == 10 * 500, "no server caches more than it was sent"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_worst_case_costs_at_least_what_it_bounds(prompt: int, completion: int, cached: int) -> None:
    prices = Prices(0.37, 1.13, cached=0.037)
    for tier in ("", "flex", "batch"):
        used = Usage(prompt, completion, 1, min(cached, prompt))
        assert prices.cost(used, tier) <= prices.cost(Usage(prompt, completion, 1), tier)


@pytest.mark.parametrize(
    ("prices", "setting"),
    [
        ({"prompt": -1.0}, "price_per_million_prompt_tokens"),
        ({"completion": float("inf")}, "price_per_million_completion_tokens"),
        ({"prompt": 1.0, "cached": 2.0}, "price_per_million_cached_tokens"),
        ({"batch": float("nan")}, "price_factor_batch"),
    ],
)
def test_prices_out_of_range_are_refused_by_the_setting(prices, setting) -> None:
    with pytest.raises(ConfigError, match=setting):
        Prices(**prices)
