"""Rows of files whose text a parser finds: a page or a PDF file is one, of an archive of pages each page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from equal_hf.corpus.formats.html_page import NotReadable
from equal_hf.corpus.formats.parser_process import in_order, parse
from equal_hf.corpus.row_formats import MAX_ROW_BYTES, Reading, Unusable, bounded

logger = logging.getLogger(__name__)

MAX_BYTES = 20_000_000  # of a page; trafilatura's own limit
_HEADER_BYTES = 1_000_000
_PAGES = ("text/html", "application/xhtml+xml")
_CUT_OFF = "it ends too soon: the file is cut off"
_FACTS = ("title", "author", "language")


def html_rows(stream: Any, reading: Reading) -> Iterator[dict[str, Any]]:
    """A page: its main `text`, its path as `id` and `source`, `title`, `author`, `date` and `language`."""
    content = _page_of(stream.read(MAX_BYTES + 1))  # one byte more tells that there is more
    yield {"id": reading.relative, "source": reading.relative, **parse("html", content, reading.limits)}


def pdf_rows(stream: Any, reading: Reading) -> Iterator[dict[str, Any]]:
    """A PDF file: its `text`, its path as `id` and `source`, `title`, `author`, `date` and `pages`."""
    source = reading.path or bounded(stream.read(MAX_ROW_BYTES + 1))
    yield {"id": reading.relative, "source": reading.relative, **parse("pdf", source, reading.limits)}


def warc_rows(stream: Any, reading: Reading) -> Iterator[dict[str, Any]]:
    """The pages of a WARC file that servers gave without an error, or the plain texts of a WET file, under the names
    that FineWeb has: `id`, `url`, `date` of the visit, `language`; and `source`, `title` and `author`.

    A page that cannot be read is told of and dropped as `unreadable_page`.
    """
    yield from in_order(lambda record: _page(record, reading), _records(stream, reading), reading.limits.processes)


def _records(stream: Any, reading: Reading) -> Iterator[dict[str, Any]]:
    """Records that hold a page or its text: the row without what a parser finds, and `content` and `charset`."""
    from warcio.archiveiterator import ArchiveIterator

    reading.at("record 1: ")
    archive, more = ArchiveIterator(stream), True
    headers = _Headers(archive.reader)
    for number, record in enumerate(archive, 1):
        reading.at(f"record {number}: ")
        if record.format != "warc" or not record.rec_type or record.length is None:
            raise ValueError("it is no WARC record, or cut off")
        if kind := _kind(record):
            header = record.rec_headers.get_header
            yield {
                "id": header("WARC-Record-ID"),
                "source": reading.relative,
                "url": header("WARC-Target-URI"),
                "date": header("WARC-Date"),
                "language": header("WARC-Identified-Content-Language"),
                "kind": kind,
                "charset": _charset(record),
                "content": record.content_stream().read(MAX_BYTES + 1),
            }
        archive.read_to_end()
        if getattr(record.raw_stream, "limit", 0) > 0:
            raise ValueError(_CUT_OFF)
        reading.at(f"record {number + 1}: ")
        if archive.err_count:
            raise ValueError("the record before is longer than it says")
        more = archive.next_line is not None
        headers.bytes = 0
    if more:  # which warcio takes for the end
        raise ValueError(_CUT_OFF)


class _Headers:
    """Bounds the headers of a record, which warcio reads line by line, however long.

    Args:
        reader (`Any`): What it reads them from.
    """

    def __init__(self, reader: Any) -> None:
        self._readline, self.bytes = reader.readline, 0
        reader.readline = self.readline

    def readline(self, length: int | None = None) -> bytes:
        line: bytes = self._readline(min(length or _HEADER_BYTES, _HEADER_BYTES))
        self.bytes += len(line)
        if self.bytes >= _HEADER_BYTES:
            raise ValueError(f"headers of more than {_HEADER_BYTES // 1_000_000} MB")
        return line


def _kind(record: Any) -> str:
    """`"html"` for a page, `"text"` for the text of one, else nothing."""
    if record.rec_type == "conversion" and (record.content_type or "").startswith("text/plain"):
        return "text"
    if record.rec_type != "response" or record.http_headers is None:
        return ""
    fine = (record.http_headers.get_statuscode() or "").startswith("2")
    kind = (record.http_headers.get_header("Content-Type") or "").partition(";")[0].strip().lower()
    return "html" if fine and kind in _PAGES else ""


def _charset(record: Any) -> str | None:
    told = record.http_headers.get_header("Content-Type") or "" if record.http_headers is not None else ""
    return told.lower().partition("charset=")[2].strip(" \"';") or None


def _page(record: dict[str, Any], reading: Reading) -> dict[str, Any]:
    kind, charset, content = (record.pop(name) for name in ("kind", "charset", "content"))
    row: dict[str, Any] = {"text": None, **dict.fromkeys(_FACTS), **record}
    try:
        if kind == "text":
            return {**row, "text": _page_of(content).decode("utf-8", "replace")}
        found = parse("html", _page_of(content), reading.limits, charset)
    except NotReadable as error:
        logger.warning("%s of %s is left out: %s", row["url"] or row["id"], reading.relative, error)
        return {**row, "text": Unusable("unreadable_page")}
    return {**row, **{name: row.get(name) or found[name] for name in _FACTS}, "text": found["text"]}


def _page_of(content: bytes) -> bytes:
    if len(content) > MAX_BYTES:
        raise NotReadable(f"a page of more than {MAX_BYTES / 1e6:g} MB; split it, or save its text as .txt")
    return content


PARSED_READERS = {"html": html_rows, "pdf": pdf_rows, "warc": warc_rows}
