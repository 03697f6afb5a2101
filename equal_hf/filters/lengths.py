"""Turn down what asks or says nothing, or more than anybody wants to train on.

>>> LengthFilter(max_answer_characters=5).check(QAPair("Why?", "Because.", document_id="d"), Document("d", ""))
'answer_too_long'
"""

from __future__ import annotations

from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.filters.normalise import visible
from equal_hf.types import Document, QAPair


class LengthFilter:
    """Bounds the lengths of question and answer, in characters that can be seen.

    Args:
        max_question_characters (`int`, *optional*, defaults to `4000`): Longest question kept.
        max_answer_characters (`int`, *optional*, defaults to `8000`): Longest answer kept.

    Raises:
        [`ConfigError`]: If a bound is less than 1.
    """

    name = "lengths"

    def __init__(self, max_question_characters: int = 4000, max_answer_characters: int = 8000) -> None:
        if min(max_question_characters, max_answer_characters) < 1:
            raise ConfigError(
                f"`max_question_characters` is {max_question_characters} and `max_answer_characters` "
                f"{max_answer_characters}, which no pair fits: set both to 1 or more"
            )
        self._max_question, self._max_answer = max_question_characters, max_answer_characters

    def identity(self) -> dict[str, Any]:
        """Name, version and settings."""
        bounds = {"max_question_characters": self._max_question, "max_answer_characters": self._max_answer}
        return {"name": self.name, "version": 2, **bounds}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`empty_question`, `empty_answer`, `question_too_long`, `answer_too_long`, or None."""
        question, answer = visible(pair.question), visible(pair.answer)
        if not question.strip():
            return "empty_question"
        if not answer.strip():
            return "empty_answer"
        if len(question) > self._max_question:
            return "question_too_long"
        return "answer_too_long" if len(answer) > self._max_answer else None
