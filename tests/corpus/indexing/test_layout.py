"""Generations of a corpus that grows, and the order in which they are drawn."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from equal_hf.corpus.indexing.hash_order import interleaved
from equal_hf.corpus.indexing.layout import LEAST_SHARE, grown


@example([set(range(100)), set(range(140)), set(range(150)), set(range(50, 150))])  # the oldest shrinks
@given(st.lists(st.sets(st.integers(0, 300), min_size=1), min_size=1, max_size=12))
def test_generations_share_out_the_documents_and_stay_few(revisions: list[set[int]]):
    generations: list[np.ndarray] = []
    for revision in revisions:
        before, keys = generations, np.array(sorted(revision), np.uint64)
        generations = grown(before, keys)
        assert sorted(np.concatenate(generations).tolist()) == sorted(revision)
        assert all((np.diff(members.astype(np.int64)) > 0).all() for members in generations)
        sizes = list(map(len, generations))
        assert all(later < LEAST_SHARE * earlier for earlier, later in itertools.pairwise(sizes))
        # What stays is where it was, or with what was merged with it.
        for member, own in enumerate(before):
            left = set(own.tolist()) & revision
            assert len({place for place, now in enumerate(generations) if left & set(now.tolist())}) <= 1, member
        assert [len(now) for now in grown(generations, keys)] == sizes, "nothing is new"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 1000))
def test_an_interleaving_has_everything_once_and_keeps_each_order(sizes: list[int], cluster: int):
    order = interleaved(sizes, cluster)
    assert sorted(order.tolist()) == list(range(sum(sizes)))
    for start, size in zip(np.cumsum([0, *sizes[:-1]]).tolist(), sizes, strict=True):
        own = [place for place in order.tolist() if start <= place < start + size]
        assert own == list(range(start, start + size))


def test_documents_of_all_generations_are_as_likely_early():
    places = np.concatenate([np.flatnonzero(interleaved([90, 10], cluster) >= 90) for cluster in range(200)])
    assert 46 < places.mean() < 53
    assert np.histogram(places, 4, (0, 100))[0].min() > 400
