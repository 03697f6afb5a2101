r"""The rows of one file of a dataset, read as they are asked for; what is damaged is named with its line or row.

>>> from pathlib import Path
>>> from tempfile import mkdtemp
>>> path = Path(mkdtemp()) / "rows.csv"
>>> _ = path.write_text("id,text\n007,seven\n", encoding="utf-8")
>>> list(FileRows(SourceFile("rows.csv", str(path), "csv")))
[{'id': '007', 'text': 'seven'}]
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.formats.parsed_rows import PARSED_READERS
from equal_hf.corpus.formats.parser_process import ParserLimits
from equal_hf.corpus.row_formats import COMPRESSIONS, READERS, Reading, arrow_batches, arrow_schema, compressed_ending
from equal_hf.errors import CorpusError
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    import datasets


_READ_BYTES = 1 << 18  # of a compressed file at a time
_INFLATED_BYTES, _INFLATED_TIMES = 1 << 28, 300  # beyond both a compressed file is a bomb


class UnreadableFile(CorpusError):
    """One file of a dataset is damaged; the others may be fine."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a dataset.

    Args:
        name (`str`): Its path, without a revision.
        url (`str`): Where it is opened; empty for a whole split that `datasets` reads by itself.
        format (`str`): One of `FORMATS`; empty for a file that `datasets` reads with the dataset's own options.
        identity (`str`): Changes when its content does.
        relative (`str`): Its path below the folder that was named: the id of a file that is one document.
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


@dataclass(frozen=True, slots=True)
class DatasetName:
    """What names a dataset.

    Args:
        source (`str`): A Hub dataset id, or a local file, folder or glob.
        config (`str`, *optional*): Configuration of the dataset.
        split (`str`, *optional*): Split, or an expression such as `"train[:500]"`; of a local folder all files where
            left out, of a dataset on the Hub `"train"`.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.
        setting (`str`, *optional*, defaults to `"corpus"`): The setting that messages name.
    """

    source: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    token: str | bool | None = None
    setting: str = "corpus"


class FileRows:
    """Rows of a file, read as they are asked for.

    Args:
        file ([`SourceFile`]): The file.
        columns (`Sequence[str]`, *optional*): Columns to read, where the format can leave others out.
        open_rows (`Callable`, *optional*): Opens a file that has no `format`, with `datasets`.
        limits ([`ParserLimits`], *optional*): What a document may take to parse.

    Raises:
        UnreadableFile: The file is damaged.
        CorpusError: It is on the Hub, which cannot be reached.
    """

    def __init__(
        self,
        file: SourceFile,
        columns: Sequence[str] | None = None,
        open_rows: Callable[[SourceFile], Any] | None = None,
        limits: ParserLimits | None = None,
    ) -> None:
        self.file, self._columns, self._open_rows = file, columns, open_rows
        plain = "://" not in file.url and _compression(file) is None
        self._reading = Reading(file.relative, file.separator, file.url if plain else "", limits or ParserLimits())

    @cached_property
    def features(self) -> datasets.Features | None:
        """The types of the columns, where the file declares them."""
        if self._opened is not None:
            return self._opened.features
        if self.file.format not in ("parquet", "arrow"):
            return None
        import datasets

        with self._problems(), _seekable(self.file) as stream:
            return datasets.Features.from_arrow_schema(arrow_schema(stream, self.file.format))

    def select_columns(self, columns: Sequence[str]) -> FileRows:
        """The same rows with some columns."""
        return FileRows(self.file, columns, self._open_rows, self._reading.limits)

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
                    self._reading.where = f"after row {number}: "
            elif self.file.format in ("parquet", "arrow"):
                yield from self._arrow_rows()
            else:
                with open_file(self.file) as opened:
                    # Files on the Hub have no lines of bounded length.
                    stream = opened if hasattr(opened, "peek") else io.BufferedReader(opened, _READ_BYTES)
                    yield from (READERS | PARSED_READERS)[self.file.format](stream, self._reading)

    @contextmanager
    def _problems(self) -> Iterator[None]:
        """What goes wrong is told of the file, and of the place in it."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            yield
        except CorpusError:
            raise
        except Exception as error:  # whatever a damaged file makes its reader raise
            # The Hub's error derives from the HTTP client's own base error, which also covers lost connections.
            if self.file.url.startswith("hf://") and isinstance(error, HfHubHTTPError.__bases__[0]):
                raise CorpusError(
                    f"The file {self.file.name} of the {self.file.setting} cannot be read from the Hub: "
                    f"{_reason(error)}. Check the connection and the token, and start again."
                ) from error
            raise self.file.unreadable(self._reading.where, error) from error

    def _arrow_rows(self) -> Iterator[dict[str, Any]]:
        number = 0
        columns = None if self._columns is None else list(self._columns)
        with _seekable(self.file) as stream:
            for batch in arrow_batches(stream, self.file.format, columns):
                for row in batch.to_pylist():
                    yield row
                    number += 1
                self._reading.where = f"after row {number}: "


@contextmanager
def open_file(file: SourceFile) -> Iterator[Any]:
    """A file's content, decompressed, as a binary stream."""
    import bz2
    import gzip
    import lzma

    import fsspec

    url = in_hub_cache(file.url) or file.url
    opened: Any = fsspec.open(url, "rb") if "://" in url else open(url, "rb")  # noqa: SIM115
    compression = _compression(file)
    with opened as raw:
        if compression is None:
            yield raw
        elif compression == "zstd":
            import pyarrow as pa

            yield io.BufferedReader(_Inflated(pa.CompressedInputStream(pa.PythonFile(raw), "zstd"), raw), _READ_BYTES)
        else:
            module: Any = {"gzip": gzip, "bz2": bz2, "xz": lzma}[compression]
            with module.open(raw) as stream:
                yield io.BufferedReader(_Inflated(stream, raw), _READ_BYTES)


