"""Reject questions that ask nothing: a bare number, or a statement that is followed by a number.

>>> filter, document = StatementFilter(), Document("d", "")
>>> filter.check(QAPair("2.4", "1.002", "d"), document)
'not_a_question'
>>> filter.check(QAPair("The equation x + 1 = 0 has no real solutions.", "1", "d"), document)
'not_a_question'
>>> filter.check(QAPair("St Anicetus was the first to forbid Montanism.", "True", "d"), document)
"""

from __future__ import annotations

import re
from typing import Any

from equal_hf.filters.exercise import without_number
from equal_hf.filters.normalise import visible
from equal_hf.types import Document, QAPair


class StatementFilter:
    """Knows statements of English by their form, and only where the answer is a bare number.

    Quizzes put statements that a name answers, or "true"; a number alone answers none. What a task verb, a question
    word, a gap or a question mark stands in is a question.
    """

    name = "statement"

    def identity(self) -> dict[str, Any]:
        """Name and version."""
        return {"name": self.name, "version": 1}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`not_a_question`, or None."""
        question = without_number(visible(pair.question))
        if _ONE_NUMBER.fullmatch(question):
            return "not_a_question"
        if not _NUMBER.fullmatch(visible(pair.answer).strip()):
            return None
        return "not_a_question" if is_statement(question) else None


def is_statement(question: str) -> bool:
    """Whether a question reads as a statement.

    >>> is_statement("The number of cubic yards needed is given by D = g(a)"), is_statement("The sum of 2 and 3?")
    (True, False)
    """
    return len(question) <= _MAX_CHARACTERS and not _ASKS.search(question) and bool(_STATES.match(question))


_MAX_CHARACTERS = 300  # a longer one sets out a case, and may ask by its form alone
_ONE_NUMBER = re.compile(r"[-+−]?[\d.,]*\d[\d.,]*")
_NUMBER = re.compile(r"[-+−]?[$€£]?(?:\d[\d.,]*|\.\d+)\s*%?\.?")
_ASKS = re.compile(
    r"\?|_{2,}|\.\.\.|…|:\s*\Z"
    r"|\b(?:what|which|who|whom|whose|when|where|why|how|whether|if|find|solve|calculate|compute|determine|evaluate"
    r"|simplify|factor|write|give|list|name|state|show|prove|explain|describe|compare|define|identify|graph|draw"
    r"|sketch|plot|use|estimate|express|convert|translate|round|complete|fill|choose|select|match|tell|discuss"
    r"|verify|check|true|false|problem|error|issue|trying|need|want|help|unable|cannot|can't)\b",
    re.IGNORECASE,
)
# An article or a pronoun and what belongs to it, or one or two words, then a verb; not an auxiliary, which asks.
_STATES = re.compile(
    r"(?!(?:is|are|was|were|has|have|had|do|does|did|can|will|would|could|should|may|let|suppose|assume)\b)"
    r"(?:(?:the|a|an|this|that|these|those|it|there|he|she|they|we|our|its)\b[^.!]*?|[^\s.!]+(?: [^\s.!]+)?) "
    r"(?:is|are|was|were|has|have|had|equals?|means?|contains?|consists?|will be|can be)\b",
    re.IGNORECASE,
)
