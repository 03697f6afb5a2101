from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, load_dataset
from safetensors.numpy import load_file

from equal_hf.corpus import ClusteredCorpus, ClusterProfiles, Embedder
from equal_hf.corpus.block_cache import BlockCache
from equal_hf.corpus.centroids import write_centroids
from equal_hf.corpus.indexing.cluster_assign import training_sample
from equal_hf.corpus.indexing.embed import embed_shard
from equal_hf.corpus.indexing.embedding_store import EmbeddingStore
from equal_hf.corpus.indexing.shards import write_shards
from equal_hf.corpus.indexing.workspace import write_record
from equal_hf.corpus.parquet_reader import ClusterReader, read_index
from equal_hf.corpus.profiles import principal_directions, samples_per_cluster
from equal_hf.errors import ConfigError, CorpusError, MissingDependencyError
from equal_hf.types import Document
from tests.corpus.tiny import make_model, make_texts


def build(rows, path, embedder, **settings):
    settings = {"n_clusters": 4, "threads": 1, "show_progress": False, **settings}
    return ClusteredCorpus.build(rows, path, embedder=embedder, **settings)


def everything(corpus: ClusteredCorpus) -> list[tuple]:
    return [
        (document.id, document.text, document.cluster, dict(document.metadata))
        for cluster in range(corpus.n_clusters)
        for document in corpus.draw(cluster, 10**6)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def garble(folder: Path, kept: int) -> None:
    """Overwrite the row groups of all clusters but one."""
    index = pq.read_table(folder / "index.parquet").to_pylist()
    for row in index:
        if row["cluster"] != kept:
            with open(folder / row["file"], "r+b") as file:
                file.seek(row["offset"])
                file.write(b"\xa5" * row["bytes"])


def test_the_corpus_holds_every_document_once_with_its_cluster_and_metadata(corpus, rows):
    drawn = everything(corpus)
    assert sorted(text for _, text, _, _ in drawn) == sorted(row["text"] for row in rows)
    metadata = {row["text"]: {"topic": row["topic"], "number": row["number"]} for row in rows}
    assert all(found == metadata[text] for _, text, _, found in drawn)
    assert corpus.n_clusters == len(corpus.sizes) == 8
    assert corpus.sizes.dtype == np.int64 and corpus.sizes.min() > 0 and corpus.sizes.sum() == len(rows)
    clusters_of_topic = {}
    for _, _, cluster, found in drawn:
        clusters_of_topic.setdefault(cluster, set()).add(found["topic"])
    assert all(len(topics) == 1 for topics in clusters_of_topic.values())


def test_draw_goes_through_a_cluster_in_stored_order_or_in_the_order_given(corpus):
    cluster = int(corpus.sizes.argmax())
    size = int(corpus.sizes[cluster])
    whole = [document.id for document in corpus.draw(cluster, size)]
    assert [document.id for start in range(0, size, 7) for document in corpus.draw(cluster, 7, start)] == whole
    order = np.random.default_rng(0).permutation(size)
    drawn = [document.id for document in corpus.draw(cluster, 5, 3, order)]
    assert drawn == [whole[position] for position in order[3:8]]
    assert [document.id for document in corpus.draw(cluster, 99, size - 2)] == whole[-2:]
    assert corpus.draw(cluster, 5, size) == corpus.draw(cluster, 0) == []


def test_what_cannot_be_drawn_is_refused(corpus):
    for cluster in (-1, 8):
        with pytest.raises(CorpusError, match=rf"no cluster {cluster}; the corpus has clusters 0 … 7"):
            corpus.draw(cluster, 1)
        with pytest.raises(CorpusError, match="no cluster"):
            corpus.embeddings(cluster)
    with pytest.raises(CorpusError, match="`start` is -1"):
        corpus.draw(0, 1, -1)
    with pytest.raises(CorpusError, match="`order` holds positions outside"):
        corpus.draw(0, 1, order=np.array([10**6]))


def test_a_draw_needs_no_byte_of_other_clusters(corpus, tmp_path):
    whole = everything(corpus)
    for cluster in (0, 3, 7):
        folder = tmp_path / str(cluster)
        corpus.save(folder)
        garble(folder, kept=cluster)
        garbled = ClusteredCorpus.load(folder)
        drawn = [document.id for document in garbled.draw(cluster, 10**6)]
        assert drawn == [id_ for id_, _, found, _ in whole if found == cluster]
        with pytest.raises(CorpusError, match=r"data/clusters-.* cannot be read"):
            garbled.draw((cluster + 1) % 8, 1)


def test_the_order_inside_a_cluster_is_that_of_the_seed_not_of_the_input(rows, embedder, tmp_path):
    one = build(rows, tmp_path / "one", embedder, n_clusters=1)
    reversed_ = build(rows[::-1], tmp_path / "reversed", embedder, n_clusters=1)
    other = build(rows, tmp_path / "other", embedder, n_clusters=1, seed=7)
    ids = [[document.id for document in corpus.draw(0, 1000)] for corpus in (one, reversed_, other)]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2] and sorted(ids[0]) == sorted(ids[2])
    assert [document.text for document in one.draw(0, 1000)] != [row["text"] for row in rows]


