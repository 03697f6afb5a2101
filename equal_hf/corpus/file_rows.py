r"""The rows of one file of a dataset, with their values as they stand; what is damaged is named with its line or row.

A text file is one row: its `text`, and its path as `id` and `source`. Values of a CSV file are text, whatever they
look like; numbers of a JSON file keep the digits they are written with, for ids.

>>> from pathlib import Path
>>> from tempfile import mkdtemp
>>> path = Path(mkdtemp()) / "rows.csv"
>>> _ = path.write_text("id,text\n007,seven\n", encoding="utf-8")
>>> list(FileRows(SourceFile("rows.csv", str(path), "csv")))
[{'id': '007', 'text': 'seven'}]
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from equal_hf.errors import CorpusError
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

# What of a file's name says how it is read. Compressed files are read too.
FORMATS = {
    ".parquet": "parquet",
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".json": "json",
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".txt", ".md", ".markdown"), "text"),
    ".arrow": "arrow",
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_BATCH_ROWS = 1024


class UnreadableFile(CorpusError):
    """One file of a dataset is damaged; the others may be fine."""


class WrittenFloat(float):
    """A number of a JSON file that also knows how it is written there.

    >>> WrittenFloat("1e5") == 100000.0, WrittenFloat("1e5").written
    (True, '1e5')
    """

    def __init__(self, written: str) -> None:
        self.written = written


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a dataset.

    Args:
        name (`str`): Its path, without a revision.
        url (`str`): Where it is opened; empty for a whole split that `datasets` reads by itself.
        format (`str`): One of `FORMATS`; empty for a file that `datasets` reads with the dataset's own options.
        identity (`str`): Changes when its content does.
        relative (`str`): Its path below the folder that was named: the id of a text file.
        rows (`tuple[int, int]`, *optional*): The first row that is read, and the first that no longer is; all where
            left out.
        problem (`str`): Why it is not read; empty for a file that is.
        separator (`str`, *optional*, defaults to `","`): What separates the values of a CSV file.
        setting (`str`, *optional*, defaults to `"corpus"`): The setting that messages name.
    """

    name: str
    url: str
    format: str = ""
    identity: str = ""
    relative: str = ""
    rows: tuple[int, int] | None = None
    problem: str = ""
    separator: str = ","
    setting: str = "corpus"

    def unreadable(self, where: str, error: BaseException) -> UnreadableFile:
        """What is raised where the file breaks off."""
        skip = ", or set `on_bad_file` to 'skip' to go on without it" if self.setting == "corpus" else ""
        return UnreadableFile(
            f"The file {self.name} of the {self.setting} cannot be read: {where}{_reason(error)}. Repair or remove "
            f"it{skip}."
        )


class FileRows:
    """Rows of a file, read as they are asked for.

    Args:
        file ([`SourceFile`]): The file.
        columns (`Sequence[str]`, *optional*): Columns to read, where the format can leave others out.
        open_rows (`Callable`, *optional*): Opens a file that has no `format`, with `datasets`.

    Raises:
        UnreadableFile: The file is damaged.
        CorpusError: It is on the Hub, which cannot be reached.
    """

    def __init__(
        self,
        file: SourceFile,
        columns: Sequence[str] | None = None,
        open_rows: Callable[[SourceFile], Any] | None = None,
    ) -> None:
        self.file, self._columns, self._open_rows = file, columns, open_rows
        self._where = ""

    @cached_property
    def features(self) -> datasets.Features | None:
        """The types of the columns, where the file declares them."""
        if self._opened is not None:
            return self._opened.features
        if self.file.format not in ("parquet", "arrow"):
            return None
        import datasets

        with self._problems():
            schema = _schema(self.file)
            return datasets.Features.from_arrow_schema(schema)

    def select_columns(self, columns: Sequence[str]) -> FileRows:
        """The same rows with some columns."""
        return FileRows(self.file, columns, self._open_rows)

    def with_format(self, _: None) -> FileRows:
        """As of a `datasets.Dataset`: plain Python values, which these are."""
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        first, last = self.file.rows or (0, None)
        yield from islice(self._all_rows(), first, last)

    @cached_property
    def _opened(self) -> Any:
        if self.file.format or self._open_rows is None:
            return None
        with self._problems():
            rows = self._open_rows(self.file).with_format(None)
            return rows if self._columns is None else rows.select_columns(list(self._columns))

    def _all_rows(self) -> Iterator[dict[str, Any]]:
        with self._problems():
            if self._opened is not None:
                for number, row in enumerate(self._opened, 1):
                    yield row
                    self._where = f"after row {number}: "
            elif self.file.format in ("parquet", "arrow"):
                yield from self._arrow_rows()
            else:
                with open_file(self.file) as stream:
                    yield from _READERS[self.file.format](stream, self)

    def _problems(self) -> _Problems:
        return _Problems(self)

    def at(self, where: str) -> None:
        """Say where reading is, for what may go wrong there."""
        self._where = where

    def _arrow_rows(self) -> Iterator[dict[str, Any]]:
        number = 0
        columns = None if self._columns is None else list(self._columns)
        for batch in _batches(self.file, columns):
            for row in batch.to_pylist():
                yield row
                number += 1
            self._where = f"after row {number}: "


class _Problems:
    """What goes wrong with a file is told of that file, and of the place in it."""

    def __init__(self, rows: FileRows) -> None:
        self._rows = rows

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        if error is None or isinstance(error, CorpusError) or not isinstance(error, Exception):
            return
        file = self._rows.file
        # It derives from the HTTP client's own base error, which also covers lost connections.
        if file.url.startswith("hf://") and isinstance(error, HfHubHTTPError.__bases__[0]):
            raise CorpusError(
                f"The file {file.name} of the {file.setting} cannot be read from the Hub: {_reason(error)}. Check the "
                "connection and the token, and start again."
            ) from error
        raise file.unreadable(self._rows._where, error) from error  # whatever a damaged file makes its reader raise


