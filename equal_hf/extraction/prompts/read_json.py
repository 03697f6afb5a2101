r"""JSON values in a reply text, wherever they stand, but for what the model wrote while it was thinking.

>>> JsonReader('<think>Maybe {"a": 1}?</think> Here: ```json\n{"a": 2}\n```').events()
[{'a': '2'}]
>>> JsonReader('Maybe {"a": 1}? No.</think>{"a": 2, ').events() == [{"a": "1"}, THOUGHT_ENDS, BROKEN]
True
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from equal_hf.extraction.prompts.latex_escapes import escape_latex

MAX_REPLY_CHARACTERS = 1_000_000

# A chain of thought ends here that nothing began, as some chat templates begin it: all before is no answer.
THOUGHT_ENDS = object()
# Something begins like a value and is none.
BROKEN = object()


class Literal(str):
    """A number, `true` or `false`, as it is written."""


class JsonReader:
    """Reads a reply text from left to right, in time bounded by its length.

    Iterating gives decoded values, [`THOUGHT_ENDS`] and [`BROKEN`]. After a value that is none of the caller's,
    [`enter`] goes on inside it.

    Args:
        reply_text (`str`): The reply text. Nothing after its first `MAX_REPLY_CHARACTERS` characters is read.

    Attributes:
        text (`str`): The text, with the backslashes of LaTeX escaped.
        start, position (`int`): Where the last value begins, and where reading goes on.
    """

    def __init__(self, reply_text: str) -> None:
        text = reply_text[:MAX_REPLY_CHARACTERS]
        if text.lstrip().startswith('"{'):  # JSON inside a JSON string
            with contextlib.suppress(ValueError, RecursionError):
                text = json.loads(text, strict=False)
        self.text = escape_latex(text)
        self.start = self.position = 0
        self._work = 0

    def __iter__(self) -> Iterator[Any]:
        while self._work < _MAX_WORK and (match := _EVENT.search(self.text, self.position)):
            self.start, self.position = match.start(), match.end()
            if match["fenced"]:
                continue
            if match["closes"]:
                yield THOUGHT_ENDS
            elif match["opens"]:
                marks = _THOUGHT.finditer(self.text, self.position)
                self.position = next((mark.end() for mark in marks if mark["closes"]), len(self.text))
            else:
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

_THINK = r"think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratch_?pad|inner_?(?:monologue|thoughts?)"
# <think>, <thinking>, <seed:think>, <reasoning>, [THINK], ◁think▷; the marks of Open Thoughts, Command A, Gemma and
# Granite; and the channels of Harmony, where "final" ends what was thought in the others.
_THOUGHT = re.compile(
    rf"""
      (?P<opens>
          (?:<|&lt;)\s*(?:\w+:)?(?:{_THINK})(?:\s[^<>&]*)?(?:>|&gt;) | \[\s*(?:{_THINK})\s*\] | ◁\s*think\s*▷
        | <\|\s*(?:begin_of_thought|begin_of_thinking|start_thinking)\s*\|> | <\|channel>\s*thought | <unused94>
        | <\|channel\|>\s*(?:analysis|commentary)\b | \Aanalysis(?=[A-Z][\s\S]*assistantfinal)
        | here\ is\ my\ thought\ process:
      )
    | (?P<closes>
          (?:<|&lt;)\s*/\s*(?:\w+:)?(?:{_THINK})\s*(?:>|&gt;) | \[\s*/\s*(?:{_THINK})\s*\] | ◁\s*/\s*think\s*▷
        | <\|\s*(?:end_of_thought|end_of_thinking|end_thinking)\s*\|> | <channel\|> | <unused95>
        | <\|channel\|>\s*final\b | assistantfinal(?=\s*[{{\[`]) | here\ is\ my\ response:
      )
    | (?P<fenced>```\s*(?:{_THINK})\b[\s\S]*?(?:```|\Z))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_EVENT = re.compile(rf"{_THOUGHT.pattern} | [{{\[]", re.VERBOSE | re.IGNORECASE)
