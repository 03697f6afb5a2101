r"""How each format of file is read into rows, with values as they stand.

Values of a CSV file are text, whatever they look like; numbers of a JSON file keep the digits they are written with,
for ids. A text file is one row: its `text`, and its path as `id` and `source`. Files that need a parser are read by
`formats/`.

>>> list(READERS["csv"](io.BytesIO(b"id,text\n007,seven\n"), Reading("rows.csv")))
[{'id': '007', 'text': 'seven'}]
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.formats.parser_process import ParserLimits

if TYPE_CHECKING:
    import pyarrow as pa

# What of a file's name says how it is read. Compressed files are read too.
FORMATS = {
    ".parquet": "parquet",
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".json": "json",
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".txt", ".md", ".markdown"), "text"),
    ".arrow": "arrow",
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    ".pdf": "pdf",
    **dict.fromkeys((".warc", ".wet"), "warc"),
}
# These have no columns that a setting could name.
ONE_DOCUMENT = ("text", "html", "pdf")
DOCUMENTS = (*ONE_DOCUMENT, "warc")
# Packages that read them, of the extra `documents`.
PARSERS = {"html": ("trafilatura",), "pdf": ("pypdf",), "warc": ("warcio", "trafilatura")}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
# What a compressed file begins with; a bzip2 file's level of compression stands in its fourth byte.
_COMPRESSED = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00", ".zst": b"\x28\xb5\x2f\xfd"}
_BATCH_ROWS = 1024
MAX_ROW_BYTES = 1 << 28  # of a text, or of a line of JSON; more is no document, but would fill the memory


class WrittenFloat(float):
    """A number of a JSON file that also knows how it is written there.

    >>> WrittenFloat("1e5") == 100000.0, WrittenFloat("1e5").written
    (True, '1e5')
    """

    def __init__(self, written: str) -> None:
        self.written = written


@dataclass(frozen=True, slots=True)
class Unusable:
    """In place of a text: why there is none.

    Args:
        reason (`str`): Under which the row is counted.
    """

    reason: str


@dataclass
class Reading:
    """A file that is being read.

    Args:
        relative (`str`): Its path below the folder that was named.
        separator (`str`, *optional*, defaults to `","`): What separates the values of a CSV file.
        path (`str`): Where it is on this disk; empty for a file that is compressed or elsewhere.
        limits ([`ParserLimits`]): What a document may take to parse.
        where (`str`): The line or row at hand, for what may go wrong there.
    """

    relative: str
    separator: str = ","
    path: str = ""
    limits: ParserLimits = field(default_factory=ParserLimits)
    where: str = ""

    def at(self, where: str) -> None:
        """Take note of the line or row at hand."""
        self.where = where


def compressed_ending(content: bytes) -> str | None:
    """The ending of names of compressed files that begin as this content does; `None` where it is none of one.

    >>> compressed_ending(b"\\x1f\\x8b\\x08"), compressed_ending(b"text")
    ('.gz', None)
    """
    return next((ending for ending, magic in _COMPRESSED.items() if content.startswith(magic)), None)


def _text(stream: Any, reading: Reading) -> Iterator[dict[str, Any]]:
    content = bounded(stream.read(MAX_ROW_BYTES + 1))
    try:
        text = _decoded(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reading.at(f"line {line}: ")
        raise
    yield {"text": text, "id": reading.relative, "source": reading.relative}


def bounded(content: Any) -> Any:
    """What was read of at most one byte more than a row may have.

    Raises:
        ValueError: It is more.
    """
    if len(content) > MAX_ROW_BYTES:
        raise ValueError(f"more than {MAX_ROW_BYTES:,} bytes in one document; split it")
    return content


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _lines(stream: Any, reading: Reading) -> Iterator[str]:
    """Lines with their ends; each is read before it is told of, so that `reading` always knows the line at hand."""
    reading.at("line 1: ")
    head = stream.peek(2)[:2] if hasattr(stream, "peek") else b""
    if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        with io.TextIOWrapper(stream, "utf-16", newline="") as text:
            for number, line in enumerate(iter(lambda: bounded(text.readline(MAX_ROW_BYTES + 1)), ""), 1):
                reading.at(f"line {number}: ")
                yield line
        return
    for number, raw in enumerate(iter(lambda: bounded(stream.readline(MAX_ROW_BYTES + 1)), b""), 1):
        reading.at(f"line {number}: ")
        yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        reading.at(f"line {number + 1}: ")


def _jsonl(stream: Any, reading: Reading) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(stream, reading), 1):
        if line.strip():
            reading.at(f"line {number}: ")
            yield _object(_parsed(line))


def _json(stream: Any, reading: Reading) -> Iterator[dict[str, Any]]:
    """A list of rows, one row, or a row a line."""
    text = "".join(_lines(stream, reading))
    reading.at("")
    try:
        content = _parsed(text)
    except json.JSONDecodeError as error:
        first = text.lstrip().partition("\n")[0]
        if text.lstrip().startswith("[") or not _is_object(first):
            reading.at(f"line {error.lineno}: ")
            raise
        yield from _jsonl(io.BytesIO(text.encode("utf-8", "surrogatepass")), reading)
        return
    for number, row in enumerate(content if isinstance(content, list) else [content], 1):
        reading.at(f"row {number}: ")
        yield _object(row)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=WrittenFloat)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python's own limit, which only code could set
        digits = sys.get_int_max_str_digits()
        raise ValueError(f"a whole number has more than {digits:,} digits; write it as text, in quotes") from None


def _is_object(text: str) -> bool:
    try:
        return isinstance(_parsed(text), dict)
    except ValueError:
        return False


def _object(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"a row is to be an object, and this is {json.dumps(row, default=str)[:40]}")
    return row


def _csv(stream: Any, reading: Reading) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(_lines(stream, reading), delimiter=reading.separator, strict=True)
    header = next(reader, None)
    if header is None:
        return
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two columns are called {twice!r}")
    while True:
        began = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error:
            reading.at(f"line {began}: ")
            raise
        if row is None:
            return
        if not row:  # an empty line
            continue
        reading.at(f"line {began}: ")
        if len(row) != len(header):
            hint = (
                ", which are separated by commas in a .csv file, and by tabs in a .tsv file"
                if len(header) == 1
                else ""
            )
            raise ValueError(f"{len(row)} values where the header names {len(header)} columns{hint}")
        yield {name: value or None for name, value in zip(header, row, strict=True)}


READERS: dict[str, Callable[[Any, Reading], Iterable[dict[str, Any]]]] = {
    "text": _text,
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
}


def arrow_schema(stream: Any, kind: str) -> pa.Schema:
    """Columns and types of a seekable Parquet or Arrow file.

    Raises:
        ValueError: Two columns have one name.
    """
    import pyarrow.parquet as pq

    schema = pq.ParquetFile(stream).schema_arrow if kind == "parquet" else _arrow_reader(stream).schema
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two columns are called {twice!r}")
    return schema


def arrow_batches(stream: Any, kind: str, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    """Record batches of a seekable Parquet or Arrow file, with all columns or some."""
    import pyarrow.parquet as pq

    arrow_schema(stream, kind)
    if kind == "parquet":
        yield from pq.ParquetFile(stream).iter_batches(batch_size=_BATCH_ROWS, columns=columns)
        return
    for batch in _arrow_reader(stream):
        yield batch if columns is None else batch.select(columns)


def _arrow_reader(stream: Any) -> Any:
    """Batches of an Arrow file or stream; both are in use."""
    import pyarrow as pa

    stream.seek(0)
    head = stream.read(6)
    stream.seek(0)
    if head == b"ARROW1":
        reader = pa.ipc.open_file(stream)
        return pa.RecordBatchReader.from_batches(
            reader.schema, (reader.get_batch(index) for index in range(reader.num_record_batches))
        )
    return pa.ipc.open_stream(stream)
