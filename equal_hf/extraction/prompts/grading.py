"""What a model is asked when it grades, in the same reply, how well each pair fits the target.

Questions of the target say what fits. They stand before the document and are the same for every document, so a server
can keep their attention states; answers are left out and long questions are cut, since a grade has to cost less than
it tells.

>>> print(grading_text([("How many apples are 2 and 3 apples?", "5")]).splitlines()[1])
{"question": "How many apples are 2 and 3 apples?"}
"""

from __future__ import annotations

import json
from collections.abc import Sequence

GRADE_ITEMS = 4  # questions shown
MAX_ITEM_CHARACTERS = 400

_RUBRIC = """\
3: it could; it is of the same kind
2: it takes the same skills, but is put in another way
1: it shares no more than the subject
0: it has nothing to do with them
Grade the kind of question, not how good the pair is; in most documents most pairs are 0 or 1. Write the same pairs \
as you would without grades."""


def grading_text(items: Sequence[tuple[str, str]], examples: int = 0) -> str:
    """The instructions for grades.

    Args:
        items (`Sequence[tuple[str, str]]`): Questions and answers of the target task.
        examples (`int`, *optional*, defaults to `0`): How many others the prompt shows above.
    """
    told = 'Grade each pair too: "fit" says whether its question could stand among the questions of a task.'
    above = " The examples above are some of them" if examples else " These are some of them"
    also = ", and so are these" if examples and items else ""
    shown = [json.dumps({"question": _cut(question)}, ensure_ascii=False) for question, _ in items]
    return "\n".join([f"{told}{above}{also}{':' if items else '.'}", *shown, _RUBRIC])


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ITEM_CHARACTERS else text[:MAX_ITEM_CHARACTERS].rstrip() + " …"
