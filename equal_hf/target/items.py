"""Questions and answers of a target task, and what an answer marks: its result, and how it was calculated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class TargetItem:
    """A question of the target task.

    Args:
        question (`str`): The question.
        answer (`str`): The full answer.
        final (`str`, *optional*): The bare result, where the task has one (GSM8K's number); scored by exact match. A
            blank one is `None`.
    """

    question: str
    answer: str
    final: str | None = None

    def __post_init__(self) -> None:
        if self.final is not None and not str(self.final).strip():
            object.__setattr__(self, "final", None)  # a frozen dataclass is set this way

    def text(self) -> str:
        """The item as it is embedded; the same form as a pair's."""
        return f"{self.question}\n{self.answer}"


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a target task.

    Args:
        reference (`tuple[TargetItem, ...]`): Pays the transport reward.
        validation (`tuple[TargetItem, ...]`): Pays the loss reward.
        test (`tuple[TargetItem, ...]`): Measures the gain, and nothing else.
    """

    reference: tuple[TargetItem, ...]
    validation: tuple[TargetItem, ...] = ()
    test: tuple[TargetItem, ...] = ()

    def protected(self) -> list[TargetItem]:
        """Every item that no pair may repeat."""
        return [*self.reference, *self.validation, *self.test]


def marked_result(text: str) -> str | None:
    r"""The result that a text marks as such: behind `####` at its end, as in GSM8K, or in its last `\boxed{}`.

    >>> marked_result("3 * 4 = <<3*4=12>>12\n#### 12"), marked_result(r"So $x = \boxed{\frac{1}{2}}$.")
    ('12', '\\frac{1}{2}')
    >>> marked_result("#### Step 1\nAdd 2 and 2.") is None  # a heading
    True
    """
    if (last := _HASHES.search(text)) is not None:
        return last[1].strip()
    for box in reversed(list(_BOX.finditer(text))):
        if (inside := _inside(text, box.end()) if box[0].endswith("{") else box[1]) and inside.strip():
            return inside.strip()
    return None


_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*(\S[^\n]*)\s*\Z")
_BOX = re.compile(r"\\f?boxed\s*(?:\{|([^\s{}$]+))")


def _inside(text: str, start: int) -> str:
    """What stands in braces, others within included; empty where they are not closed."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    return ""


def without_annotations(item: TargetItem) -> TargetItem:
    """An item without calculator annotations in its answer.

    In GSM8K's answers they take a third of the tokens, and no pair of a corpus has them: a loss with them says less of
    what is learned.

    >>> without_annotations(TargetItem("Half of 48?", "It is 48/2 = <<48/2=24>>24.\\n#### 24")).answer
    'It is 48/2 = 24.\\n#### 24'
    """
    return replace(item, answer=_ANNOTATION.sub("", item.answer))


_ANNOTATION = re.compile(r"<<[-+*/().\d]{1,200}=[-+*/().=\d]{1,200}>>")


def has_annotations(targets: Mapping[str, Target], part: Literal["validation", "test"]) -> bool:
    """Whether an answer of that part of a target has calculator annotations."""
    return any(_ANNOTATION.search(item.answer) for target in targets.values() for item in getattr(target, part))
