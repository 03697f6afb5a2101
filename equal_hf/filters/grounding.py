"""Reject answers that have next to nothing in common with the document they are said to come from.

>>> document = Document("d", "Janet's ducks lay 16 eggs per day. She eats three and sells the rest at the market.")
>>> filter = GroundingFilter()
>>> filter.check(QAPair("How many are sold?", "Janet sells 16 - 3 = 13 eggs at the market.", "d"), document)
>>> filter.check(QAPair("Who was first?", "Armstrong walked on the Moon in July 1969, Aldrin second.", "d"), document)
'not_grounded'
"""

from __future__ import annotations

from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.filters.vocabulary import content, vocabulary
from equal_hf.types import Document, QAPair

_MIN_CONTENT = 5


class GroundingFilter:
    """Requires a share of the answer's content words, numbers included, to be in the document.

    The idea is YourBench's citation overlap (arXiv 2504.01833), taken over single words instead of quotes, because a
    worked answer does not quote: it adds steps, and numbers that the document never names. An answer with fewer than
    five content words says too little to be judged and passes.

    The default comes from measurements on pairs that web documents state and on worked answers of GSM8K and MATH,
    some 3,000 of each. At 0.15 it rejects none of the stated answers, and 5 % of them once they are cut out of
    their document; of the worked answers, with nothing but the question as document, 0.3 % (GSM8K) and 7 % (MATH).
    Beside a random document it rejects 53 % of the stated ones, 61 % (GSM8K) and 45 % (MATH) of the worked ones.
    So it catches much of what has nothing to do with its document, and nothing that is subtly wrong.

    Args:
        min_grounding (`float`, *optional*, defaults to `0.15`): Share of the answer's content words in the document.

    Raises:
        [`ConfigError`]: If the share is not between 0 and 1.
    """

    name = "grounding"

    def __init__(self, min_grounding: float = 0.15) -> None:
        if not 0 <= min_grounding <= 1:
            raise ConfigError(f"`min_grounding` is {min_grounding}, but it is a share: set it between 0 and 1")
        self._min_grounding = min_grounding

    def identity(self) -> dict[str, Any]:
        """Name, version and settings."""
        return {"name": self.name, "version": 2, "min_grounding": self._min_grounding}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`not_grounded`, or None."""
        share = grounding(pair.answer, document.text)
        return None if share is None or share >= self._min_grounding else "not_grounded"


def grounding(answer: str, document: str) -> float | None:
    """Share of the answer's content words that are in the document; `None` where it has fewer than five.

    >>> grounding("She sells 16 - 3 = 13 eggs.", "Her ducks lay 16 eggs. She eats 3 and sells the others.")
    0.8
    """
    stems = content(answer)
    if len(stems) < _MIN_CONTENT:
        return None
    known = vocabulary(document)
    return sum(stem in known for stem in stems) / len(stems)
