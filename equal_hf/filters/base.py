"""What a filter is, and how several are applied: the first reason wins, and only kept pairs are remembered.

>>> from equal_hf.filters.duplicate import DuplicateFilter
>>> from equal_hf.filters.lengths import LengthFilter
>>> document = Document("d1", "2 + 2 is 4.")
>>> pairs = [QAPair("What is 2 + 2?", "4", document_id="d1"), QAPair("what is 2+2", "4.", document_id="d1")]
>>> kept, rejected = apply_filters(pairs, {"d1": document}, [LengthFilter(), DuplicateFilter()])
>>> len(kept), [(item.reason, item.question) for item in rejected]
(1, [('duplicate', 'what is 2+2')])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from equal_hf.types import Document, QAPair, Rejection


class Filter(Protocol):
    """One check of a pair."""

    name: str

    def identity(self) -> dict[str, Any]:
        """Name, version and settings, as JSON: everything that decides what it rejects."""

    def check(self, pair: QAPair, document: Document) -> str | None:
        """Why the pair is rejected, as a snake_case reason; `None` where it is not. Changes nothing."""


class RememberingFilter(Filter, Protocol):
    """A filter whose decisions depend on the pairs kept before; known by having `keep`."""

    def keep(self, pair: QAPair) -> None:
        """Remember a pair that every filter let through."""


class ProtectingFilter(Filter, Protocol):
    """A filter that keeps protected texts out of records; known by having `withhold`."""

    def withhold(self, rejections: Sequence[Rejection]) -> list[Rejection]:
        """The rejections without protected texts."""


def apply_filters(
    pairs: Iterable[QAPair],
    documents: Mapping[str, Document],
    filters: Sequence[Filter],
    raw: Callable[[QAPair], str] = lambda pair: "",
) -> tuple[list[QAPair], list[Rejection]]:
    """Split pairs into those to keep and those rejected, each under the first reason that applies.

    Args:
        pairs (`Iterable[QAPair]`): The pairs, in the order in which the first of several duplicates is kept.
        documents (`Mapping[str, Document]`): The documents that they came from, by id.
        filters (`Sequence[Filter]`): Filters, in the order in which they are asked.
        raw (`Callable`, *optional*): Gives the raw reply that a pair came from, for its rejection.

    Returns:
        `tuple[list[QAPair], list[Rejection]]`: Kept pairs and rejections, both in the order given.
    """
    kept: list[QAPair] = []
    rejected: list[Rejection] = []
    for pair in pairs:
        document = documents[pair.document_id]
        reason = next((reason for filter in filters if (reason := filter.check(pair, document))), None)
        if reason is None:
            kept.append(pair)
            remember(pair, filters)
        else:
            rejected.append(Rejection(pair.document_id, reason, pair.question, pair.answer, raw(pair)))
    return kept, withhold(rejected, filters)


def withhold(rejections: Sequence[Rejection], filters: Sequence[Filter]) -> list[Rejection]:
    """Rejections of one document as they may be recorded and published, whatever their reason.

    Args:
        rejections (`Sequence[Rejection]`): The rejections, of extraction or of filters.
        filters (`Sequence[Filter]`): Filters; those that protect texts have `withhold`.
    """
    withheld = list(rejections)
    for filter in filters:
        if hasattr(filter, "withhold"):
            withheld = filter.withhold(withheld)
    return withheld


def remember(pair: QAPair, filters: Sequence[Filter]) -> None:
    """Have the filters remember a kept pair. With all recorded ones, in order, a run is resumed."""
    for filter in filters:
        if hasattr(filter, "keep"):
            filter.keep(pair)
