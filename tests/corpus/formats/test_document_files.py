"""Folders of web pages, PDF files and archives of pages are corpora; files that give no document say why."""

from __future__ import annotations

import gzip
import json
import logging
import sys

import pyarrow as pa
import pytest

from equal_hf.corpus import file_rows, open_dataset, row_formats
from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.file_rows import UnreadableFile
from equal_hf.corpus.formats import parsed_rows
from equal_hf.corpus.formats.parser_process import end_parsers
from equal_hf.corpus.open_dataset import list_files, read_corpus
from equal_hf.corpus.read_documents import ReadReport
from equal_hf.errors import CorpusError, MissingDependencyError
from tests.corpus.formats.documents import LINE, PARAGRAPH, encrypted, page, pdf, warc


@pytest.fixture(autouse=True, scope="module")
def none_is_left():
    yield
    end_parsers()


ARCHIVE = warc([("http://a", page().encode())], packed=False)


def read(source, **settings):
    report = ReadReport()
    return list(read_corpus(CorpusConfig(corpus=str(source), **settings), report)), report


@pytest.fixture
def mixed(tmp_path):
    folder = tmp_path / "mixed"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text(LINE)
    (folder / "b.md").write_text(f"# Title\n\n{LINE}")
    for number, ending in enumerate(("html", "HTM", "xhtml")):
        (folder / f"deep/page{number}.{ending}").write_text(page(f"{PARAGRAPH}<p>Page {number}.</p>"))
    (folder / "c.pdf").write_bytes(pdf([[LINE], ["Page two."]]))
    (folder / "d.pdf.gz").write_bytes(gzip.compress(pdf([[LINE, "And more."]])))
    (folder / "e.jsonl.zst").write_bytes(
        pa.compress(json.dumps({"text": f"{LINE} A row."}).encode(), "zstd", asbytes=True)
    )
    return folder


def test_a_folder_of_every_kind_is_a_corpus_with_paths_as_ids(mixed):
    documents, report = read(mixed)
    by_id = {document.id: document for document in documents}
    paths = ["a.txt", "b.md", "c.pdf", "d.pdf.gz", "deep/page0.html", "deep/page1.HTM", "deep/page2.xhtml"]
    assert [document.id for document in documents if document.id in paths] == paths and len(documents) == 8
    assert report.dropped == {}
    assert by_id["deep/page1.HTM"].text.startswith(f"# Adding up\n\n{LINE}")
    facts = {"source": "deep/page1.HTM", "title": "Adding up", "author": None, "date": None, "language": "en"}
    assert by_id["deep/page1.HTM"].metadata == facts
    assert by_id["c.pdf"].text == f"{LINE}\n\nPage two."
    facts = {"source": "c.pdf", "title": "A title", "author": "Ada Example", "date": "2024-01-02", "pages": 2}
    assert by_id["c.pdf"].metadata == facts
    assert [document.id for document in read(mixed / "**/*.html", text_column="body")[0]] == ["deep/page0.html"]
    chosen = read(mixed / "c.pdf", metadata_columns=["pages"])[0][0]
    assert chosen.metadata == {"pages": 2}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.pdf", encrypted(pdf([[LINE]]), "secret"), "it is encrypted"),
        ("a.pdf", pdf([[], []]), "hold no text, only pictures"),
        ("a.pdf", pdf([[LINE]])[:400], "cut off or damaged"),
        ("a.pdf", page().encode(), r"it is HTML, .* end in \.html"),
        ("a.html", pdf([[LINE]]), r"it is a PDF file, .* end in \.pdf"),
        ("a.html", b"<p>word " * 3_000_000, "a page of more than 20 MB"),
        ("a.txt.gz", gzip.compress(bytes(1 << 22)) * 2, "inflates to more than 300 times its size"),
        ("a.jsonl.zst", pa.compress(bytes(1 << 22), "zstd", asbytes=True), "inflates to more than 300 times"),
        ("a.warc", ARCHIVE[:-40], r"record 2: it ends too soon"),
        ("a.warc", ARCHIVE[: -len(page()) - 30], r"record 2: it ends too soon"),
        ("a.warc", ARCHIVE[: ARCHIVE.index(b"response")], "record 2: it is no WARC record, or cut off"),
        ("a.warc", ARCHIVE.replace(b"<article>", b""), r"record 2: it ends too soon"),
        ("a.warc", ARCHIVE.replace(b"GET /", b"GET /longer"), r"record 2: the record before is longer than it says"),
        ("a.warc.gz", warc([("http://a", page().encode())])[:-30], "record 1: the compressed data ends too soon"),
        ("a.warc", b"WARC/1.0\r\nnothing", "record 1: it is no WARC record"),
        ("a.warc", page().encode(), "record 1: it is no WARC record"),
        ("a.warc", ARCHIVE + b"WARC/1.0\r\nA: " + b"x" * 1_000_000, "record 3: headers of more than 1 MB"),
        ("a.warc", ARCHIVE + b"WARC/1.0\r\n" + b"A: b\r\n" * 200_000, "record 3: headers of more than 1 MB"),
    ],
)
def test_a_bad_file_stops_or_is_left_out_by_name(tmp_path, caplog, monkeypatch, name, content, problem):
    monkeypatch.setattr(file_rows, "_INFLATED_BYTES", 1 << 20)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.txt").write_text(LINE)
    with pytest.raises(UnreadableFile, match=rf"{name} of the corpus cannot be read: .*{problem}.*`on_bad_file`"):
        read(tmp_path)
    with caplog.at_level(logging.WARNING):
        documents, _ = read(tmp_path, on_bad_file="skip")
    assert documents[-1].id == "good.txt" and f"{name} of the corpus cannot" in caplog.text


