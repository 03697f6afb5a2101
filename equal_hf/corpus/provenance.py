"""Under which licences documents are, where they are from, and in which languages: counted for cards."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from equal_hf.utils.licences import hub_licence, is_provenance, row_licence, row_source

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 500  # licences and sources that are told apart
OTHER_SOURCES = "…"
FIRST = 50  # rows by which it is known which columns hold JSON


@dataclass(slots=True)
class Provenance:
    """Counts of rows: of documents, or of pairs by the document that each is from.

    Args:
        rows (`Counter[tuple[str | None, str | None]]`): By licence, the Hub's identifier where it has one, and source.
        languages (`Counter[str]`): By language code, where a column `language` or `lang` tells it.

    >>> found = Provenance()
    >>> found.add([{"license": "MIT License", "source": "a"}, {"source": "b"}, {"license": "mit", "source": "a"}])
    >>> found.licences, found.unstated
    (Counter({'mit': 2, None: 1}), 1)
    """

    rows: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)

    def add(self, rows: Iterable[Mapping[str, Any]], counts: Iterable[int] | None = None) -> None:
        """Count rows by their metadata.

        Args:
            rows (`Iterable[Mapping[str, Any]]`): The metadata.
            counts (`Iterable[int]`, *optional*): How many rows there are of each; one where left out.
        """
        for row, count in zip(rows, itertools.repeat(1) if counts is None else counts, strict=False):
            licence = row_licence(row)
            self.rows[None if licence is None else _known(licence), row_source(row)] += count
            for name in ("language", "lang"):
                code = row.get(name)
                if isinstance(code, str) and re.fullmatch(r"[a-z]{2,3}", code := code.strip().lower()):
                    self.languages[code] += count
                    break
        if len(self.rows) > 4 * MOST:
            self._shorten()

    def add_table(self, table: pa.Table, names: Sequence[str]) -> None:
        """Count the rows of a table, those that are alike together.

        Args:
            table (`pa.Table`): Documents.
            names (`Sequence[str]`): Its columns of metadata.
        """
        if not (columns := provenance_columns(names, table.slice(0, FIRST).select(list(names)).to_pylist())):
            self.add([{}], [len(table)])
            return
        alike = table.select(columns).group_by(columns).aggregate([([], "count_all")])
        self.add(alike.select(columns).to_pylist(), alike["count_all"].to_pylist())

    @property
    def licences(self) -> Counter[str | None]:
        """Rows by licence; `None` where none is stated."""
        licences: Counter[str | None] = Counter()
        for (licence, _), count in self.rows.items():
            licences[licence] += count
        return licences

    @property
    def unstated(self) -> int:
        """Rows whose document states no licence."""
        return self.licences[None]

    def sources(self, licence: str | None) -> Counter[str | None]:
        """Rows of a licence by source."""
        return Counter({source: count for (own, source), count in self.rows.items() if own == licence})

    def to_json(self) -> dict[str, Any]:
        """What a record keeps of it, bounded."""
        self._shorten()
        ranked = sorted(self.rows.items(), key=lambda item: (-item[1], str(item[0])))
        return {"rows": [[*key, count] for key, count in ranked], "languages": dict(sorted(self.languages.items()))}

    @classmethod
    def of_json(cls, parts: Sequence[Mapping[str, Any]]) -> Provenance:
        """What several records keep, added up."""
        joined = cls()
        for part in parts:
            for licence, source, count in part["rows"]:
                joined.rows[licence, source] += count
            joined.languages.update(part["languages"])
        joined._shorten()
        return joined

    def _shorten(self) -> None:
        """Keep the largest; of the others the licences only, and of these as many again."""
        if len(self.rows) <= MOST:
            return
        ranked = sorted(self.rows.items(), key=lambda item: (-item[1], str(item[0])))
        self.rows = Counter(dict(ranked[:MOST]))
        rest: Counter[str | None] = Counter()
        for (licence, _), count in ranked[MOST:]:
            rest[licence if len(rest) < MOST or licence in rest else OTHER_SOURCES] += count
        for licence, count in rest.items():
            self.rows[licence, OTHER_SOURCES] += count


def provenance_columns(names: Iterable[str], first: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of metadata that may tell of provenance: by their names, or as they hold JSON.

    Args:
        names (`Iterable[str]`): All columns.
        first (`Sequence[Mapping[str, Any]]`): Some rows.

    >>> provenance_columns(["title", "url", "meta"], [{"title": "{", "meta": None}, {"meta": '{"repo": 1}'}])
    ['url', 'meta']
    """

    def nested(name: str) -> bool:
        values = (row.get(name) for row in first)
        return any(isinstance(value, str) and value[:2] in ('{"', "{}") for value in values)

    return [name for name in names if is_provenance(name) or name in ("language", "lang") or nested(name)]


@functools.lru_cache(10_000)
def _known(licence: str) -> str:
    parts = [hub_licence(part) for part in licence.split(", ")]
    return hub_licence(licence) or (", ".join(map(str, parts)) if all(parts) else licence)
