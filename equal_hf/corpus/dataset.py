"""Documents from a dataset: open it, choose the text column, drop what cannot be used and count why.

>>> report = ReadReport()
>>> rows = [{"text": "A sum is what addition gives."}, {"text": None}, {"text": "  "}]
>>> [document.text for document in read_documents(rows, min_characters=10, report=report)]
['A sum is what addition gives.']
>>> report.documents, report.dropped
(1, {'null': 1, 'empty': 1})
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import CorpusError
from equal_hf.types import Document
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    from typing import TypeAlias

    import datasets

    Rows: TypeAlias = datasets.Dataset | datasets.IterableDataset | Iterable[Mapping[str, Any]]

RESERVED_COLUMNS = ("id", "text", "cluster")
_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
_COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
_STRING_TYPES = ("string", "large_string", "string_view")
_SCALARS = (str, bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


@dataclass(slots=True)
class ReadReport:
    """What reading met: filled while the documents go by.

    Args:
        rows (`int`): Rows seen.
        dropped (`dict[str, int]`): Rows that gave no document, by reason: `null`, `not_text`, `empty`, `too_short`,
            `duplicate` (exactly the text of an earlier document), `null_id`, `duplicate_id`, and, once embedded,
            `no_embedding` (the embedder knows no token of it).
    """

    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def documents(self) -> int:
        """Rows that gave a document."""
        return self.rows - sum(self.dropped.values())

    def drop(self, reason: str) -> None:
        """Count one row under `reason`."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


