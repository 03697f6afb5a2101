"""Documents whose pairs are marked, and the replies of a model that finds just these.

What a stand-in answers depends on the request alone, so the pairs of a document are the same whoever serves them:

>>> text = marked_document(7, pairs=1)
>>> print(text)
Chapter 7 of the almanac.
Asked: How many lamps light hall 7.0?
Told: Hall 7.0 is lit by 84 lamps.
<BLANKLINE>
>>> answer(text, PAIRS, "guided").text
'{"pairs": [{"question": "How many lamps light hall 7.0?", "answer": "Hall 7.0 is lit by 84 lamps."}]}'

A document that holds `TOPIC-FORBIDDEN` is refused; over one that holds `THINK-HARD` a model that thinks never ends.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

FORBIDDEN, HARD = "TOPIC-FORBIDDEN", "THINK-HARD"
# A draft that a reader of thoughts would take for pairs.
DRAFT = 'First try: {"pairs": [{"question": "Is this a draft?", "answer": "Yes, thrown away."}]} No, once more. '

PAIRS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "pairs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
                "required": ["question", "answer"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["pairs"],
    "additionalProperties": False,
}

_MARKED = re.compile(r"^Asked: (.+)\nTold: (.+)$", re.MULTILINE)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def marked_document(number: int, pairs: int = 2, words: int = 0) -> str:
    """A text with so many marked pairs, and so many more words behind them."""
    lines = [f"Chapter {number} of the almanac."]
    for index in range(pairs):
        hall = f"{number}.{index}"
        lamps = 84 + number % 7 + index
        lines += [f"Asked: How many lamps light hall {hall}?", f"Told: Hall {hall} is lit by {lamps} lamps."]
    if words:
        lines.append(" ".join(f"word{number * 31 + index}" for index in range(words)))
    return "\n".join(lines) + "\n"


def marked_pairs(text: str) -> list[tuple[str, str]]:
    """The pairs that are marked in a text."""
    return _MARKED.findall(text)


@dataclass(frozen=True)
class Answer:
    """What a model says: its text, or why it will not."""

    text: str
    refusal: str | None = None


def answer(prompt: str, schema: dict[str, Any] | None, mode: str) -> Answer:
    """What a model answers.

    Args:
        prompt (`str`): The last message.
        schema (`dict`, *optional*): The JSON schema that it is held to.
        mode (`str`): `"guided"` (held to the schema), `"json"` (to JSON, of whatever form) or `"free"`.
    """
    if FORBIDDEN in prompt:
        return Answer("", "I'm sorry, but I can't help with that.")
    pairs = [{"question": question, "answer": told} for question, told in marked_pairs(prompt)]
    pairs = pairs or _listed_pairs(prompt)
    if mode == "guided":
        return Answer(json.dumps(_filled(schema or PAIRS, pairs), ensure_ascii=False))
    if "pairs" not in prompt and not pairs:
        return Answer('{"greeting": "Hello!"}' if mode == "json" else "Hello! I hope you are having a good day.")
    text = json.dumps({"pairs": pairs}, ensure_ascii=False)
    return Answer(text if mode == "json" else f"Here are the pairs:\n\n```json\n{text}\n```")


def thoughts(prompt: str, tokens: int) -> str:
    """So many tokens of thought about a prompt, a draft among them. They do not repeat themselves."""
    if not tokens:
        return ""
    words = [f"I look at {_word(prompt)}. {DRAFT}"]
    missing = tokens - len(_TOKEN.findall(words[0]))
    words += [_word(f"{prompt}{number}") for number in range(missing)]
    return cut(" ".join(words), tokens)


def _word(text: str) -> str:
    """Eight letters that depend on a text."""
    return hashlib.sha256(text[-40:].encode()).hexdigest()[:8].translate(_LETTERS)


def tokens_of(text: str) -> list[str]:
    """A text in tokens: words and signs, so never more than it has bytes."""
    return _TOKEN.findall(text)


def cut(text: str, tokens: int) -> str:
    """The first tokens of a text."""
    for index, found in enumerate(_TOKEN.finditer(text)):
        if index == tokens:
            return text[: found.start()].rstrip()
    return text


def _listed_pairs(prompt: str) -> list[dict[str, str]]:
    """Pairs that a prompt lists as JSON, one a line, as requests to refine or judge do."""
    found = []
    for line in prompt.splitlines():
        if line.startswith('{"question": ') and line.endswith("}") and "…" not in line:
            entry = json.loads(line)
            found.append({"question": entry["question"], "answer": entry["answer"]})
    return found


def _filled(schema: dict[str, Any], pairs: list[dict[str, str]], name: str = "") -> Any:
    """A value that fits a schema and holds the pairs."""
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {})
        if {"question", "answer"} <= set(fields):
            (pair,) = pairs
            return {key: pair.get(key) or _filled(field, pairs, key) for key, field in fields.items()}
        return {key: _filled(field, pairs, key) for key, field in fields.items()}
    if kind == "array":
        values = [_filled(schema["items"], [pair]) for pair in pairs]
        return values[: schema.get("maxItems", len(values))]
    if "enum" in schema:
        return schema["enum"][-1]
    if kind in ("integer", "number"):
        return schema.get("maximum", 5)
    return {"string": name or "text", "boolean": True, "null": None}[kind if isinstance(kind, str) else kind[0]]