def test_the_same_input_gives_the_same_bytes(rows, tmp_path):
    for name in ("first", "second"):
        build(Dataset.from_list(rows), tmp_path / name, Embedder(make_model()), n_clusters=6, max_shard_bytes=4000)
    first, second = contents(tmp_path / "first"), contents(tmp_path / "second")
    assert first.keys() == second.keys() and len([name for name in first if name.startswith("data/")]) > 1
    assert [name for name in first if first[name] != second[name]] == []


def test_a_stream_gives_the_same_corpus_as_a_dataset(rows, embedder, tmp_path):
    dataset = Dataset.from_list(rows)
    whole = build(dataset, tmp_path / "whole", embedder)
    streamed = build(dataset.to_iterable_dataset(), tmp_path / "streamed", embedder)
    assert streamed.fingerprint == whole.fingerprint


def test_the_folder_is_an_ordinary_dataset_of_the_documents(corpus, rows):
    folder = corpus.source
    dataset = load_dataset(folder, split="train")
    assert dataset.column_names == ["id", "text", "cluster", "topic", "number"]
    assert dataset.num_rows == len(rows)
    assert dataset["cluster"][:] == sorted(dataset["cluster"])
    assert [(row["id"], row["text"], row["cluster"]) for row in dataset] == [drawn[:3] for drawn in everything(corpus)]
    streamed = list(load_dataset(folder, split="train", streaming=True))
    assert streamed == list(dataset)


def test_embeddings_are_those_of_the_documents_in_stored_order(corpus, embedder):
    for cluster in range(corpus.n_clusters):
        stored = corpus.embeddings(cluster)
        expected = embedder.encode([document.text for document in corpus.draw(cluster, 10**6)])
        assert stored.dtype == np.float32 and stored.shape == expected.shape
        np.testing.assert_allclose(stored, expected, atol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)
    files = sorted((Path(corpus.source) / "embeddings").iterdir())
    stored = [load_file(path)["embeddings"] for path in files]
    assert len(files) == 3 and {vectors.dtype for vectors in stored} == {np.dtype(np.float16)}
    assert np.concatenate(stored).shape == (240, embedder.dimension)


def test_profiles_describe_the_embeddings(corpus):
    profiles = corpus.profiles
    whole = np.concatenate([corpus.embeddings(cluster) for cluster in range(8)]).astype(np.float64)
    width = profiles.components.shape[1]
    assert profiles.components.shape == (16, 16) and profiles.covariance.shape == (8, width, width)
    np.testing.assert_allclose(profiles.components.T @ profiles.components, np.eye(width), atol=1e-5)
    spread = np.var(whole @ profiles.components, axis=0)
    assert (np.diff(spread) <= 1e-6).all()
    assert (profiles.count == corpus.sizes).all()
    for cluster in range(8):
        vectors = corpus.embeddings(cluster)
        np.testing.assert_allclose(profiles.mean[cluster], vectors.mean(axis=0), atol=1e-3)
        expected = np.cov((vectors @ profiles.components).T, bias=True)
        np.testing.assert_allclose(profiles.covariance[cluster], expected, atol=2e-3)
        assert profiles.samples[cluster].dtype == np.float32
        np.testing.assert_allclose(profiles.samples[cluster], vectors[:32], atol=1e-3)


