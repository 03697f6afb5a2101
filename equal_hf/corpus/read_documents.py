"""Documents from the rows of a dataset: choose the text column, drop what cannot be used and count why.

>>> report = ReadReport()
>>> rows = [{"text": "A sum is what addition gives."}, {"text": None}, {"text": "  "}]
>>> [document.text for document in read_documents(rows, min_characters=10, report=report)]
['A sum is what addition gives.']
>>> report.documents, report.dropped
(1, {'null': 1, 'empty': 1})
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.row_formats import Unusable
from equal_hf.corpus.row_reader import PANDAS_INDEX, RESERVED_COLUMNS, ReadReport, RowReader, storable
from equal_hf.errors import CorpusError
from equal_hf.types import Document
from equal_hf.utils.hashing import digest

if TYPE_CHECKING:
    from typing import TypeAlias

    import datasets

    Rows: TypeAlias = datasets.Dataset | datasets.IterableDataset | Iterable[Mapping[str, Any]]

logger = logging.getLogger(__name__)

FIRST_ROWS = 100  # that tell the columns of rows without a schema
_STRING_TYPES = ("string", "large_string", "string_view")


def read_documents(
    dataset: Rows,
    *,
    text_column: str = "text",
    id_column: str | None = None,
    metadata_columns: Sequence[str] | None = None,
    min_characters: int = 50,
    report: ReadReport,
    deduplicate: bool = True,
    need_metadata: bool = True,
) -> Iterator[Document]:
    """Yield the usable documents of a dataset, in its order.

    The columns are checked at the call, before the first document is asked for.

    Args:
        dataset (`datasets.Dataset`, `datasets.IterableDataset` or iterable of rows): Where the rows come from.
        text_column (`str`, *optional*, defaults to `"text"`): Column that holds the text.
        id_column (`str`, *optional*): Column whose values name the documents; by default a hash of the text does.
        metadata_columns (`Sequence[str]`, *optional*): Columns to carry along; where left out, all but those of bytes
            and the row numbers that pandas writes (`__index_level_0__`). Lists and other nested values are carried as
            JSON text. A column called `id`, `text` or `cluster` is carried as `source_id`, `source_text` or
            `source_cluster`, since the corpus has columns of those names.
        min_characters (`int`, *optional*, defaults to `50`): Shorter texts are dropped; space around them does
            not count.
        report (`ReadReport`): Is filled with rows seen, rows dropped by reason, and columns that are not as they were.
        deduplicate (`bool`, *optional*, defaults to `True`): Drop what repeats an earlier text or id, in memory for a
            hash of each; `False` for who looks for duplicates afterwards.
        need_metadata (`bool`, *optional*, defaults to `True`): Raise where one of `metadata_columns` is missing;
            `False` only takes note of it in the report.

    Yields:
        `Document`: With `cluster` -1.

    Raises:
        CorpusError: A named column is missing, the text column does not hold text, ids are nested values, or two
            columns would get one name.
    """
    if isinstance(dataset, dict):
        raise CorpusError(f"`dataset` is a dictionary of splits ({', '.join(map(str, dataset))}). Pass one of them.")
    if isinstance(metadata_columns, str):
        metadata_columns = [metadata_columns]
    source: Any = dataset
    features = getattr(source, "features", None)
    if features is None:
        # Rows may carry no schema: the first ones have to tell which columns there are.
        rows = iter(source)
        first = _first_rows(rows, {text_column, id_column or text_column, *(metadata_columns or ())})
        if not first:
            return iter(())
        columns, rows = columns_of(first), itertools.chain(first, rows)
    else:
        columns = list(features)
    if not need_metadata and metadata_columns is not None:
        report.missing.update(set(metadata_columns) - set(columns))
        metadata_columns = [name for name in metadata_columns if name in columns]
    carried = [name for name in columns if name not in (text_column, id_column)]
    if metadata_columns is not None:
        carried = [name for name in carried if name in metadata_columns]
    elif features is not None:
        report.left_out.update(name for name in carried if _is_binary(features[name]))
        carried = [name for name in carried if not (_is_binary(features[name]) or PANDAS_INDEX.fullmatch(name))]
    _check_columns(columns, carried, text_column, id_column, metadata_columns)
    unsigned: set[str] = set()
    if features is not None:
        _check_text(features, text_column)
        unsigned = {name for name in carried if getattr(features[name], "dtype", None) == "uint64"}
        wanted = {text_column, *([id_column] if id_column is not None else []), *carried}
        rows = source.with_format(None).select_columns([name for name in columns if name in wanted])
    every = features is None and metadata_columns is None  # later rows may have other columns
    reader = RowReader(text_column, id_column, None if every else carried, unsigned, min_characters, report)
    return _documents(rows, reader, deduplicate)


def _documents(rows: Iterable[Mapping[str, Any]], reader: RowReader, deduplicate: bool) -> Iterator[Document]:
    texts: set[bytes] = set()
    ids: set[str] = set()
    report = reader.report
    for row in rows:
        report.rows += 1
        reason, hashed = _check(row.get(reader.text_column), reader.min_characters)
        if reason is None and hashed in texts:
            reason = "duplicate"
        name = "" if reason is not None else hashed.hex() if reader.id_column is None else reader.identity(row)
        if reason is None and not name:
            reason = "null_id"
        elif reason is None and name in ids:
            reason = "duplicate_id"
        if reason is not None:
            report.drop(reason)
            continue
        if deduplicate:
            texts.add(hashed)
            if reader.id_column is not None:
                ids.add(name)
        yield Document(name, str(row[reader.text_column]), metadata=reader.metadata(row))


def _first_rows(rows: Iterator[Mapping[str, Any]], wanted: set[str]) -> list[Mapping[str, Any]]:
    """Rows up to the one by which all wanted columns have been seen."""
    first = []
    for row in itertools.islice(rows, FIRST_ROWS):
        first.append(row)
        wanted = wanted - set(row)
        if not wanted:
            break
    return first


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _check_columns(
    columns: list[str],
    carried: list[str],
    text_column: str,
    id_column: str | None,
    metadata_columns: Sequence[str] | None,
) -> None:
    for setting, wanted in (
        ("text_column", [text_column]),
        ("id_column", [id_column] if id_column is not None else []),
        ("metadata_columns", metadata_columns or []),
    ):
        for column in wanted:
            if column not in columns:
                raise CorpusError(
                    f"The dataset has no column {column!r}; it has {', '.join(map(repr, columns))}. "
                    f"Set `{setting}` to one of them{_separator_hint(columns)}."
                )
    for column in RESERVED_COLUMNS:
        if {column, f"source_{column}"} <= set(carried):
            raise CorpusError(
                f"Column {column!r} would be carried as 'source_{column}', which the dataset has too. "
                "Leave one of them out of `metadata_columns`."
            )


def _separator_hint(columns: list[str]) -> str:
    """A word on a table whose only column has other separators in its name."""
    if len(columns) == 1 and any(separator in columns[0] for separator in ";\t|"):
        return "; values are separated by commas in a .csv file, and by tabs in a .tsv file"
    return ""


def _check_text(features: Any, text_column: str) -> None:
    dtype = getattr(features[text_column], "dtype", type(features[text_column]).__name__)
    if dtype not in _STRING_TYPES:
        texts = [name for name in features if getattr(features[name], "dtype", None) in _STRING_TYPES]
        raise CorpusError(
            f"Column {text_column!r} holds {dtype}, not text. Set `text_column` to a column of strings: "
            f"{', '.join(map(repr, texts)) or 'there is none'}."
        )


def _check(text: Any, min_characters: int) -> tuple[str | None, bytes]:
    """Why a value is no usable text (or `None`), and the hash of the text."""
    if text is None:
        return "null", b""
    if isinstance(text, Unusable):
        return text.reason, b""
    if not isinstance(text, str):
        return "not_text", b""
    length = len(text.strip())
    if length == 0:
        return "empty", b""
    if length < min_characters:
        return "too_short", b""
    if storable(text) != text:  # a lone surrogate: no file format could store it
        return "not_text", b""
    return None, digest(text)


def _is_binary(feature: Any) -> bool:
    """Bytes, or what `datasets` would decode: pictures, sound, video."""
    return "binary" in str(getattr(feature, "dtype", "")) or hasattr(feature, "decode_example")