def test_what_hangs_or_fills_the_memory_is_bounded_by_the_settings(tmp_path):
    (tmp_path / "slow.html").write_bytes(b"<p " + b" ".join(b"a%d=''" % number for number in range(200_000)) + b">")
    with pytest.raises(UnreadableFile, match=r"more than 0\.3 s to read \(`parse_timeout_s`\)"):
        read(tmp_path, parse_timeout_s=0.3)
    (tmp_path / "slow.html").unlink()
    (tmp_path / "large.pdf").write_bytes(pdf([["x" * 40_000_000]], flate=True))
    with pytest.raises(UnreadableFile, match=r"more than 0\.03 GB of memory to read \(`max_parse_bytes`\)"):
        read(tmp_path, max_parse_bytes=30_000_000)


@pytest.mark.parametrize("body", ["<div>" * 100_000 + LINE, "<span><b>" * 50_000 + LINE, "<ul><li>" * 50_000 + LINE])
def test_elements_nested_without_end_cost_their_page_at_most(tmp_path, body):
    (tmp_path / "deep.html").write_text(page(body))
    (tmp_path / "good.html").write_text(page(f"{PARAGRAPH}<p>Good.</p>"))
    documents, report = read(tmp_path, on_bad_file="skip")
    assert documents[-1].id == "good.html" and report.rows == 2


def test_a_page_that_is_all_script_gives_no_document(tmp_path):
    script = (
        f"<script>{'a = 1;' * 5000}</script><noscript>Please enable JavaScript to run this application.</noscript>"
    )
    (tmp_path / "app.html").write_text(f"<html><body><div id='root'></div>{script}</body></html>")
    documents, report = read(tmp_path)
    assert documents == [] and report.dropped == {"empty": 1}


def test_pages_of_an_archive_are_documents_under_their_own_ids(tmp_path, monkeypatch):
    pages = [(f"http://a/{number}", page(f"{PARAGRAPH}<p>Page {number}.</p>").encode()) for number in range(8)]
    pages[3] = ("http://a/large", b"<p>word " * 50_000)
    pages[4] = ("http://a/latin", page("<p>Größe und Maß zu zählen, das ist die hohe Kunst.</p>" * 3).encode("cp1252"))
    monkeypatch.setattr(parsed_rows, "MAX_BYTES", 100_000)
    (tmp_path / "a.warc.gz").write_bytes(warc(pages))
    documents, report = read(tmp_path)
    urls = [document.metadata["url"] for document in documents]
    assert urls == [url for number, (url, _) in enumerate(pages) if number != 3]
    assert report.rows == 8 and report.dropped == {"unreadable_page": 1}
    first = documents[0]
    assert first.id.startswith("<urn:uuid:") and first.text.startswith(f"# Adding up\n\n{LINE}")
    assert set(first.metadata) == {"source", "url", "date", "language", "title", "author"}
    assert first.metadata["source"] == "a.warc.gz" and first.metadata["language"] == "en"
    assert "Größe und Maß" in documents[3].text
    assert [document.id for document in read(tmp_path)[0]] == [document.id for document in documents]


def test_plain_texts_of_an_archive_are_documents(tmp_path):
    (tmp_path / "a.warc.wet.gz").write_bytes(warc(texts={"http://a/1": f"{LINE} Größe.", "http://a/2": "short"}))
    (document,), report = read(tmp_path)
    assert document.text == f"{LINE} Größe." and report.dropped == {"too_short": 1}
    assert (document.metadata["url"], document.metadata["language"]) == ("http://a/1", "eng")


def test_a_document_of_any_length_ends_at_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(row_formats, "MAX_ROW_BYTES", 1000)
    for name in ("a.txt", "a.jsonl", "a.csv"):
        (tmp_path / name).write_text(f'text\n"{LINE}"' if name == "a.csv" else json.dumps({"text": LINE}))
        assert len(read(tmp_path / name)[0]) == 1
        (tmp_path / name).write_text(f'text\n"{LINE * 20}"' if name == "a.csv" else json.dumps({"text": LINE * 20}))
        with pytest.raises(UnreadableFile, match="more than 1,000 bytes in one document"):
            read(tmp_path / name)


def test_a_target_or_benchmark_has_rows_with_columns(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf([[LINE]]))
    with pytest.raises(CorpusError, match=r"`target`: .*a\.pdf.* holds documents and no rows with columns") as refused:
        open_dataset(str(tmp_path / "a.pdf"), setting="target")
    assert ".html" not in str(refused.value) and ".jsonl" in str(refused.value)
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "2 + 2?", "answer": "4"}))
    assert [row["answer"] for row in open_dataset(str(tmp_path), setting="target")] == ["4"]


def test_a_parser_that_is_missing_is_named_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(LINE)
    (tmp_path / "b.pdf").write_bytes(pdf([[LINE]]))
    (tmp_path / "c.warc").write_bytes(ARCHIVE)
    for name, module in (("b.pdf", "pypdf"), ("c.warc", "warcio"), ("c.warc", "trafilatura")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)  # as if it were not installed
            with pytest.raises(MissingDependencyError, match=rf"{name} takes {module} to read.*\[documents\]"):
                list_files(CorpusConfig(corpus=str(tmp_path)))


def test_files_that_need_no_parser_need_none_installed(tmp_path):
    (tmp_path / "a.txt").write_text(LINE)
    assert [file.relative for file in list_files(CorpusConfig(corpus=str(tmp_path)))] == ["a.txt"]
