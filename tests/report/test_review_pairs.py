"""Which pairs a review shows, and how."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.report.review_pairs import ReviewedPair, choose, review_lines
from equal_hf.types import QAPair


@given(st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), max_size=60), st.integers(0, 2**32 - 1))
def test_each_pair_is_shown_once_and_the_best_are_worth_no_less_than_the_worst(values, seed):
    vectors = np.random.default_rng(seed).standard_normal((len(values), 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = choose(np.array(values), vectors)
    shown = [position for positions in chosen.values() for position in positions]
    assert len(shown) == len(set(shown)) == min(len(values), 30)
    rest = set(range(len(values))) - set(chosen["best"])
    assert all(values[one] >= values[other] for one in chosen["best"] for other in rest)
    assert all(values[one] <= values[other] for one in chosen["worst"] for other in rest - set(chosen["worst"]))


def test_an_outlier_is_odd():
    angles = np.concatenate([np.linspace(0, 0.3, 40), [2.5]])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert choose(np.linspace(1, 0, 41)[np.r_[0:20, 40, 20:40]], vectors, count=1)["odd"] == [40]


def test_what_models_wrote_is_escaped_and_shortened():
    pair = QAPair("Wipe\x1b[2J\nthe screen?", "a" * 5_000, "d1")
    lines = review_lines([ReviewedPair("odd", pair, 0, 0, 0.25)], {"rounds": 1, "pairs": 1}, {"dup\x07": 2, "a": 3})
    assert lines[0] == "1 rounds, 1 pairs" and lines[1] == "rejected: a 3, dup\\x07 2"
    assert "  1. 0.25  Q: Wipe\\x1b[2J the screen?" in lines
    assert max(map(len, lines)) < 350
