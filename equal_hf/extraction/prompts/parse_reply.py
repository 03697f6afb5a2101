"""From an endpoint's reply to question-answer pairs, whatever the reply holds.

A model is asked for `{"pairs": [{"question": …, "answer": …}]}`, with `"fit": 0` to `3` in each pair where it grades
them too, and answers with that, with the same in a Markdown fence, between two paragraphs of prose, as a bare list, as
one object a line, cut off in the middle, or with something else altogether. `parse_pairs` takes the pairs that are
there, counts what is malformed, and never raises: time and memory are bounded by the length of the reply.

>>> parse_pairs('Sure! ```json\\n{"pairs": [{"question": "2 + 2?", "answer": "4"}]}\\n```').pairs
[('2 + 2?', '4')]
>>> parse_pairs("I cannot help with that.").reason
'not_json'
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

from equal_hf.extraction.prompts.broken_entry import ENTRY, read_entry
from equal_hf.extraction.prompts.read_json import BROKEN, MAX_REPLY_CHARACTERS, JsonReader, Literal

MAX_PAIRS = 32

PAIRS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "pairs": {
            "type": "array",
            "maxItems": MAX_PAIRS,
            "items": {
                "type": "object",
                "properties": {
                    "question": {"type": "string", "minLength": 1},
                    "answer": {"type": "string", "minLength": 1},
                },
                "required": ["question", "answer"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["pairs"],
    "additionalProperties": False,
}
"""What guided decoding is asked for.

It sets no `maxLength`: Text Generation Inference compiles a schema to a finite-state machine, where a bound of 1,000
characters takes minutes and gigabytes (without it, about a second), and it would end an answer in mid-sentence. What a
model may write is bounded by the number of tokens asked for.
"""

GRADED_SCHEMA: dict[str, Any] = copy.deepcopy(PAIRS_SCHEMA)
"""The same with a grade of each pair, written when the pair is there to be graded."""
_GRADED_PAIR = GRADED_SCHEMA["properties"]["pairs"]["items"]
_GRADED_PAIR["properties"]["fit"] = {"type": "integer", "enum": [0, 1, 2, 3]}
_GRADED_PAIR["required"].append("fit")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reply held.

    Args:
        pairs (`list[tuple[str, str]]`): Questions and answers in the reply's order, at most `MAX_PAIRS`.
        reason (`str`, *optional*): Why there are no pairs; `None` where there are. `"empty_reply"`, `"not_json"`,
            `"wrong_schema"` (JSON, but no pair in it is well-formed) or `"no_pairs"` (a valid empty list: the model
            found nothing to ask, which is no error).
        invalid (`int`, *optional*, defaults to `0`): Entries that were cut off, broken, no pair of two strings, or
            beyond `MAX_PAIRS`.
        grades (`list[int | None]`, *optional*): How well each pair fits the target, from 0 to 3; `None` for a pair
            without a grade that is one of these. Empty where no pair has one.
    """

    pairs: list[tuple[str, str]] = field(default_factory=list)
    reason: str | None = None
    invalid: int = 0
    grades: list[int | None] = field(default_factory=list)


