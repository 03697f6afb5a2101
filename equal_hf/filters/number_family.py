"""Reject pairs of one document that are two other pairs of it with other numbers.

>>> filter, document = NumberFamilyFilter(), Document("d", "")
>>> family = [QAPair(f"slope {n} is undefined", f"slope -{n + 1} is undefined too", "d") for n in range(3)]
>>> for pair in family[:2]:
...     filter.keep(pair)
>>> filter.check(family[2], document)
'number_family'
>>> filter.check(QAPair("What is 2 + 3?", "5", "d"), document)
"""

from __future__ import annotations

import re
from typing import Any

from equal_hf.filters.normalise import normalise
from equal_hf.types import Document, QAPair
from equal_hf.utils.hashing import digest

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W\d_]{2,}")
_VERDICTS = frozenset(("yes", "no", "true", "false"))
_LEAST_WORDS = 3
_KEPT = 2  # of a family


class NumberFamilyFilter:
    """Compares questions without their numbers, among the pairs of one document.

    A model that has lost the thread counts: the same sentences with the next number. Exercises that differ in their
    numbers have results that do. So a pair is rejected where the questions differ in numbers alone and the answers
    are the same, unless that is a verdict ("yes"), or have the same three words or more and differ in numbers alone.
    Two may be chance, so the third of a family is the first to go.

    Remembers the kept pairs of the last document, 16 bytes for each of two looks at them.
    """

    name = "number_family"

    def __init__(self) -> None:
        self._document: str | None = None
        self._seen: dict[bytes, set[bytes]] = {}

    def identity(self) -> dict[str, Any]:
        """Name and version."""
        return {"name": self.name, "version": 1}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`number_family`, or None."""
        if pair.document_id != self._document:
            return None
        asked = digest(normalise(pair.question))
        alike = (self._seen.get(look, set()) for look in _looks(pair))
        return "number_family" if any(len(others - {asked}) >= _KEPT for others in alike) else None

    def keep(self, pair: QAPair) -> None:
        """Remember a kept pair."""
        if pair.document_id != self._document:
            self._document, self._seen = pair.document_id, {}
        for look in _looks(pair):
            self._seen.setdefault(look, set()).add(digest(normalise(pair.question)))


def _looks(pair: QAPair) -> list[bytes]:
    """What pairs of a family have in common: the question without numbers, and the answer with or without them."""
    question, answer = normalise(pair.question), normalise(pair.answer)
    asked = _NUMBER.sub("#", question)
    if asked == question:
        return []
    looks = [] if answer in _VERDICTS else [f"{asked}\n{answer}"]
    if len(_WORD.findall(answer)) >= _LEAST_WORDS:
        looks.append(f"{asked}\n{_NUMBER.sub('#', answer)}\n")
    return [digest(look) for look in looks]
