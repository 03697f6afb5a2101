"""Rows of a round: stratified, exact, topped up by replay."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.training.round_rows import sample_own, sample_replay


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 99))
def test_own_rows_are_every_pair_once_and_each_arm_early(sizes, seed):
    starts = np.cumsum([0, *sizes])
    by_arm = [list(range(starts[i], starts[i + 1])) for i in range(len(sizes))]
    order = sample_own(by_arm, np.random.default_rng(seed))
    assert sorted(order) == list(range(sum(sizes)))
    alive = [arm for arm in by_arm if arm]
    first = order[: len(alive)]
    assert all(any(position in arm for position in first) for arm in alive)


def test_a_prefix_is_in_proportion():
    order = sample_own([range(90), range(90, 120)], np.random.default_rng(0))
    assert 26 <= sum(position < 90 for position in order[:40]) <= 34


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 40), st.integers(0, 99))
def test_replay_fills_exactly_and_repeats_no_sooner_than_it_must(counts, n, seed):
    picks = sample_replay(counts, n, np.random.default_rng(seed))
    total = sum(counts)
    assert len(picks) == (n if total else 0)
    assert all(0 <= position < counts[index] for index, position in picks)
    assert len(set(picks[:total])) == min(total, len(picks))
