"""What is taken of a row beside its text: its id, its metadata, and note of what could not be carried.

>>> report = ReadReport()
>>> reader = RowReader("text", "id", None, set(), 10, report)
>>> reader.identity({"id": 7}), reader.metadata({"id": 7, "text": "…", "tags": ["a"], "blob": b"bytes"})
('7', {'tags': '["a"]'})
>>> report.as_json, report.left_out
({'tags'}, {'blob'})
"""

from __future__ import annotations

import datetime
import decimal
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equal_hf.corpus.row_formats import WrittenFloat
from equal_hf.errors import CorpusError

RESERVED_COLUMNS = ("id", "text", "cluster")
PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # how pandas writes the numbers of its rows
_SCALARS = (str, bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)


@dataclass(slots=True)
class ReadReport:
    """What reading met: filled while the documents go by.

    Args:
        rows (`int`): Rows seen.
        dropped (`dict[str, int]`): Rows that gave no document, by reason: `null`, `not_text`, `empty`, `too_short`,
            `duplicate` (exactly the text of an earlier document), `null_id`, `duplicate_id`, `unreadable_page` (of an
            archive of pages), and, once embedded, `no_embedding` (the embedder knows no token of it).
        as_json (`set[str]`): Columns of lists and other nested values, which are carried as JSON text.
        left_out (`set[str]`): Columns that are not carried, for they hold bytes.
        missing (`set[str]`): Columns of `metadata_columns` that are not there.
    """

    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    as_json: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)

    @property
    def documents(self) -> int:
        """Rows that gave a document."""
        return self.rows - sum(self.dropped.values())

    def changed_columns(self) -> dict[str, list[str]]:
        """Columns that are not carried as they were, by what became of them."""
        kinds = {"carried as JSON text": self.as_json, "left out, for they hold bytes": self.left_out}
        return {kind: sorted(columns) for kind, columns in kinds.items() if columns}

    def drop(self, reason: str) -> None:
        """Count one row under `reason`."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


@dataclass(slots=True)
class RowReader:
    """What is taken of a row beside its text.

    Args:
        carried (`list[str]`, *optional*): Columns of metadata; all that a row has where left out.
        unsigned (`set[str]`): Those of them that are declared as `uint64`.
    """

    text_column: str
    id_column: str | None
    carried: list[str] | None
    unsigned: set[str]
    min_characters: int
    report: ReadReport

    def identity(self, row: Mapping[str, Any]) -> str:
        """The id as it is written in the dataset; empty where there is none."""
        value = row.get(self.id_column or "")
        if isinstance(value, (dict, list, tuple, bytes)):
            raise CorpusError(
                f"Column {self.id_column!r} holds {type(value).__name__} values, which are no ids. Set `id_column` to "
                "a column of text or numbers."
            )
        return text_of(value)

    def metadata(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that are carried, under the names that the corpus has for them."""
        found = {}
        for name in self.carried if self.carried is not None else row:
            if self.carried is None and PANDAS_INDEX.fullmatch(name):
                continue
            if name in (self.text_column, self.id_column) or name not in row:
                continue
            value = row[name]
            if isinstance(value, (dict, list, tuple)):
                try:
                    value = json.dumps(value, ensure_ascii=False, default=_plain)
                    self.report.as_json.add(name)
                except TypeError:
                    self.report.left_out.add(name)
                    continue
            elif value is not None and not isinstance(value, _SCALARS):
                self.report.left_out.add(name)
                continue
            if isinstance(value, str):
                value = storable(value)
            elif name in self.unsigned and value is not None:
                value = np.uint64(value)  # keeps its type where every value would fit a signed one
            found[f"source_{name}" if name in RESERVED_COLUMNS else name] = value
        return found


def text_of(value: Any) -> str:
    """A value as it is written in the dataset; empty for a missing one, and for what is no text and no number.

    >>> text_of("007"), text_of(WrittenFloat("1e5")), text_of(2**64), text_of(float("nan")), text_of([1])
    ('007', '1e5', '18446744073709551616', '', '')
    """
    if not isinstance(value, _SCALARS) or value != value:  # pandas writes a missing number as one that is none
        return ""
    return storable(value.written if isinstance(value, WrittenFloat) else str(value))


def storable(text: str) -> str:
    """A text without lone surrogates, which no file format can store: each becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _plain(value: Any) -> str:
    if isinstance(value, (decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)):
        return str(value)
    raise TypeError(type(value).__name__)
