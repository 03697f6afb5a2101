from __future__ import annotations

import itertools
import tracemalloc

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equal_hf.corpus.indexing.file_plan import cluster_totals, plan_files, share_out
from equal_hf.corpus.indexing.hash_order import seeded_keys
from equal_hf.corpus.indexing.layout import Layout, fit_sketch
from equal_hf.corpus.indexing.parquet_writer import ROW_GROUP_BYTES, write_files, write_index
from equal_hf.corpus.indexing.shards import DIGEST, common_schema, digests_of, read_shard, write_shards
from equal_hf.corpus.indexing.sorted_runs import opened, write_run
from equal_hf.corpus.parquet_reader import ClusterReader
from equal_hf.errors import CorpusError
from equal_hf.types import Document


def write(texts, labels, folder, seed=0, max_shard_bytes=10**9, ages=None):
    """Texts through shards and sorted runs, two of each, to files; their index and a reader."""
    half = len(texts) // 2
    labels = np.asarray(labels, dtype=np.int32)
    documents = [Document(f"document {n}", text, metadata={"place": n}) for n, text in enumerate(texts)]
    vectors = np.array([direction(n) for n in range(len(texts))], np.float16)
    runs, shards, all_keys = [], [], []
    for part in (slice(0, half), slice(half, None)):
        for shard in write_shards(documents[part], folder / "work"):
            table = read_shard(shard.path(folder / "work"))
            keys = seeded_keys(digests_of(table[DIGEST]), seed)
            prefix = folder / "work" / f"run-{len(runs)}"
            write_run(prefix, table.drop_columns([DIGEST]), keys, labels[part], vectors[part])
            all_keys.append(keys)
            runs.append(prefix)
            shards.append(shard.path(folder / "work"))
    rows, stored = cluster_totals(runs, int(labels.max()) + 1)
    shared = share_out(rows, stored, max_shard_bytes=max_shard_bytes)
    plans = plan_files(rows, [clusters[0] for clusters in shared])
    ages, keys = np.asarray(ages or [0] * len(texts)), np.concatenate(all_keys)
    layout = Layout(tuple(np.sort(keys[ages == age]) for age in np.unique(ages)), (), fit_sketch(runs))
    with opened(runs) as readers:
        parts = [write_files(plan, readers, common_schema(shards), np.eye(2), 32, folder, layout) for plan in plans]
    write_index([row for part in parts for row in part.index], folder / "index.parquet")
    index = pq.read_table(folder / "index.parquet")
    sizes = {name: (folder / name).stat().st_size for part in parts for name in part.names}
    return index, ClusterReader(fsspec.filesystem("file"), str(folder), index, sizes)


def direction(n):
    return np.cos(n / 100), np.sin(n / 100)


def row_groups(folder, index):
    """The clusters that each row group really holds."""
    return [
        set(pq.ParquetFile(folder / row["file"]).read_row_group(row["row_group"])["cluster"].to_pylist())
        for row in index.to_pylist()
    ]


@settings(max_examples=40)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    seed=st.integers(0, 3),
    max_shard_bytes=st.sampled_from([1, 2000, 10**9]),
    step=st.integers(1, 9),
    permute=st.booleans(),
    ages=st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_chunked_draws_give_every_document_once(labels, seed, max_shard_bytes, step, permute, ages, tmp_path_factory):
    labels = np.unique(labels, return_inverse=True)[1]
    texts = [f"text {number} é\n\0" * (1 + number % 3) for number in range(len(labels))]
    folder = tmp_path_factory.mktemp("written")
    index, reader = write(texts, labels, folder, seed, max_shard_bytes, ages[: len(labels)])
    assert (reader.sizes == np.bincount(labels)).all()
    drawn = []
    for cluster, size in enumerate(reader.sizes.tolist()):
        order = np.random.default_rng(seed).permutation(size) if permute else np.arange(size)
        for start in range(0, size, step):
            drawn += [(cluster, document) for document in reader.documents(cluster, order[start : start + step])]
    assert all(document.cluster == cluster == labels[document.metadata["place"]] for cluster, document in drawn)
    assert all(document.text == texts[document.metadata["place"]] for _, document in drawn)
    assert sorted(document.metadata["place"] for _, document in drawn) == list(range(len(texts)))
    assert row_groups(folder, index) == [{row["cluster"]} for row in index.to_pylist()]
    for cluster, size in enumerate(reader.sizes.tolist()):
        places = [document.metadata["place"] for document in reader.documents(cluster, np.arange(size))]
        assert np.allclose(reader.embeddings(cluster), [direction(place) for place in places], atol=2e-3)
        assert len(reader.terms(cluster)) == size
    names = {row["file"] for row in index.to_pylist()}
    assert any("-added-" in name for name in names) == (len(set(ages[: len(labels)])) > 1)