def open_dataset(
    source: str,
    *,
    name: str | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    token: str | bool | None = None,
    setting: str = "corpus",
) -> datasets.Dataset | datasets.IterableDataset:
    """Open a corpus of documents through `datasets`.

    Args:
        source (`str`): A Hub dataset id, a local `.parquet`, `.jsonl`, `.json` or `.csv` file (also compressed), or a
            local folder that `datasets.load_dataset` can open.
        name (`str`, *optional*): Configuration of the dataset.
        split (`str`, *optional*, defaults to `"train"`): Split to read.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        streaming (`bool`, *optional*, defaults to `False`): Read row by row rather than through the local cache.
        token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.
        setting (`str`, *optional*, defaults to `"corpus"`): The setting that error messages name.

    Returns:
        `datasets.Dataset`, or `datasets.IterableDataset` when streaming.

    Raises:
        CorpusError: Nothing is there, it holds no data, it may not be read, or it lacks the configuration or split.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    path = Path(source).expanduser()
    arguments: dict[str, Any] = {"split": split, "streaming": streaming}
    if path.is_file():
        suffix = Path(path.stem).suffix if path.suffix in _COMPRESSIONS else path.suffix
        if suffix not in _BUILDERS:
            raise CorpusError(
                f"`{setting}`: the file {source} is none of {', '.join(_BUILDERS)}. Convert it, or name a folder or a "
                "Hub dataset."
            )
        arguments |= {"path": _BUILDERS[suffix], "data_files": {split.partition("[")[0]: str(path)}}
    elif path.is_dir():
        if not any(path.iterdir()):
            raise CorpusError(
                f"`{setting}`: the folder {source} is empty. Name one that holds Parquet, JSONL or CSV files."
            )
        arguments |= {"path": str(path), "name": name}
    elif source.startswith(("/", ".", "~")) or source.count("/") > 1 or path.suffix in (*_BUILDERS, *_COMPRESSIONS):
        raise CorpusError(f"`{setting}`: nothing is at {source}. Name an existing file, a folder or a Hub dataset id.")
    else:
        arguments |= {"path": source, "name": name, "revision": revision, "token": token}
    try:
        return datasets.load_dataset(**arguments)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise CorpusError(
            f"`{setting}`: the Hub has no dataset {source!r} that this token may read. Check the spelling and the "
            "revision; for a private or gated dataset log in with `hf auth login` or pass `token`."
        ) from error
    except (
        datasets.exceptions.DatasetsError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        OSError,
        ValueError,
    ) as error:
        raise CorpusError(
            f"`{setting}`: {source!r} (configuration {name!r}, split {split!r}) cannot be opened: "
            f"{first_line(error)}. Check the name, the configuration, the split and the connection."
        ) from error


def read_documents(
    dataset: Rows,
    *,
    text_column: str = "text",
    id_column: str | None = None,
    metadata_columns: Sequence[str] | None = None,
    min_characters: int = 50,
    report: ReadReport,
    deduplicate: bool = True,
) -> Iterator[Document]:
    """Yield the usable documents of a dataset, in its order.

    The columns are checked at the call, before the first document is asked for.

    Args:
        dataset (`datasets.Dataset`, `datasets.IterableDataset` or iterable of rows): Where the rows come from.
        text_column (`str`, *optional*, defaults to `"text"`): Column that holds the text.
        id_column (`str`, *optional*): Column whose values name the documents; by default a hash of the text does.
        metadata_columns (`Sequence[str]`, *optional*): Columns to carry along; by default every column of strings,
            numbers, booleans, dates and times. A column called `id`, `text` or `cluster` is carried as `source_id`,
            `source_text` or `source_cluster`, since the corpus has columns of those names.
        min_characters (`int`, *optional*, defaults to `50`): Shorter texts are dropped; space around them does
            not count.
        report (`ReadReport`): Is filled with rows seen and rows dropped by reason.
        deduplicate (`bool`, *optional*, defaults to `True`): Drop what repeats an earlier text or id, in memory for a
            hash of each; `False` for who looks for duplicates afterwards.

    Yields:
        `Document`: With `cluster` -1.

    Raises:
        CorpusError: A named column is missing, the text column does not hold text, or two columns would get one name.
    """
    if isinstance(dataset, dict):
        raise CorpusError(f"`dataset` is a dictionary of splits ({', '.join(map(str, dataset))}). Pass one of them.")
    source: Any = dataset
    features = getattr(source, "features", None)
    if features is None:
        # Streamed rows may carry no schema: the first one has to tell which columns there are.
        rows = iter(source)
        first = next(rows, None)
        if first is None:
            return iter(())
        columns, rows = list(first), itertools.chain([first], rows)
    else:
        columns = list(features)
    for setting, wanted in (
        ("text_column", [text_column]),
        ("id_column", [id_column] if id_column is not None else []),
        ("metadata_columns", metadata_columns or []),
    ):
        for column in wanted:
            if column not in columns:
                raise CorpusError(
                    f"The dataset has no column {column!r}; it has {', '.join(map(repr, columns))}. "
                    f"Set `{setting}` to one of them."
                )
    if features is not None:
        dtype = getattr(features[text_column], "dtype", type(features[text_column]).__name__)
        if dtype not in _STRING_TYPES:
            raise CorpusError(
                f"Column {text_column!r} holds {dtype}, not text. Set `text_column` to a column of strings: "
                f"{', '.join(repr(column) for column in columns if _is_text(features[column])) or 'there is none'}."
            )
        if metadata_columns is None:
            metadata_columns = [column for column in columns if _is_scalar(features[column])]
        wanted_columns = {text_column, *([id_column] if id_column is not None else []), *metadata_columns}
        rows = source.with_format(None).select_columns([column for column in columns if column in wanted_columns])
    carried = [column for column in columns if metadata_columns is None or column in metadata_columns]
    for column in RESERVED_COLUMNS:
        if {column, f"source_{column}"} <= set(carried) - {text_column, id_column}:
            raise CorpusError(
                f"Column {column!r} would be carried as 'source_{column}', which the dataset has too. "
                "Leave one of them out of `metadata_columns`."
            )
    return _documents(rows, text_column, id_column, metadata_columns, min_characters, report, deduplicate)


def _documents(
    rows: Iterable[Mapping[str, Any]],
    text_column: str,
    id_column: str | None,
    metadata_columns: Sequence[str] | None,
    min_characters: int,
    report: ReadReport,
    deduplicate: bool,
) -> Iterator[Document]:
    texts: set[bytes] = set()
    ids: set[str] = set()
    for row in rows:
        report.rows += 1
        text = row.get(text_column)
        reason, digest = _check(text, min_characters)
        if reason is None and digest in texts:
            reason = "duplicate"
        identity = digest.hex() if id_column is None else row.get(id_column)
        if reason is None and identity is None:
            reason = "null_id"
        elif reason is None and id_column is not None and str(identity) in ids:
            reason = "duplicate_id"
        if reason is not None:
            report.drop(reason)
            continue
        if deduplicate:
            texts.add(digest)
            if id_column is not None:
                ids.add(str(identity))
        metadata = {
            f"source_{column}" if column in RESERVED_COLUMNS else column: value
            for column, value in row.items()
            if column not in (text_column, id_column)
            and (
                column in metadata_columns
                if metadata_columns is not None
                else value is None or isinstance(value, _SCALARS)
            )
        }
        yield Document(str(identity), str(text), metadata=metadata)


def _check(text: Any, min_characters: int) -> tuple[str | None, bytes]:
    """Why a value is no usable text (or `None`), and the hash of the text."""
    if text is None:
        return "null", b""
    if not isinstance(text, str):
        return "not_text", b""
    length = len(text.strip())
    if length == 0:
        return "empty", b""
    if length < min_characters:
        return "too_short", b""
    try:
        return None, hashlib.blake2b(text.encode(), digest_size=16).digest()
    except UnicodeEncodeError:  # a lone surrogate: no file format could store it
        return "not_text", b""


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in _STRING_TYPES


def _is_scalar(feature: Any) -> bool:
    from datasets import ClassLabel, Value

    return isinstance(feature, ClassLabel) or (isinstance(feature, Value) and "binary" not in feature.dtype)