def test_the_centroids_are_those_that_documents_were_assigned_to(corpus, tmp_path):
    centroids = corpus.centroids
    assert centroids.shape == (8, corpus.manifest["dimension"]) and centroids.dtype == np.float32
    for cluster in range(8):
        assert ((corpus.embeddings(cluster) @ centroids.T).argmax(axis=1) == cluster).all()
    table = pq.read_table(Path(corpus.source) / "clusters.parquet")
    assert table["centroid"].to_pylist() == corpus.centroid_numbers.tolist()
    assert "`centroids.safetensors`" in (Path(corpus.source) / "README.md").read_text()
    corpus.save(tmp_path / "copy")
    copy = ClusteredCorpus.load(tmp_path / "copy")
    overwrite("centroids.safetensors")(tmp_path / "copy")
    with pytest.raises(CorpusError, match=r"centroids .* cannot be read"):
        _ = copy.centroids
    write_centroids(centroids, np.arange(8, 0, -1, dtype=np.int32), tmp_path / "copy/centroids.safetensors")
    with pytest.raises(CorpusError, match="its numbers are not those"):
        _ = copy.centroids
    del copy.manifest["files"]["centroids.safetensors"]  # as one that was written before there were any
    with pytest.raises(CorpusError, match=r"without its centroids\. Build it again"):
        _ = copy.centroids


def test_profiles_keep_fewer_samples_and_dimensions_where_there_is_much(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(120, 40)).astype(np.float32)
    monkeypatch.setattr("equal_hf.corpus.profiles.SAMPLE_BYTES", 2 * 40 * 3 * 10)
    clusters = np.split(vectors, [5, 55])
    profiles = ClusterProfiles.compute(clusters, principal_directions(vectors), samples_per_cluster(3, 40))
    assert [len(sample) for sample in profiles.samples] == [5, 10, 10]
    assert profiles.covariance.shape == (3, 32, 32)


def test_the_sample_that_centroids_are_trained_on_is_held_once(tmp_path):
    store, rng = EmbeddingStore(tmp_path, "model", 64), np.random.default_rng(0)
    vectors = rng.normal(size=(8, 2000, 64))
    vectors[0, :3] = 0  # no direction
    for number, part in enumerate(vectors):
        digests = rng.integers(0, 256, (2000, 16), dtype=np.uint8)
        store.save(str(number), digests, part, np.zeros(2000, bool))
    tracemalloc.start()
    sample = training_sample(store, [str(number) for number in range(8)], 16_000, 100, seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = vectors.astype(np.float16).astype(np.float32).reshape(-1, 64)[3:]
    np.testing.assert_allclose(sample, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)
    assert peak < 1.6 * sample.nbytes


def test_the_manifest_says_how_the_corpus_was_made_and_proves_its_files(rows, embedder, tmp_path):
    dirty = [*rows, {"text": None}, {"text": "sum"}, rows[0], {"text": "unknown words only " * 5}]
    corpus = build(dirty, tmp_path / "corpus", embedder, n_clusters=3, seed=5)
    manifest = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    assert manifest == corpus.manifest
    assert manifest["read"] == {
        "rows": 244,
        "dropped": {"null": 1, "too_short": 1, "duplicate": 1, "no_embedding": 1},
        "text_column": "text",
        "id_column": None,
        "min_characters": 50,
        "metadata_columns": ["topic", "number"],
        "skipped": [],
    }
    assert manifest["embedder"]["fingerprint"] == embedder.fingerprint()
    assert manifest["clustering"]["threads"] == 1 and manifest["clustering"]["seed"] == 5
    assert (manifest["documents"], manifest["n_clusters"], manifest["dimension"]) == (240, 3, 16)
    found = contents(tmp_path / "corpus")
    assert set(found) - {"README.md", "corpus.json"} == set(manifest["files"])
    for name, facts in manifest["files"].items():
        assert facts == {"bytes": len(found[name]), "sha256": hashlib.sha256(found[name]).hexdigest()}
    assert corpus.fingerprint != build(rows, tmp_path / "clean", embedder, n_clusters=2).fingerprint
    assert "1 too_short" in found["README.md"].decode()


def test_metadata_that_changes_its_type_names_the_setting(embedder, tmp_path):
    rows = make_texts(3)
    rows[5]["number"] = "five"
    with pytest.raises(CorpusError, match=r"metadata column 'number' mixes .*: int, str\. .*`metadata_columns`"):
        build(rows, tmp_path / "corpus", embedder)
    changed = rows[:5] + [dict(row, number=str(row["number"])) for row in rows[5:]]
    with pytest.raises(CorpusError, match=r"changes its type.*`metadata_columns`"):
        build(changed, tmp_path / "corpus", embedder, shard_documents=5)
    assert list(tmp_path.iterdir()) == []
    assert build(rows, tmp_path / "corpus", embedder, metadata_columns=["topic"]).sizes.sum() == 12


def test_shards_may_lack_metadata_that_others_have(embedder, tmp_path):
    rows = make_texts(3)
    rows = [row if number > 6 else {"text": row["text"], "number": None} for number, row in enumerate(rows)]
    rows[-1]["number"] = 0.5
    corpus = build(rows, tmp_path / "corpus", embedder, shard_documents=5)
    found = {text: metadata for _, text, _, metadata in everything(corpus)}
    assert found == {row["text"]: {"topic": row.get("topic"), "number": row["number"]} for row in rows}


def test_a_corpus_of_no_usable_document_says_what_was_dropped(embedder, tmp_path):
    with pytest.raises(CorpusError, match=r"of 2 rows, dropped were \{'null': 1, 'too_short': 1\}.*`min_characters`"):
        build(Dataset.from_dict({"text": [None, "sum"]}), tmp_path / "corpus", embedder)
    with pytest.raises(CorpusError, match=r"is empty: of 0 rows"):
        build([], tmp_path / "corpus", embedder)
    with pytest.raises(CorpusError, match=r"\{'no_embedding': 1\}"):
        build([{"text": "unknown words only " * 5}], tmp_path / "corpus", embedder, n_clusters=1)
    assert list(tmp_path.iterdir()) == []


def test_more_clusters_than_documents_is_refused(embedder, tmp_path):
    with pytest.raises(CorpusError, match="`n_clusters` is 13, but only 12 documents are usable"):
        build(make_texts(3), tmp_path / "corpus", embedder, n_clusters=13)
    assert list(tmp_path.iterdir()) == []


def test_what_clustering_lacks_is_told_before_the_documents_are_embedded(embedder, tmp_path, monkeypatch):
    dataset = (pytest.fail("a row was read") for _ in range(1))
    with pytest.raises(ConfigError, match="`n_clusters` is 0"):
        build(dataset, tmp_path / "corpus", embedder, n_clusters=0)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"equal-hf\[cpu\]"):
        build(dataset, tmp_path / "corpus", embedder)
    assert list(tmp_path.iterdir()) == []


