"""Reject what asks or says nothing, or more than anybody wants to train on.

>>> LengthFilter(max_answer_characters=5).check(QAPair("Why?", "Because.", document_id="d"), Document("d", ""))
'answer_too_long'
"""

from __future__ import annotations

import re
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.filters.normalise import normalise, visible
from equal_hf.types import Document, QAPair

_LETTER = re.compile(r"[^\W_]")


class LengthFilter:
    """Requires a question and an answer that differ, and bounds their lengths, in characters that can be seen.

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
        return {"name": self.name, "version": 3, **bounds}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """A reason, or None.

        `empty_question`, `no_question` (without a letter or digit), `empty_answer`, `answer_is_question` (the same
        after [`normalise`]), `question_too_long`, `answer_too_long`.
        """
        question, answer = visible(pair.question), visible(pair.answer)
        if not question.strip():
            return "empty_question"
        if not _LETTER.search(question):
            return "no_question"
        if not answer.strip():
            return "empty_answer"
        if len(question) > self._max_question:
            return "question_too_long"
        asked = normalise(question)
        too_long = len(answer) > self._max_answer
        if not (too_long and _begins_otherwise(answer[: self._max_answer], asked)) and asked == normalise(answer):
            return "answer_is_question"
        return "answer_too_long" if too_long else None


def _begins_otherwise(beginning: str, asked: str) -> bool:
    """Whether the beginning of a long text tells that the whole is not `asked`, which spares normalising the whole."""
    if not _LETTER.search(beginning):
        return False  # without a token, normalising keeps punctuation
    tokens = normalise(beginning).split()[:-2]  # the last ones may go on after the cut
    return asked.split()[: len(tokens)] != tokens
