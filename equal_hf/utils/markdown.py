"""Markdown that untrusted text cannot break out of, and the front matter of a Hub card.

>>> code("a `b` | <script>")
'`` a `b` \\\\| <script> ``'
>>> split_front_matter("---\\nlicense: mit\\n---\\n# Title\\n")
({'license': 'mit'}, '# Title\\n')
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

START = "<!-- equal-hf:start (written by the run; your own text goes above this line or below the closing one) -->"
END = "<!-- equal-hf:end -->"
_GENERATED = re.compile(r"^<!-- equal-hf:start[^\n]*-->\n.*?^<!-- equal-hf:end -->$", re.DOTALL | re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def code(text: Any, limit: int = 120) -> str:
    """Text as inline code on one line, which Markdown, HTML and table cells leave alone.

    Args:
        text (`Any`): What to show; shortened to `limit` characters.
    """
    plain = " ".join(visible(str(text)).split())
    plain = plain if len(plain) <= limit else plain[: limit - 1] + "…"
    if not plain:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    padding = " " if "`" in plain else ""
    return f"{fence}{padding}{plain}{padding}{fence}".replace("|", "\\|")


def json_block(value: Any) -> str:
    """JSON in a fence. Every string stays on its own line and `<` is escaped, so nothing in it can end the fence."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return "```json\n" + visible(text, keep="\n").replace("<", "\\u003c") + "\n```"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; numbers are formatted, `None` shows as a dash. Text is Markdown: pass what is untrusted through `code`.

    >>> print(table(["arm", "reward"], [[3, 0.51234], [4, None]]))
    | arm | reward |
    | --- | --- |
    | 3 | 0.5123 |
    | 4 | - |
    """
    lines = [header, ["---"] * len(header), *([number(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: Any) -> str:
    """A number for people.

    >>> number(1234567), number(0.000123456), number(None), number("text")
    ('1,234,567', '0.0001235', '-', 'text')
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Metadata and body of a card. A card without readable metadata is all body.

    Args:
        text (`str`): The whole `README.md`.
    """
    import yaml

    if (match := _FRONT_MATTER.match(text)) is None:
        return {}, text
    try:
        metadata = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return {}, text
    return (metadata, text[match.end() :]) if isinstance(metadata, dict) else ({}, text)


def join_front_matter(metadata: Mapping[str, Any], body: str) -> str:
    """A card from metadata and body."""
    import yaml

    if not metadata:
        return body
    fields = dict(metadata)
    front = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=10_000)
    if yaml.safe_load(front) != fields:  # PyYAML takes some characters, such as NEL, for line ends
        front = yaml.safe_dump(fields, sort_keys=False, width=10_000)
    return f"---\n{front}---\n{body}"


def replace_generated(body: str, generated: str) -> str:
    """The body with its generated part renewed; whatever a person wrote around it stays.

    >>> body = replace_generated("My own words.", "v1")
    >>> "My own words." in replace_generated(body, "v2"), "v1" in replace_generated(body, "v2")
    (True, False)
    """
    block = f"{START}\n{generated.strip()}\n{END}"
    if _GENERATED.search(body):
        return _GENERATED.sub(lambda _: block, body, count=1)
    return f"{body.rstrip()}\n\n{block}\n" if body.strip() else f"\n{block}\n"


def without_generated(body: str) -> str:
    """What a person wrote around the generated part.

    >>> without_generated(replace_generated("My own words.", "v1"))
    'My own words.'
    """
    return _GENERATED.sub("", body, count=1).strip()


def visible(text: str, keep: str = "") -> str:
    """The text with control, bidirectional-override and other invisible characters written as escapes.

    Args:
        text (`str`): Untrusted text.
        keep (`str`, *optional*): Characters of that kind that stay.
    """
    return "".join(
        char
        if char in keep or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else f"\\u{ord(char):04x}"
        for char in text
    )
