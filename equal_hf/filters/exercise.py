"""Reject pairs whose answer is the next exercise: "131. slope 3" answered by "132. slope -5".

A weak model that is shown a list of exercises copies it, one as question and the next as answer. Their numbers tell:
where both begin with one, the answer to a question has the same.

>>> filter, document = ExerciseFilter(), Document("d", "")
>>> filter.check(QAPair("1. ⓐ 8 - 2", "ⓑ 6 - 5 - 2", "d"), document)
'answer_is_exercise'
>>> filter.check(QAPair("ⓐ 3 + 8·5 ⓑ (3 + 8)·5", "ⓐ 43 ⓑ 55", "d"), document)
"""

from __future__ import annotations

import re
from typing import Any

from equal_hf.types import Document, QAPair


class ExerciseFilter:
    """Compares the numbers or circled letters that question and answer begin with."""

    name = "exercise"

    def identity(self) -> dict[str, Any]:
        """Name and version."""
        return {"name": self.name, "version": 1}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`answer_is_exercise`, or None."""
        asked, answered = exercise_numbers(pair.question), exercise_numbers(pair.answer)
        differ = any(one and other and one != other for one, other in zip(asked, answered, strict=True))
        return "answer_is_exercise" if differ else None


def exercise_numbers(text: str) -> tuple[str, str]:
    """The number and the circled letter that a text begins with; empty without.

    >>> exercise_numbers("12. ⓐ Add 3 and 4."), exercise_numbers("12.5 is half of 25.")
    (('12.', 'ⓐ'), ('', ''))
    """
    match = _NUMBERS.match(text)
    return (match[1] or "", match[2] or "") if match else ("", "")


def without_number(text: str) -> str:
    """A text without the numbers and circled letters that it begins with.

    >>> without_number("12. ⓐ Add 3 and 4. Go on."), without_number("2.4")
    ('Add 3 and 4. Go on.', '2.4')
    """
    return _ALL_NUMBERS.sub("", text).strip()


_NUMBERS = re.compile(r"\s*(?:(\(?\d{1,4}[.)])\s+(?=\S))?(?:([①-⑳ⓐ-ⓩ])\s*)?")
_ALL_NUMBERS = re.compile(r"\A\s*(?:\(?\d{1,4}[.):]\s+|\(?[A-Za-z][.)]\s+|[①-⑳ⓐ-ⓩ]\s*)+")
