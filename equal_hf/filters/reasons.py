"""Quality filters: what every pair has to pass, whoever extracted it; each a named check that gives a reason or None.

They run in the order below, those that remember pairs last, and the first reason wins. [`FilterConfig`]
switches them (`filters`) and sets their thresholds; all are on by default.

| filter | reasons | what it rejects |
|---|---|---|
| `lengths` | `empty_question`, `no_question`, `answer_too_long`, … | empty, too long, an answer that is its question |
| `exercise` | `answer_is_exercise` | an answer that is the next exercise: "131. …" answered by "132. …" |
| `statement` | `not_a_question` | a bare number as question, or a statement that a number follows |
| `restated` | `answer_in_question` | an answer that the question already says |
| `self_contained` | `not_self_contained` | what points out of itself: "the figure above", "How does it work?" |
| `prompt_echo` | `asks_about_prompt` | a question about the prompt instead of the document |
| `grounding` | `not_grounded` | an answer that shares hardly a word with its document |
| `contaminated` | `contaminated` | what repeats the reference, validation or test set, or a named benchmark |
| `language` | `wrong_language` | a pair in another language than its document |
| `duplicate` | `duplicate` | a pair of this round or an earlier one again, up to typesetting |
| `number_family` | `number_family` | the third pair of a document that differs from others in numbers alone |
| `near_duplicate` | `near_duplicate` | the same with a few words changed, but the same numbers, symbols and code |

Whether a reply holds pairs at all is the extractor's own check, before these: see [`parse_pairs`] and its reasons
(`not_json`, `wrong_schema`, `invalid_pair`, …).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from equal_hf.errors import ConfigError

REASONS = {
    "lengths": (
        *("empty_question", "no_question", "empty_answer", "answer_is_question", "question_too_long"),
        "answer_too_long",
    ),
    "exercise": ("answer_is_exercise",),
    "statement": ("not_a_question",),
    "restated": ("answer_in_question",),
    "self_contained": ("not_self_contained",),
    "prompt_echo": ("asks_about_prompt",),
    "grounding": ("not_grounded",),
    "contaminated": ("contaminated",),
    "language": ("wrong_language",),
    "duplicate": ("duplicate",),
    "number_family": ("number_family",),
    "near_duplicate": ("near_duplicate",),
}
"""The reasons of every filter, in the order in which they run."""

FILTERS = tuple(REASONS)
"""Names of all filters, in the order in which they run."""


def check_filters(names: Iterable[str]) -> None:
    """Make sure that filters of these names exist.

    >>> check_filters(["lengths", "dupplicate"])
    Traceback (most recent call last):
    ...
    equal_hf.errors.ConfigError: `filters` names 'dupplicate', which is no filter: did you mean `duplicate`?
    """
    for name in names:
        if name not in FILTERS:
            close = get_close_matches(name, FILTERS, n=1)
            raise ConfigError(
                f"`filters` names {name!r}, which is no filter: "
                + (f"did you mean `{close[0]}`?" if close else f"choose from {', '.join(FILTERS)}")
            )
