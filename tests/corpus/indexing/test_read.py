"""The pipeline reads what a person means by a corpus, and its manifest and card say what became of it."""

from __future__ import annotations

import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from equal_hf.corpus import ClusteredCorpus
from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.run_corpus import open_corpus
from equal_hf.errors import CorpusError

BIG = 2**63
WORDS = ("sum total addition", "tide mast boat", "salt herb pan", "train timetable rail")


def text(number: int) -> str:
    return f"The {WORDS[number % 4]} of number {number} and its {WORDS[(number // 4) % 4]} are told here at length."


@pytest.fixture
def mixed(tmp_path):
    """Text files and Parquet in one folder, with metadata of every kind, and what is no document."""
    folder = tmp_path / "documents"
    (folder / "train").mkdir(parents=True)
    for number in range(12):
        (folder / f"train/{number}.txt").write_text(text(number))
    table = {
        "text": [text(number) for number in range(12, 24)],
        "hash": pa.array([*range(11), BIG], pa.uint64()),
        "tags": [["a", "b"]] * 12,
        "meta": [{"url": "u"}] * 12,
        "blob": [b"x"] * 12,
    }
    pq.write_table(pa.table(table), folder / "more.parquet")
    rows = [{"text": text(number), "hash": number, "huge": 2**70} for number in range(24, 36)]
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "cover.png").write_bytes(b"\x89PNG")
    return folder


def build(source, embedder_folder, folder, **settings):
    config = CorpusConfig(corpus=str(source), embedder=str(embedder_folder), n_clusters="3", threads=1, **settings)
    return open_corpus(config, folder, 0)


def documents(corpus):
    drawn = [corpus.draw(cluster, int(corpus.sizes[cluster])) for cluster in range(corpus.n_clusters)]
    return {document.id: document for cluster in drawn for document in cluster}


def test_every_file_becomes_documents_with_values_as_they_are(mixed, embedder_folder, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        corpus = build(mixed, embedder_folder, tmp_path / "run")
    found = documents(corpus)
    assert len(found) == 36 and corpus.manifest["read"]["rows"] == 36
    assert found["train/3.txt"].text == text(3) and found["train/3.txt"].metadata["source"] == "train/3.txt"
    by_text = {document.text: document.metadata for document in found.values()}
    assert by_text[text(23)]["hash"] == BIG and by_text[text(23)]["tags"] == '["a", "b"]'
    assert by_text[text(23)]["meta"] == '{"url": "u"}' and "blob" not in by_text[text(23)]
    assert by_text[text(30)]["hash"] == 30 and by_text[text(30)]["huge"] == 2**70
    told = ["1 file is not read: a .png file (cover.png)", "carried as JSON text: meta, tags", "hold bytes: blob"]
    assert all(words in caplog.text for words in told)
    read = corpus.manifest["read"]
    assert read["not_read"] == told[0]
    assert read["changed_columns"] == {
        "carried as JSON text": ["meta", "tags"],
        "left out, for they hold bytes": ["blob"],
    }
    card = (tmp_path / "run/corpus/README.md").read_text()
    assert "cover.png" in card and "columns carried as JSON text | `meta`, `tags` |" in card
    published = load_dataset(str(tmp_path / "run/corpus"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(published) == 36 and set(published["id"]) == set(found)


def test_the_columns_to_carry_are_a_setting_of_a_plain_run(mixed, embedder_folder, tmp_path):
    (mixed / "test.jsonl").unlink()
    corpus = build(mixed, embedder_folder, tmp_path / "run", metadata_columns=["tags", "source"])
    assert "changed_columns" in corpus.manifest["read"]
    assert {key for document in documents(corpus).values() for key in document.metadata} == {"tags", "source"}
    with pytest.raises(CorpusError, match=r"No file of the corpus has a column 'tag'\. Correct `metadata_columns`"):
        build(mixed, embedder_folder, tmp_path / "other", metadata_columns=["tag", "source"])


def test_unsigned_values_keep_their_type_whatever_they_are(embedder_folder, tmp_path):
    """A file whose values would fit a signed type, and one whose values would not."""
    (tmp_path / "files").mkdir()
    for part, first in enumerate((0, BIG)):
        hashes = pa.array(range(first, first + 12), pa.uint64())
        rows = {"text": [text(12 * part + number) for number in range(12)], "hash": hashes}
        pq.write_table(pa.table(rows), tmp_path / f"files/{part}.parquet")
    corpus = build(tmp_path / "files", embedder_folder, tmp_path / "run")
    schema = pq.read_schema(next((tmp_path / "run/corpus/data").rglob("*.parquet")))
    assert schema.field("hash").type == pa.uint64()
    assert {document.metadata["hash"] for document in documents(corpus).values()} >= {0, BIG + 11}


def test_files_whose_ids_are_of_two_types_are_one_corpus(embedder_folder, tmp_path):
    (tmp_path / "files").mkdir()
    for name, ids in (("a", [f"x{number}" for number in range(12)]), ("b", list(range(12)))):
        texts = [text(number + 12 * (name == "b")) for number in range(12)]
        pq.write_table(pa.table({"text": texts, "id": ids}), tmp_path / f"files/{name}.parquet")
    corpus = build(tmp_path / "files", embedder_folder, tmp_path / "run", id_column="id")
    assert set(documents(corpus)) == {f"x{number}" for number in range(12)} | {str(number) for number in range(12)}


def test_a_column_of_two_types_is_named_with_a_file_of_each(embedder_folder, tmp_path):
    (tmp_path / "files").mkdir()
    for name, values in (("a", [None] * 12), ("b", list(range(12))), ("c", ["x"] * 12)):
        table = {"text": [f"{text(number)} {name}" for number in range(12)], "page": values}
        pq.write_table(pa.table(table), tmp_path / f"files/{name}.parquet")
    with pytest.raises(
        CorpusError, match=r"'page' is int64 in \S*b\.parquet and string in \S*c\.parquet.*`metadata_columns`"
    ):
        build(tmp_path / "files", embedder_folder, tmp_path / "run")


def test_a_corpus_is_built_from_rows_at_hand_that_have_no_schema(mixed, embedder_folder, tmp_path):
    from equal_hf.corpus import open_dataset

    corpus = ClusteredCorpus.build(
        open_dataset(str(mixed)), tmp_path / "corpus", embedder=str(embedder_folder), n_clusters=3, threads=1
    )
    assert sum(corpus.sizes) == 36
