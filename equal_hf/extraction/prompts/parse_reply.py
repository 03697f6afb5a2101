"""From an endpoint's reply to question-answer pairs, whatever the reply holds.

A model is asked for `{"pairs": [{"question": …, "answer": …}]}` and answers with that, with the same in a Markdown
fence, between two paragraphs of prose, as a bare list, as one object a line, cut off in the middle, or with something
else altogether. `parse_pairs` takes the pairs that are there, counts what is malformed, and never raises: time and
memory are bounded by the length of the reply.

>>> parse_pairs('Sure! ```json\\n{"pairs": [{"question": "2 + 2?", "answer": "4"}]}\\n```').pairs
[('2 + 2?', '4')]
>>> parse_pairs("I cannot help with that.").reason
'not_json'
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

MAX_PAIRS = 32
MAX_REPLY_CHARACTERS = 1_000_000

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
    """

    pairs: list[tuple[str, str]] = field(default_factory=list)
    reason: str | None = None
    invalid: int = 0


def parse_pairs(reply: str) -> Parsed:
    """Take every well-formed pair out of a reply.

    A pair is a JSON object whose `question` and `answer` are strings. It counts inside an object's list `pairs`, in a
    bare list, or alone, wherever in the reply that value stands; so one object a line and the whole entries of a list
    that was cut off are read too. Surplus keys are ignored; a number in place of a string makes an entry invalid.

    Args:
        reply (`str`): The raw reply. Nothing after its first `MAX_REPLY_CHARACTERS` characters is read.

    Returns:
        `Parsed`: The pairs, cleaned by [`clean_text`], or the reason why there are none.

    Example:

    ```python
    >>> parse_pairs('{"pairs": []}').reason
    'no_pairs'
    >>> parse_pairs('{"pairs": [{"question": "a", "answer": "b"}, {"question": "c", "answ')
    Parsed(pairs=[('a', 'b')], reason=None, invalid=1)

    ```
    """
    text = reply[:MAX_REPLY_CHARACTERS]
    if not text.strip():
        return Parsed(reason="empty_reply")
    # Mathematics is full of backslashes that models forget to escape: "\sqrt" is not JSON, "\\sqrt" is.
    text = _ESCAPE.sub(lambda match: match[0] if match[1] else r"\\", text)
    pairs: list[tuple[str, str]] = []
    invalid, reason = 0, "not_json"
    position, work = 0, 0
    while work < _MAX_WORK and (match := _START.search(text, position)):
        start = match.start()
        position = start + 1
        try:
            value, end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            # The decoder reads on to the end for a missing quote, and counts the lines before every error.
            read_to = len(text) if error.msg.startswith("Unterminated") else error.pos
            work += 10 + read_to - start + error.pos // 8
            invalid += _ENTRY.match(text, start) is not None
            continue
        except RecursionError:
            work += 100_000
            continue
        work += end - start
        entries = _entries(value)
        if entries is None:
            reason = "wrong_schema" if reason == "not_json" else reason
            continue
        position = end
        well_formed = [pair for entry in entries if (pair := _pair(entry)) is not None]
        pairs.extend(well_formed)
        invalid += len(entries) - len(well_formed)
        if not pairs:
            reason = "wrong_schema" if invalid else "no_pairs"
    if pairs:
        return Parsed(pairs[:MAX_PAIRS], invalid=invalid + max(0, len(pairs) - MAX_PAIRS))
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
    >>> clean_text("\\x0crac{1}{2}")  # "\\frac" that lost its backslash to JSON
    '\\\\frac{1}{2}'

    ```
    """
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _LATEX.sub(lambda match: r"\f" if match[0] == "\f" else r"\b", text)
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROL).strip()


_MAX_WORK = 20_000_000  # characters that may be decoded in vain, some tenths of a second
_START = re.compile(r"[{\[]")
_ENTRY = re.compile(r'\{\s*"(?:question|answer)"')
_ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
# No text of ours holds a backspace or a form feed: before a letter it is \beta or \frac read as a JSON escape.
_LATEX = re.compile(r"[\b\f](?=[A-Za-z])")
_CONTROL = dict.fromkeys([*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)])
# Numbers are never wanted, so none is converted: Python refuses integers of thousands of digits.
_DECODER = json.JSONDecoder(strict=False, parse_int=lambda _: None, parse_float=lambda _: None)


def _entries(value: Any) -> list[Any] | None:
    """The entries that should be pairs, or None where the value is of another kind and may hold ours inside."""
    if isinstance(value, dict):
        if isinstance(value.get("pairs"), list):
            return value["pairs"]
        return [value] if "question" in value or "answer" in value else None
    is_ours = not value or any(isinstance(entry, dict) and "question" in entry for entry in value)
    return value if is_ours else None


def _pair(entry: Any) -> tuple[str, str] | None:
    if not isinstance(entry, dict):
        return None
    question, answer = entry.get("question"), entry.get("answer")
    if not isinstance(question, str) or not isinstance(answer, str):
        return None
    return clean_text(question), clean_text(answer)
