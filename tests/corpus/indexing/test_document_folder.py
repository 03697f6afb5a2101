"""A folder of small files, one document each, is read some files at a time; those that are none are named."""

from __future__ import annotations

import json
import logging
import re

import pytest

from equal_hf.corpus import ClusteredCorpus
from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.file_rows import SourceFile
from equal_hf.corpus.indexing.config import IndexConfig
from equal_hf.corpus.indexing.pipeline import run_index
from equal_hf.corpus.indexing.read_piece import pieces_of
from equal_hf.corpus.run_corpus import open_corpus
from equal_hf.errors import ConfigError, CorpusError
from tests.corpus.formats.documents import page, pdf, warc

WORDS = ("sum total addition", "tide mast boat", "salt herb pan", "train timetable rail")


def text(number: int) -> str:
    return f"The {WORDS[number % 4]} of number {number} and its {WORDS[(number // 4) % 4]} are told here at length."


def files_called(names):
    return [SourceFile(name, name, "text", "1", name) for name in names]


def test_small_files_are_read_together_and_a_new_one_changes_one_piece():
    names = [f"part/{number:05}.txt" for number in range(3000)]
    before = [[file.name for file in piece] for piece in pieces_of(files_called(names))]
    assert [name for piece in before for name in piece] == names
    assert 60 < len(before) < 140 and max(map(len, before)) <= 128
    after = [[file.name for file in piece] for piece in pieces_of(files_called(sorted([*names, "part/01234a.txt"])))]
    assert len([piece for piece in after if piece not in before]) <= 2


def test_a_file_of_rows_is_a_piece_by_itself():
    files = files_called(["a.txt", "b.txt"])
    rows = SourceFile("c.jsonl", "c.jsonl", "jsonl", "1", "c.jsonl")
    part = SourceFile("d.txt", "d.txt", "text", "1", "d.txt", rows=(0, 1))
    assert [len(piece) for piece in pieces_of([rows, *files, rows, part, rows])] == [1, 2, 1, 1, 1]


@pytest.fixture
def folder(tmp_path):
    """Forty documents of all kinds, and four files that give none."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.txt").write_text(text(number))
        (folder / f"{number:02}.html").write_text(page(f"<p>{text(number + 12)}</p>" * 4))
        (folder / f"{number:02}.pdf").write_bytes(pdf([[text(number + 24)]]))
    pages = [(f"http://a/{number}", page(f"<p>{text(number)}</p>" * 4).encode()) for number in range(36, 40)]
    (folder / "more.warc.gz").write_bytes(warc(pages))
    (folder / "scan.pdf").write_bytes(pdf([[]]))
    (folder / "app.html").write_text("<script>run()</script>")
    (folder / "short.txt").write_text("short")
    (folder / "cover.png").write_bytes(b"\x89PNG")
    return folder


def index(folder, embedder_folder, run, **settings):
    config = IndexConfig(
        corpus=str(folder), embedder=str(embedder_folder), n_clusters="3", threads=2, corpus_map=False, **settings
    )
    return run_index(config, run, 0)


def test_every_kind_of_file_becomes_documents_and_the_others_are_named(folder, embedder_folder, tmp_path, caplog):
    with pytest.raises(CorpusError, match=r"scan\.pdf of the corpus cannot be read: .*only pictures.*`on_bad_file`"):
        index(folder, embedder_folder, tmp_path / "run")
    with caplog.at_level(logging.INFO):
        told = index(folder, embedder_folder, tmp_path / "run", on_bad_file="skip")
    assert (told["documents"], told["documents_read"], told["files"]) == (40, 42, 40)
    (skipped,) = told["skipped_files"]
    assert skipped["file"].endswith("scan.pdf") and "only pictures" in skipped["problem"]
    for words in (
        "1 file is not read: a .png file (cover.png)",
        "1 file gives no document: empty (app.html)",
        "1 file gives no document: too_short (short.txt)",
    ):
        assert words in caplog.text
    assert re.search(r"reading: 40 files in ", caplog.text)
    corpus = ClusteredCorpus.load(tmp_path / "run/corpus")
    documents = {d.id: d for cluster in range(3) for d in corpus.draw(cluster, int(corpus.sizes[cluster]))}
    assert documents["05.pdf"].text == text(29) and documents["05.pdf"].metadata["pages"] == 1
    assert documents["05.html"].metadata["title"] == "Adding up" and "source" in documents["05.txt"].metadata
    assert set(corpus.manifest["made_from"]["parsers"]) == {"pypdf", "trafilatura", "warcio"}
    assert corpus.manifest["read"]["dropped"] == {"empty": 1, "too_short": 1}


def test_what_is_done_is_not_done_again_and_a_new_file_costs_its_piece(folder, embedder_folder, tmp_path, caplog):
    first = index(folder, embedder_folder, tmp_path / "run", on_bad_file="skip")
    pieces = first["pieces"]["read"]["made"]
    again = index(folder, embedder_folder, tmp_path / "run", on_bad_file="skip")
    assert again["pieces"]["read"]["made"] == 0 and again["skipped_files"] == first["skipped_files"]
    (folder / "scan.pdf").write_bytes(pdf([[text(41)]]))
    repaired = index(folder, embedder_folder, tmp_path / "run", on_bad_file="skip")
    assert repaired["skipped_files"] == [] and repaired["documents"] == 41
    assert 0 < repaired["pieces"]["read"]["made"] <= 2 < pieces


def test_processes_and_their_number_change_nothing(folder, embedder_folder, tmp_path):
    names = []
    for threads in (1, 3):
        config = CorpusConfig(
            corpus=str(folder), embedder=str(embedder_folder), n_clusters="3", threads=threads, on_bad_file="skip"
        )
        corpus = open_corpus(config, tmp_path / f"run{threads}", 0)
        names.append([d.id for c in range(3) for d in corpus.draw(c, int(corpus.sizes[c]))])
        open_corpus(config, tmp_path / f"run{threads}", 0)  # is still of these files
    assert names[0] == names[1]
    (folder / "05.html").write_text(page(f"<p>{text(99)}</p>" * 4))
    with pytest.raises(ConfigError, match="the documents of `corpus` 'documents' have changed"):
        open_corpus(config, tmp_path / "run3", 0)


def test_an_archive_twice_gives_each_page_once(embedder_folder, tmp_path):
    folder = tmp_path / "twice"
    folder.mkdir()
    pages = [(f"http://a/{number}", page(f"<p>{text(number)}</p>" * 4).encode()) for number in range(8)]
    changed = [(url, content.replace(b"told here", b"told there")) for url, content in pages[:2]]
    (folder / "a.warc.gz").write_bytes(warc(pages))
    (folder / "b.warc.gz").write_bytes(warc([*changed, *pages[2:]]))
    told = index(folder, embedder_folder, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/corpus/corpus.json").read_text())
    assert told["documents"] == 8 and manifest["read"]["dropped"] == {"duplicate": 6, "duplicate_id": 2}