def test_files_hold_contiguous_ranges_of_whole_clusters(tmp_path):
    labels = np.repeat(np.arange(10), 30)
    texts = [" ".join(np.random.default_rng(number).integers(0, 10**6, 40).astype(str)) for number in range(300)]
    index, _ = write(texts, labels, tmp_path, max_shard_bytes=10_000)
    by_file = {}
    for row in index.to_pylist():
        by_file.setdefault(row["file"], []).append(row["cluster"])
    assert list(by_file) == [f"data/clusters-{n:05d}-of-{len(by_file):05d}.parquet" for n in range(len(by_file))]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [name[5:] for name in by_file]
    assert 1 < len(by_file) < 10
    assert list(itertools.chain(*by_file.values())) == sorted(itertools.chain(*by_file.values()))
    assert sum(len(set(clusters)) for clusters in by_file.values()) == 10


def test_row_groups_are_bounded_in_rows_and_bytes(tmp_path):
    (tmp_path / "many").mkdir()
    (tmp_path / "long").mkdir()
    index, reader = write([f"short {n}" for n in range(2500)] + ["other"], [0] * 2500 + [1], tmp_path / "many")
    assert index["rows"].to_pylist() == [1000, 1000, 500, 1]
    spread = np.array([2400, 0, 1000, 999, 2499])
    assert len({document.id for document in reader.documents(0, spread)}) == 5

    longs = [f"{n}" * (ROW_GROUP_BYTES * 2 // 5) for n in range(5)] + ["y" * (3 * ROW_GROUP_BYTES)]
    index, reader = write(longs, [0] * 5 + [1], tmp_path / "long")
    assert index["rows"].to_pylist() == [2, 2, 1, 1]
    assert [len(document.text) for document in reader.documents(1, np.array([0]))] == [3 * ROW_GROUP_BYTES]


def test_the_index_tells_where_the_row_groups_lie_and_the_footer_holds_no_statistics(tmp_path):
    index, _ = write([f"text {number}" for number in range(100)], [number % 3 for number in range(100)], tmp_path)
    metadata = pq.read_metadata(tmp_path / index["file"][0].as_py())
    end = 4
    for number, row in enumerate(index.to_pylist()):
        group = metadata.row_group(number)
        assert (row["offset"], row["rows"], row["row_group"]) == (end, group.num_rows, number)
        assert row["bytes"] == sum(group.column(column).total_compressed_size for column in range(4))
        end += row["bytes"]
        assert not any(group.column(column).is_stats_set for column in range(4))


def test_a_row_group_takes_little_memory_of_a_reader():
    rows = 20_000
    numbers = np.arange(rows)
    index = pa.table(
        {
            "cluster": numbers // 4,
            "file": [f"data/clusters-{number:05d}-of-00020.parquet" for number in (numbers // 1000).tolist()],
            "row_group": numbers % 1000,
            "rows": np.full(rows, 100),
            "offset": 200_000 * (numbers % 1000),
            "bytes": np.full(rows, 200_000),
        }
    )
    tracemalloc.start()
    reader = ClusterReader(fsspec.filesystem("file"), "", index, {})
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert reader.sizes.tolist() == [400] * 5000
    assert held < 64 * rows
    with pytest.raises(CorpusError, match="holds no numbers"):
        ClusterReader(fsspec.filesystem("file"), "", index.set_column(4, "offset", index["file"]), {})