def parse_pairs(reply_text: str) -> Parsed:
    """Take every well-formed pair out of a reply text.

    A pair is a JSON object with a `question` that is a string and an `answer` that is a string, a number, `true` or
    `false`. It counts inside an object's list `pairs`, in a bare list, or alone, wherever in the reply text that value
    stands, but not inside a chain of thought; so one object a line and the whole entries of a list that was cut off
    are read too. Surplus keys and the case of keys are ignored. [`read_entry`] reads entries that are not quite JSON.

    A pair's grade is `fit`, a whole number from 0 to 3, as a text or "of 3" too; anything else is no grade, and takes
    nothing from the pair.

    Args:
        reply_text (`str`): The reply text. Nothing after its first `MAX_REPLY_CHARACTERS` characters is read.

    Returns:
        `Parsed`: The pairs, cleaned by [`clean_text`], or the reason why there are none.

    Example:

    ```python
    >>> parse_pairs('{"pairs": []}').reason
    'no_pairs'
    >>> parse_pairs('{"pairs": [{"question": "a", "answer": "b"}, {"question": "c", "answ')
    Parsed(pairs=[('a', 'b')], reason=None, invalid=1, grades=[])

    ```
    """
    if not reply_text[:MAX_REPLY_CHARACTERS].strip():
        return Parsed(reason="empty_reply")
    pairs: list[tuple[str, str]] = []
    grades: list[int | None] = []
    invalid, reason = 0, "not_json"
    reader = JsonReader(reply_text)
    for value in reader:
        if value is BROKEN:
            if not ENTRY.match(reader.text, reader.start):
                continue
            entry, reader.position = read_entry(reader.text, reader.start)
            entries: list[Any] | None = [entry]
        else:
            entries = _entries(value)
        if entries is None:
            reason = "wrong_schema" if reason == "not_json" else reason
            reader.enter()
            continue
        well_formed = [(pair, _grade(entry)) for entry in entries if (pair := _pair(entry)) is not None]
        pairs.extend(pair for pair, _ in well_formed)
        grades.extend(grade for _, grade in well_formed)
        invalid += len(entries) - len(well_formed)
        if not pairs and value is not BROKEN:
            reason = "wrong_schema" if invalid else "no_pairs"
    if pairs:
        graded = grades[:MAX_PAIRS] if any(grade is not None for grade in grades[:MAX_PAIRS]) else []
        return Parsed(pairs[:MAX_PAIRS], None, invalid + max(0, len(pairs) - MAX_PAIRS), graded)
    return Parsed(reason=reason, invalid=invalid)


def clean_text(text: str) -> str:
    """Make a text fit to store: no lone surrogates, no control characters but newline and tab, no outer blanks.

    Args:
        text (`str`): Any text.

    Returns:
        `str`: The text, which encodes as UTF-8.

    Example:

    ```python
    >>> clean_text(" one\\r\\ntwo\\x00 ")
    'one\\ntwo'

    ```
    """
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROL).strip()


_CONTROL = dict.fromkeys([*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)])


def _entries(value: Any) -> list[Any] | None:
    """The entries that should be pairs, or None where the value is of another kind and may hold ours inside."""
    if isinstance(value, dict):
        fields = _by_name(value)
        if isinstance(fields.get("pairs"), list):
            return fields["pairs"]
        return [value] if "question" in fields or "answer" in fields else None
    is_ours = not value or any(isinstance(entry, dict) and "question" in _by_name(entry) for entry in value)
    return value if is_ours else None


def _pair(entry: Any) -> tuple[str, str] | None:
    if isinstance(entry, dict):
        fields = _by_name(entry)
        question, answer = fields.get("question"), fields.get("answer")
        if isinstance(answer, bool):
            answer = "true" if answer else "false"
        if isinstance(question, str) and isinstance(answer, str) and not isinstance(question, Literal):
            return clean_text(question), clean_text(answer)
    return None


def _grade(entry: dict[str, Any]) -> int | None:
    fit = _by_name(entry).get("fit")
    match = _GRADE.fullmatch(fit) if isinstance(fit, str) else None  # numbers are read as they are written
    return int(match[1]) if match else None


_GRADE = re.compile(r"\s*([0-3])(?:\.0+)?(?:\s*/\s*3|\s+of\s+3)?\s*")


def _by_name(value: dict[str, Any]) -> dict[str, Any]:
    """Fields by their names as the prompt gives them, whatever their case; `q` and `a` for short."""
    fields = {name.strip().casefold(): field for name, field in value.items()}
    if {"q", "a"} <= fields.keys():
        fields = {"question": fields["q"], "answer": fields["a"]} | fields
    return fields
