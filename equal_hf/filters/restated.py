"""Reject pairs whose question already says the answer.

>>> filter, document = RestatedFilter(), Document("d", "")
>>> filter.check(QAPair("Solve: 4y + 9 = -13", "4y + 9 = -13", "d"), document)
'answer_in_question'
>>> filter.check(QAPair("The average is: 1.5", "1.5", "d"), document)
'answer_in_question'
>>> filter.check(QAPair("Which is larger, 3 or 5?", "5", "d"), document)
"""

from __future__ import annotations

import re
from typing import Any

from equal_hf.filters.exercise import without_number
from equal_hf.filters.normalise import normalise
from equal_hf.types import Document, QAPair


class RestatedFilter:
    """Rejects an answer that is the question without its number and task verb, or the end of what the question states.

    A question mark lets the second pass: "Is it 3 or 5?" names its answer. That question and answer are the very
    same is found by the filter `lengths`.
    """

    name = "restated"

    def identity(self) -> dict[str, Any]:
        """Name and version."""
        return {"name": self.name, "version": 1}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`answer_in_question`, or None."""
        asked, answer = without_number(pair.question), normalise(without_number(pair.answer))
        if not answer:
            return None
        if answer in (normalise(asked), normalise(_TASK.sub("", asked, count=1))):
            return "answer_in_question"
        if "?" in asked or not _STATES.search(asked):
            return None
        return "answer_in_question" if f" {normalise(asked)}".endswith(f" {answer}") else None


_TASK = re.compile(
    r"(?:solve|simplify|evaluate|compute|calculate|find|factor|the answer is|answer|question|q)\s*:?\s+", re.IGNORECASE
)
_STATES = re.compile(r"\b(?:is|are|was|were|equals?|means?)\b|[=:]", re.IGNORECASE)