@contextmanager
def open_file(file: SourceFile) -> Iterator[Any]:
    """A file's content, decompressed, as a binary stream."""
    import bz2
    import gzip
    import lzma

    import fsspec

    opened: Any = fsspec.open(file.url, "rb") if "://" in file.url else open(file.url, "rb")  # noqa: SIM115
    compression = next((kind for end, kind in COMPRESSIONS.items() if file.url.lower().endswith(end)), None)
    with opened as raw:
        if compression is None:
            yield raw
        elif compression == "zstd":
            import pyarrow as pa

            yield io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw), "zstd"))
        else:
            module: Any = {"gzip": gzip, "bz2": bz2, "xz": lzma}[compression]
            with module.open(raw) as stream:
                yield stream


def count_rows(file: SourceFile, open_rows: Callable[[SourceFile], Any] | None = None) -> int:
    """How many rows a file has."""
    return sum(1 for _ in FileRows(file, open_rows=open_rows))


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02x} is not {error.encoding.upper()}; save the file as UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    if isinstance(error, EOFError):
        return "the compressed data ends too soon: the file is cut off"
    return first_line(error)[:300]


# -- text, JSON, CSV --------------------------------------------------------------------------------------------------


def _text(stream: Any, rows: FileRows) -> Iterator[dict[str, Any]]:
    content: bytes = stream.read()
    try:
        text = _decoded(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        rows.at(f"line {line}: ")
        raise
    yield {"text": text, "id": rows.file.relative, "source": rows.file.relative}


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _lines(stream: Any, rows: FileRows) -> Iterator[str]:
    """Lines with their ends; each is read before it is told of, so that `rows` always knows the line at hand."""
    rows.at("line 1: ")
    head = stream.peek(2)[:2] if hasattr(stream, "peek") else b""
    if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        with io.TextIOWrapper(stream, "utf-16", newline="") as text:
            for number, line in enumerate(text, 1):
                rows.at(f"line {number}: ")
                yield line
        return
    for number, raw in enumerate(stream, 1):
        rows.at(f"line {number}: ")
        yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        rows.at(f"line {number + 1}: ")


def _jsonl(stream: Any, rows: FileRows) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(stream, rows), 1):
        if line.strip():
            rows.at(f"line {number}: ")
            yield _object(_parsed(line))


def _json(stream: Any, rows: FileRows) -> Iterator[dict[str, Any]]:
    """A list of rows, one row, or a row a line."""
    text = "".join(_lines(stream, rows))
    rows.at("")
    try:
        content = _parsed(text)
    except json.JSONDecodeError as error:
        first = text.lstrip().partition("\n")[0]
        if text.lstrip().startswith("[") or not _is_object(first):
            rows.at(f"line {error.lineno}: ")
            raise
        yield from _jsonl(io.BytesIO(text.encode("utf-8", "surrogatepass")), rows)
        return
    for number, row in enumerate(content if isinstance(content, list) else [content], 1):
        rows.at(f"row {number}: ")
        yield _object(row)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=WrittenFloat)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def _is_object(text: str) -> bool:
    try:
        return isinstance(_parsed(text), dict)
    except ValueError:
        return False


def _object(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"a row is to be an object, and this is {json.dumps(row, default=str)[:40]}")
    return row


def _csv(stream: Any, rows: FileRows) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)  # a document may be of any length
    reader = csv.reader(_lines(stream, rows), delimiter=rows.file.separator, strict=True)
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
            rows.at(f"line {began}: ")
            raise
        if row is None:
            return
        if not row:  # an empty line
            continue
        rows.at(f"line {began}: ")
        if len(row) != len(header):
            hint = (
                ", which are separated by commas in a .csv file, and by tabs in a .tsv file"
                if len(header) == 1
                else ""
            )
            raise ValueError(f"{len(row)} values where the header names {len(header)} columns{hint}")
        yield {name: value or None for name, value in zip(header, row, strict=True)}


_READERS: dict[str, Callable[[Any, FileRows], Iterable[dict[str, Any]]]] = {
    "text": _text,
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
}


# -- Parquet, Arrow ---------------------------------------------------------------------------------------------------


@contextmanager
def _seekable(file: SourceFile) -> Iterator[Any]:
    with open_file(file) as stream:
        yield io.BytesIO(stream.read()) if file.url.lower().endswith(tuple(COMPRESSIONS)) else stream


def _schema(file: SourceFile) -> pa.Schema:
    import pyarrow.parquet as pq

    with _seekable(file) as stream:
        return _checked(
            pq.ParquetFile(stream).schema_arrow if file.format == "parquet" else _arrow_reader(stream).schema
        )


def _checked(schema: pa.Schema) -> pa.Schema:
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two columns are called {twice!r}")
    return schema


def _batches(file: SourceFile, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with _seekable(file) as stream:
        if file.format == "parquet":
            table = pq.ParquetFile(stream)
            _checked(table.schema_arrow)
            yield from table.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
            return
        reader = _arrow_reader(stream)
        _checked(reader.schema)
        for batch in reader:
            yield batch if columns is None else batch.select(columns)


def _arrow_reader(stream: Any) -> Any:
    """Batches of an Arrow file or stream; both are in use."""
    import pyarrow as pa

    head = stream.read(6)
    stream.seek(0)
    if head == b"ARROW1":
        reader = pa.ipc.open_file(stream)
        return pa.RecordBatchReader.from_batches(
            reader.schema, (reader.get_batch(index) for index in range(reader.num_record_batches))
        )
    return pa.ipc.open_stream(stream)
