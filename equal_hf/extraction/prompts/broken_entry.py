r"""An entry of a reply that is not quite JSON, read where there is only one way to read it.

Models that write by hand leave commas behind the last key, quote with ' or with nothing, comment, and forget to escape
a quote inside a text. A text ends at the first quote behind which the entry can go on: with a comma and a key, or with
the brace that ends it. An entry that is cut off has no such quote.

>>> read_entry('{"question": "What is a "set"?", "answer": \'It\'s a collection.\',}', 0)
({'question': 'What is a "set"?', 'answer': "It's a collection."}, 65)
>>> read_entry('{"question": "What is a set?", "answer": "It is', 0)
(None, 1)
"""

from __future__ import annotations

import json
import re

# Longer entries are not read, so that no reply takes long.
_MAX_CHARACTERS = 20_000
_GAP = r"\s*(?:(?://|\#)[^\n]{0,200}\n\s*|/\*[^*]{0,200}\*/\s*)*"
_KEY = re.compile(rf"""{_GAP}["'“”]?(?P<key>\w+)["'“”]?{_GAP}:{_GAP}""")
# Behind a text: a comma and a quoted key, or one of ours without comma or quotes; or the brace and what may follow.
_AFTER = re.compile(
    rf"""{_GAP},(?={_GAP}(?:["'“”]\w+["'“”]|questions?|answers?|fit)\s*:) | {_GAP}(?=["'“](?:question|answer)["'”]\s*:)
    | (?P<end>{_GAP},?{_GAP}\}}(?=[ \t]*\n|{_GAP}(?:[,\]}}{{`<]|\Z)))""",
    re.VERBOSE | re.IGNORECASE,
)
_LITERAL = re.compile(r"-?\d[\w.,/%+-]*(?<!,)|true\b|false\b", re.IGNORECASE)
_IGNORED = re.compile(r"null\b|none\b|\[[^\[\]{}]{0,1000}\]", re.IGNORECASE)
_DELIMITERS = {'"""': '"""', "'''": "'''", '"': '"', "'": "'", "“": "”", "”": "”"}
_DELIMITER = re.compile("\"\"\"|'''|[\"'“”]")
_SIMPLE = r"""["'“”]?\w{1,30}["'“”]?\s*:\s*(?:["'][^"'{}]{0,60}["']|[\w.+-]{1,30})\s*,\s*"""
ENTRY = re.compile(rf"""\{{{_GAP}(?:{_SIMPLE}){{0,3}}["'“”]?(?:question|answer|q|a)["'“”]?\s*:""", re.IGNORECASE)


def read_entry(text: str, start: int) -> tuple[dict[str, str] | None, int]:
    """Read the entry that begins at a position where [`ENTRY`] matches.

    Args:
        text (`str`): A reply text in which every backslash begins an escape of JSON.
        start (`int`): The position of its brace.

    Returns:
        `tuple[dict[str, str] | None, int]`: The entry's texts by key, and its end; `None` where it cannot be read,
            and the position behind its brace.
    """
    following = ENTRY.search(text, start + 1)
    limit = min(following.start() if following else len(text), start + _MAX_CHARACTERS)
    fields: dict[str, str] = {}
    position = start + 1
    while key := _KEY.match(text, position, limit):
        value, after = _read_value(text, key.end(), limit)
        if after is None:
            break
        if value is not None and fields.setdefault(key["key"], value) != value:
            break
        position = after.end()
        if after["end"] is not None:
            return fields, position
    return None, start + 1


def _read_value(text: str, position: int, limit: int) -> tuple[str | None, re.Match[str] | None]:
    """A value, and what it is followed by; nothing where it cannot be told where the value ends."""
    for pattern in (_LITERAL, _IGNORED):
        if (match := pattern.match(text, position, limit)) and (after := _AFTER.match(text, match.end())):
            return match[0] if pattern is _LITERAL else None, after
    opening = _DELIMITER.match(text, position, limit)
    if not opening:
        return None, None
    closing = _DELIMITERS[opening[0]]
    for match in re.compile(rf"\\.|{re.escape(closing)}", re.DOTALL).finditer(text, opening.end(), limit):
        if match[0] == closing and (after := _AFTER.match(text, match.end())):
            if after["end"] and re.compile(rf"{re.escape(closing)}\s*,?\s*\}}").search(text, after.end(), limit):
                break  # it could as well end there
            return _unescape(text[opening.end() : match.start()]), after
    return None, None


def _unescape(text: str) -> str:
    escaped = re.sub(r'\\.|"', lambda match: r"\"" if match[0] == '"' else match[0], text, flags=re.DOTALL)
    return json.loads(f'"{escaped}"', strict=False)
