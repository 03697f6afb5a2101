"""Take the question-answer pairs that documents state themselves: no model, no request, nothing executed.

>>> from equal_hf.types import Document
>>> extractor = ExplicitExtractor()
>>> [extraction] = extractor.extract([Document("d1", "Q: What is 2 + 2?\\nA: 4")])
>>> extraction.pairs[0].answer, extraction.finish_reason
('4', 'stop')
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.extraction.explicit.doctests import doctest_pairs
from equal_hf.extraction.explicit.marked_pairs import EXERCISE_SOLUTION, FAQ, QUESTION_ANSWER, marked_pairs
from equal_hf.types import Allowance, Document, Extraction, QAPair, Rejection, Usage

DOCTEST = "doctest"
KINDS = (DOCTEST, QUESTION_ANSWER, EXERCISE_SOLUTION, FAQ)


class ExplicitExtractor:
    """Extracts doctests ([`doctest_pairs`]) and marked questions ([`marked_pairs`]).

    It stands in for an endpoint wherever documents hold explicit pairs, so its use is counted in the same units: one
    request a document, and a token for every 4 bytes of UTF-8, of the document as prompt and of its pairs as
    completion.

    Args:
        kinds (`Iterable[str]`, *optional*, defaults to all of `KINDS`): Kinds of pairs to take: `"doctest"`,
            `"question_answer"`, `"exercise_solution"`, `"faq"`.
        max_pairs_per_document (`int`, *optional*, defaults to `32`): Pairs kept of one document, the first ones in its
            text; the others are rejected as `"too_many_pairs"`, so that one long reference page does not fill a round.

    Raises:
        `ConfigError`: If a kind is unknown, there is none, or `max_pairs_per_document` is less than 1.
    """

    def __init__(self, kinds: Iterable[str] = KINDS, *, max_pairs_per_document: int = 32) -> None:
        self._kinds = tuple(kinds)
        self._max_pairs = max_pairs_per_document
        unknown = [kind for kind in self._kinds if kind not in KINDS]
        if unknown or not self._kinds:
            raise ConfigError(f"`kinds` holds {unknown or 'nothing'}: choose from {', '.join(KINDS)}.")
        if max_pairs_per_document < 1:
            raise ConfigError(f"`max_pairs_per_document` is {max_pairs_per_document}: it has to be at least 1.")

    def identity(self) -> dict[str, Any]:
        """What decides which pairs a document gives.

        Returns:
            `dict[str, Any]`: Values that JSON can hold.
        """
        kinds = sorted(self._kinds)
        return {"kind": "explicit", "version": 2, "kinds": kinds, "max_pairs_per_document": self._max_pairs}

    def extract(self, documents: Sequence[Document], allowance: Allowance | None = None) -> list[Extraction]:
        """Extract documents, as far as the allowance goes.

        Args:
            documents (`Sequence[Document]`): The documents, in the order drawn.
            allowance (`Allowance`, *optional*): Tokens that may be used; `None` for no limit. A document that does not
                fit what those before it have left is skipped with `finish_reason="budget"`.

        Returns:
            `list[Extraction]`: One a document, in the same order.
        """
        used = Usage()
        extractions: list[Extraction] = []
        for document in documents:
            extraction = self._extract(document)
            if allowance is None or allowance.holds(used + extraction.usage):
                used += extraction.usage
            else:
                extraction = Extraction(document.id, finish_reason="budget")
            extractions.append(extraction)
        return extractions

    def _extract(self, document: Document) -> Extraction:
        items: list[QAPair | Rejection] = []
        if DOCTEST in self._kinds:
            items.extend(doctest_pairs(document))
        items.extend(pair for pair in marked_pairs(document) if pair.method in self._kinds)
        pairs = sorted((item for item in items if isinstance(item, QAPair)), key=lambda pair: pair.span or (0, 0))
        rejected = [item for item in items if isinstance(item, Rejection)]
        for pair in pairs[self._max_pairs :]:
            rejected.append(Rejection(document.id, "too_many_pairs", pair.question, pair.answer))
        accepted = tuple(pairs[: self._max_pairs])
        usage = Usage(_tokens(document.text), sum(_tokens(pair.text()) for pair in accepted), requests=1)
        return Extraction(document.id, accepted, usage, rejected=tuple(rejected))


def _tokens(text: str) -> int:
    return max(1, len(text.encode("utf-8", "surrogatepass")) // 4)
