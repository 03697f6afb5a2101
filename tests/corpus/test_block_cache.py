"""The bounded cache of blocks, the background fetcher, and the seeded keys behind order and samples."""

from __future__ import annotations

import os
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equal_hf.corpus.block_cache import BlockCache
from equal_hf.corpus.indexing.deduplicate import find_duplicates
from equal_hf.corpus.indexing.hash_order import ORDER, SAMPLE, lowest_keys, seeded_keys
from equal_hf.corpus.prefetcher import Prefetcher
from equal_hf.errors import CorpusError


def held(folder) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_it_never_grows_beyond_its_bound_and_keeps_what_was_used_last(tmp_path):
    cache = BlockCache(tmp_path, max_bytes=10_000)
    for number in range(50):
        cache.put("file", number, 1000, bytes([number]) * 1000)
        os.utime(cache._path("file", number, 1000), ns=(number, number))  # in this order, whatever the clock's grain
        assert cache.get("file", 0, 1000) == bytes(1000)  # used all the time
        assert held(tmp_path) <= 10_000
    assert cache.get("file", 49, 1000) == bytes([49]) * 1000
    assert cache.get("file", 20, 1000) is None
    cache.put("file", 99, 20_000, bytes(20_000))  # larger than the whole cache
    assert cache.get("file", 99, 20_000) is None and cache.get("file", 0, 1000) is not None


def test_a_damaged_block_counts_as_absent(tmp_path):
    cache = BlockCache(tmp_path, max_bytes=10_000)
    cache.put("file", 0, 3, b"abc")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert cache.get("file", 0, 3) is None
    path.write_bytes(b"")
    assert cache.get("file", 0, 3) is None
    cache.put("file", 0, 3, b"abc")
    assert BlockCache(tmp_path, max_bytes=10_000).get("file", 0, 3) == b"abc"


def test_sources_share_a_folder_and_its_bound(tmp_path):
    old, new = (BlockCache(tmp_path, max_bytes=10_000, source=f"corpus@{commit}") for commit in ("old", "new"))
    for number in range(9):
        old.put("file", number, 1000, b"o" * 1000)
        os.utime(old._path("file", number, 1000), ns=(number, number))
    assert new.get("file", 8, 1000) is None
    for number in range(9):
        new.put("file", number, 1000, b"n" * 1000)
    assert held(tmp_path) <= 10_000
    assert new.get("file", 8, 1000) == b"n" * 1000 and old.get("file", 0, 1000) is None


def test_nothing_is_kept_where_nothing_may_be(tmp_path):
    cache = BlockCache(tmp_path / "none", max_bytes=0)
    cache.put("file", 0, 3, b"abc")
    assert cache.get("file", 0, 3) is None and not (tmp_path / "none").exists()


def test_later_wishes_replace_earlier_ones_and_a_failure_stops_nobody():
    prefetcher, gate, started, done = Prefetcher(), threading.Event(), threading.Event(), []

    def wait() -> None:
        started.set()
        gate.wait(30)

    def fail() -> None:
        raise CorpusError("gone")

    prefetcher.want([wait, lambda: done.append("old")])
    started.wait(30)
    prefetcher.want([fail, lambda: done.append("new")])
    gate.set()
    assert prefetcher.wait(30)
    assert done == ["new"]


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6), wanted=st.integers(1, 200), seed=st.integers(0, 9))
def test_a_sample_has_the_size_asked_for_and_does_not_depend_on_the_shards(sizes, wanted, seed):
    digests = np.random.default_rng(seed).integers(0, 256, (sum(sizes), 16), dtype=np.uint8)
    whole = seeded_keys(digests, seed, SAMPLE)
    shards = np.split(whole, np.cumsum(sizes)[:-1])
    chosen = [keys[rows] for keys, rows in zip(shards, lowest_keys(lambda: shards, len(whole), wanted), strict=True)]
    found = np.concatenate(chosen)
    assert sorted(found.tolist()) == np.sort(whole)[:wanted].tolist()
    assert len(whole) == 0 or (seeded_keys(digests, seed, ORDER) != whole).all()


@settings(max_examples=60)
@given(
    shards=st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=8), min_size=1, max_size=4),
    rows=st.integers(1, 5),
)
def test_the_first_of_each_text_then_of_each_id_stays(shards, rows):
    def read(shard):
        digests = np.zeros((len(shards[shard]), 16), np.uint8)
        digests[:, 0] = [text for text, _ in shards[shard]]
        return digests, [f"id {id_}" for _, id_ in shards[shard]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equal_hf.corpus.indexing.deduplicate.PASS_ROWS", rows)
        kept, dropped = find_duplicates(read, [len(shard) for shard in shards], by_id=True)
    texts, survivors = set(), []
    for number, shard in enumerate(shards):
        for row, (text, id_) in enumerate(shard):
            if text not in texts:
                survivors.append((number, row, id_))
            texts.add(text)
    ids, expected = set(), []
    for number, row, id_ in survivors:
        if id_ not in ids:
            expected.append((number, row))
        ids.add(id_)
    assert [(n, int(row)) for n, mask in enumerate(kept) for row in np.flatnonzero(mask)] == expected
    assert sum(dropped.values()) == sum(map(len, shards)) - len(expected)


def test_the_search_for_duplicates_takes_no_more_memory_than_its_sort():
    rows = 100_000
    shards = np.random.default_rng(0).integers(0, 256, (10, rows // 10, 16), dtype=np.uint8)
    tracemalloc.start()
    find_duplicates(lambda shard: (shards[shard], []), [rows // 10] * 10, by_id=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * rows
