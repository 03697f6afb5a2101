r"""JSON values in a reply text, wherever they stand, but for what the model wrote while it was thinking.

>>> JsonReader('<think>Maybe {"a": 1}?</think> Here: ```json\n{"a": 2}\n```').events()
[{'a': '2'}]
>>> JsonReader('Maybe {"a": 1}? No.</think>{"a": 2, ').events() == [BROKEN]
True
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from equal_hf.extraction.prompts.latex_escapes import escape_latex
from equal_hf.extraction.prompts.thoughts import thought_spans, without

MAX_REPLY_CHARACTERS = 1_000_000

# Something begins like a value and is none.
BROKEN = object()


class Literal(str):
    """A number, `true` or `false`, as it is written."""


class JsonReader:
    """Reads a reply text from left to right, in time bounded by its length.

    Iterating gives decoded values and [`BROKEN`]. After a value that is none of the caller's,
    [`enter`] goes on inside it.

    Args:
        reply_text (`str`): The reply text. Nothing after its first `MAX_REPLY_CHARACTERS` characters is read.

    Attributes:
        text (`str`): The text without what was thought, and with the backslashes of LaTeX escaped.
        start, position (`int`): Where the last value begins, and where reading goes on.
    """

    def __init__(self, reply_text: str) -> None:
        text = reply_text[:MAX_REPLY_CHARACTERS]
        if text.lstrip().startswith('"{'):  # JSON inside a JSON string
            with contextlib.suppress(ValueError, RecursionError):
                text = json.loads(text, strict=False)
        escaped = escape_latex(text)
        self.text = without(escaped, thought_spans(escaped))
        self.start = self.position = 0
        self._work = 0

    def __iter__(self) -> Iterator[Any]:
        while self._work < _MAX_WORK and (match := _BEGINS.search(self.text, self.position)):
            self.start, self.position = match.start(), match.end()
            yield self._decode()

    def events(self) -> list[Any]:
        """All that there is."""
        return list(self)

    def enter(self) -> None:
        """Go on inside the last value."""
        self.position = self.start + 1

    def _decode(self) -> Any:
        try:
            value, self.position = _DECODER.raw_decode(self.text, self.start)
        except json.JSONDecodeError as error:
            # The decoder reads on to the end for a missing quote, and counts the lines before every error.
            read_to = len(self.text) if error.msg.startswith("Unterminated") else error.pos
            self._work += 10 + read_to - self.start + error.pos // 8
            return BROKEN
        except RecursionError:
            self._work += 100_000
            return BROKEN
        self._work += self.position - self.start
        return value


_MAX_WORK = 20_000_000  # characters that may be decoded in vain, some tenths of a second
_DECODER: Any = json.JSONDecoder(strict=False, parse_int=Literal, parse_float=Literal, parse_constant=lambda _: None)

_BEGINS = re.compile(r"[{\[]")