def test_documents_longer_than_all_windows_are_counted_and_said(windowed, tmp_path, caplog):
    corpus = build(make_texts(3), tmp_path / "corpus", Embedder(windowed, max_windows=2))
    assert corpus.manifest["embedder"]["documents_beyond_max_windows"] == 12
    assert "12 documents are longer than 2 windows" in caplog.text
    again = build(make_texts(1, words=15), tmp_path / "again", Embedder(windowed, max_windows=2))
    assert again.manifest["embedder"]["documents_beyond_max_windows"] == 0


def test_documents_longer_than_all_windows_are_counted_again_where_their_embeddings_are_known(windowed, tmp_path):
    embedder = Embedder(windowed, max_windows=2)
    rows = [*make_texts(2), *make_texts(1, words=5, seed=1)]
    documents = [Document(str(number), row["text"]) for number, row in enumerate(rows)]
    told = []
    for part in (documents[:10], documents[1:]):  # a later revision lacks the first and has two more
        store = EmbeddingStore(tmp_path / "store", embedder.fingerprint(), embedder.dimension)
        (shard,) = write_shards(part, tmp_path / "shards")
        store.remember({shard.key})
        told.append(embed_shard(shard, tmp_path / "shards", None, embedder.encode_documents, store))
        made = store.path(shard.key)
        write_record(made.with_suffix(".json"), {}, [made], {})  # without it nothing proves the file whole
    assert told == [{"embedded": 10, "made": 10, "sampled": 8}, {"embedded": 11, "made": 2, "sampled": 7}]


