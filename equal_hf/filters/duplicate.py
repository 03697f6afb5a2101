"""Reject pairs that equal another pair of this round or an earlier one.

>>> filter, document = DuplicateFilter(), Document("b", "")
>>> filter.keep(QAPair("What is 2 + 2?", "4", document_id="a"))
>>> filter.check(QAPair("what is 2+2", "4.", document_id="b"), document)
'duplicate'
"""

from __future__ import annotations

from typing import Any

from equal_hf.filters.normalise import normalise
from equal_hf.types import Document, QAPair
from equal_hf.utils.hashing import digest


class DuplicateFilter:
    """Remembers pairs by a 16-byte hash of their normalised question and answer, some 120 bytes a kept pair.

    Two pairs are the same when [`normalise`] makes their questions equal and their answers equal; exact copies are a
    case of that. The same question with another answer is another pair.
    """

    name = "duplicate"

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def identity(self) -> dict[str, Any]:
        """Name and version."""
        return {"name": self.name, "version": 2}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`duplicate`, or None."""
        return "duplicate" if _digest(pair) in self._seen else None

    def keep(self, pair: QAPair) -> None:
        """Remember a kept pair."""
        self._seen.add(_digest(pair))


def _digest(pair: QAPair) -> bytes:
    # A normalised text holds no newline, so the two parts cannot run into each other.
    text = f"{normalise(pair.question)}\n{normalise(pair.answer)}"
    return digest(text)