class _Inflated(io.RawIOBase):
    """What a compressed file holds, as long as it is no bomb: a small file that fills disk and memory.

    Args:
        stream (`Any`): The decompressed content.
        raw (`Any`): The file.
    """

    def __init__(self, stream: Any, raw: Any) -> None:
        self._stream, self._raw, self._bytes = stream, raw, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            # What comes before a damage is given, where a reader can.
            content = getattr(self._stream, "read1", self._stream.read)(len(buffer))
        except EOFError:  # which some readers take for a good end
            raise ValueError("the compressed data ends too soon: the file is cut off") from None
        buffer[: len(content)] = content
        self._bytes += len(content)
        if self._bytes > _INFLATED_BYTES and self._bytes > _INFLATED_TIMES * self._raw.tell():
            raise ValueError(
                f"it inflates to more than {_INFLATED_TIMES} times its size; decompress it first if it is meant"
            )
        return len(content)


def _compression(file: SourceFile) -> str | None:
    return next((kind for end, kind in COMPRESSIONS.items() if file.url.lower().endswith(end)), None)


@contextmanager
def _seekable(file: SourceFile) -> Iterator[Any]:
    with open_file(file) as stream:
        yield io.BytesIO(stream.read()) if _compression(file) else stream


def in_hub_cache(url: str) -> str | None:
    """Where a file of the Hub is on this disk, if it was downloaded."""
    from huggingface_hub import try_to_load_from_cache

    if not url.startswith("hf://datasets/"):
        return None
    repo, _, rest = url.removeprefix("hf://datasets/").partition("@")
    revision, _, name = rest.partition("/")
    found = try_to_load_from_cache(repo, name, revision=revision, repo_type="dataset")
    return found if isinstance(found, str) else None


def count_rows(file: SourceFile, open_rows: Callable[[SourceFile], Any] | None = None) -> int:
    """How many rows a file has."""
    return sum(1 for _ in FileRows(file, [] if file.format == "parquet" else None, open_rows))


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        if ending := compressed_ending(error.object):
            return f"it is compressed, which its name does not say; let the name end in {ending}"
        return f"byte 0x{error.object[error.start]:02x} is not {error.encoding.upper()}; save the file as UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return first_line(error)[:300]