def test_a_taken_path_is_refused_and_an_empty_one_used(rows, embedder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CorpusError, match=r"`path`: .* exists"):
        build(rows, tmp_path, embedder)
    with pytest.raises(CorpusError, match=r"`path`: .* exists"):
        build(rows, tmp_path / "notes.txt", embedder)
    (tmp_path / "empty").mkdir()
    corpus = build(rows, tmp_path / "empty", embedder)
    with pytest.raises(CorpusError, match=r"`path`: .* exists"):
        corpus.save(tmp_path)


def test_a_saved_corpus_is_the_same_corpus(corpus, tmp_path):
    corpus.save(tmp_path / "deep" / "copy")
    assert contents(tmp_path / "deep" / "copy") == contents(Path(corpus.source))
    (tmp_path / "deep" / "copy" / "notes.txt").write_text("mine")
    ClusteredCorpus.load(tmp_path / "deep" / "copy").save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(Path(corpus.source))
    assert everything(ClusteredCorpus.load(tmp_path / "deep" / "copy")) == everything(corpus)


def test_folders_that_are_no_corpus_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"`corpus`: there is no folder .*none"):
        ClusteredCorpus.load(tmp_path / "none")
    with pytest.raises(CorpusError, match=r"is empty: there is no corpus\.json"):
        ClusteredCorpus.load(tmp_path)
    (tmp_path / "data.parquet").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"holds files but no corpus\.json"):
        ClusteredCorpus.load(tmp_path)
    for text, fact in (
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[1]", "not written by"),
        ('{"format": "other"}', "not written by"),
        ('{"format": "equal-hf-clustered-corpus", "format_version": 9}', "format version 9"),
        ('{"format": "equal-hf-clustered-corpus", "format_version": 2}', "lacks 'fingerprint'"),
    ):
        (tmp_path / "corpus.json").write_text(text)
        with pytest.raises(CorpusError, match=fact):
            ClusteredCorpus.load(tmp_path)


def damage_missing(folder):
    next((folder / "data").iterdir()).unlink()


def damage_truncated(folder):
    with open(next((folder / "embeddings").iterdir()), "r+b") as file:
        file.truncate(100)


def overwrite(name):
    def damage(folder):
        size = (folder / name).stat().st_size
        (folder / name).write_bytes(b"\xa5" * size)

    return damage


def damage_sizes(folder):
    manifest = json.loads((folder / "corpus.json").read_text())
    manifest["files"]["index.parquet"] = 7
    (folder / "corpus.json").write_text(json.dumps(manifest))


def rewrite_index(change):
    def damage(folder):
        index = pq.read_table(folder / "index.parquet").to_pylist()
        change(index)
        pq.write_table(pa.Table.from_pylist(index), folder / "index.parquet")
        manifest = json.loads((folder / "corpus.json").read_text())
        manifest["files"]["index.parquet"]["bytes"] = (folder / "index.parquet").stat().st_size
        (folder / "corpus.json").write_text(json.dumps(manifest))

    return damage


@pytest.mark.parametrize(
    ("damage", "fact"),
    [
        (damage_missing, r"damaged: data/clusters-.* is missing"),
        (damage_truncated, r"damaged: embeddings/clusters-.* has 100 bytes instead of \d+"),
        (damage_sizes, "does not tell the sizes"),
        (overwrite("index.parquet"), "index .* cannot be read"),
        (overwrite("profiles.safetensors"), "profiles .* cannot be read"),
        (rewrite_index(lambda index: index[0].update(file="../../etc/passwd")), "names the file '../../etc/passwd'"),
        (rewrite_index(lambda index: index[0].update(cluster=99)), "does not number its clusters"),
        (rewrite_index(lambda index: index[-1].update(rows=1)), r"damaged: .* documents"),
        (rewrite_index(lambda index: [row.pop("rows") for row in index]), "lacks the column .*rows"),
    ],
)
def test_a_damaged_corpus_is_refused(corpus, tmp_path, damage, fact):
    folder = tmp_path / "copy"
    shutil.copytree(corpus.source, folder)
    damage(folder)
    with pytest.raises(CorpusError, match=fact):
        ClusteredCorpus.load(folder)


def test_damaged_embeddings_are_refused_when_they_are_read(corpus, tmp_path):
    corpus.save(tmp_path / "copy")
    for path in (tmp_path / "copy" / "embeddings").iterdir():
        overwrite(f"embeddings/{path.name}")(tmp_path / "copy")
    with pytest.raises(CorpusError, match=r"embeddings/clusters-.* cannot be read"):
        ClusteredCorpus.load(tmp_path / "copy").embeddings(0)


KILLED = """
import os, signal, sys
import equal_hf.corpus.indexing.write as write
from equal_hf.corpus import ClusteredCorpus, Embedder
from tests.corpus.tiny import make_model, make_texts

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def rows(dies):
    yield from make_texts(60)
    if dies:
        die()

def replace(source, target, rename=os.replace):
    if str(target).endswith("corpus.json" if stage == "manifest" else path):
        die()
    rename(source, target)

path, embedder = sys.argv[1], Embedder(make_model())
for stage in ("reading", "writing", "manifest", "finishing"):
    child = os.fork()
    if not child:
        if stage == "writing":
            write.write_files = die
        if stage in ("manifest", "finishing"):
            os.replace = replace
        ClusteredCorpus.build(
            rows(stage == "reading"), path, embedder=embedder, n_clusters=4, threads=1, show_progress=False
        )
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, stage
    assert not os.path.exists(path), stage
    print(stage, sorted(os.listdir(os.path.dirname(path))))
"""


def test_a_killed_build_leaves_nothing_that_loads_and_the_next_one_succeeds(rows, embedder, tmp_path):
    path = tmp_path / "corpus"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert killed.returncode == 0, killed.stderr
    stages = [f"{stage} ['.corpus.index']" for stage in ("reading", "writing")]
    stages += [f"{stage} ['.corpus.building', '.corpus.index']" for stage in ("manifest", "finishing")]
    assert killed.stdout.splitlines()[-4:] == stages
    corpus = build(rows, path, embedder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]
    assert len(everything(corpus)) == 240


def test_the_embedder_is_opened_again_and_another_model_of_its_name_is_refused(rows, tmp_path):
    make_model().save_pretrained(str(tmp_path / "model"))
    corpus = build(rows, tmp_path / "corpus", Embedder(str(tmp_path / "model")))
    assert corpus.open_embedder().fingerprint() == corpus.manifest["embedder"]["fingerprint"]
    assert corpus.open_embedder(dtype="bfloat16").model.dtype == torch.bfloat16  # precision makes no other model
    make_model(seed=1).save_pretrained(str(tmp_path / "model"))
    with pytest.raises(CorpusError, match=r"`embedder`: .* is not the model that"):
        corpus.open_embedder()


def test_computes_with_the_threads_that_are_recorded(rows, embedder, tmp_path):
    """Whatever the environment says, since sums in another order are other bytes; and leaves it as it was."""
    from threadpoolctl import threadpool_info, threadpool_limits

    seen: set[int] = set()

    def watched():
        for number, row in enumerate(rows):
            if number:  # by the first the columns are found out, before anything is computed
                seen.update([torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())])
            yield row

    with threadpool_limits(2):
        build(watched(), tmp_path / "corpus", embedder, threads=1)
        assert {library["num_threads"] for library in threadpool_info()} == {2}
    assert seen == {1}


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside", "data//x"])
def test_a_manifest_that_names_files_elsewhere_is_refused(rows, embedder, tmp_path, name):
    build(rows, tmp_path / "corpus", embedder)
    path = tmp_path / "corpus/corpus.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"bytes": 1, "sha256": ""}
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorpusError, match="lies outside the corpus"):
        ClusteredCorpus.load(tmp_path / "corpus")


def test_a_read_that_comes_short_is_not_kept(corpus, tmp_path):
    """A cache that held half a row group would give it for ever."""
    manifest = corpus.manifest
    folder = shutil.copytree(corpus.source, tmp_path / "copy")
    reader = ClusterReader(
        fsspec.filesystem("file"),
        str(folder),
        read_index(folder),
        {name: facts["bytes"] for name, facts in manifest["files"].items()},
        cache=BlockCache(tmp_path / "blocks", 10**8),
    )
    for file in folder.glob("data/*.parquet"):
        file.rename(file.with_suffix(".whole"))
        file.write_bytes(file.with_suffix(".whole").read_bytes()[:100])
    with pytest.raises(CorpusError, match="cannot be read"):
        reader.documents(0, np.arange(2))
    for file in folder.glob("data/*.whole"):
        file.rename(file.with_suffix(".parquet"))
    assert [d.id for d in reader.documents(0, np.arange(2))] == [d.id for d in corpus.draw(0, 2)]
