r"""What a model wrote while it was thinking, apart from its answer.

>>> split_thoughts('<think>Maybe {"a": 1}?</think> Here: {"a": 2}')
(' Here: {"a": 2}', 'Maybe {"a": 1}?')
>>> split_thoughts('Maybe {"a": 1}? No.</think>{"a": 2}')  # the chat template began it
('{"a": 2}', 'Maybe {"a": 1}? No.')
>>> split_thoughts('<think>Hm. Let me')
('', 'Hm. Let me')
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from equal_hf.extraction.prompts.broken_entry import ENTRY, read_entry
from equal_hf.extraction.prompts.latex_escapes import escape_latex

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
_MAX_WORK = 20_000_000  # characters that may be decoded in vain, some tenths of a second
_DECODER: Any = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


class Span(NamedTuple):
    """Characters that are thought: with their marks, and without."""

    start: int
    end: int
    inner_start: int
    inner_end: int


def split_thoughts(text: str) -> tuple[str, str]:
    """Tell a reply's answer from what was thought before it.

    Args:
        text (`str`): A reply text.

    Returns:
        `tuple[str, str]`: The answer, and the thoughts without their marks; marks inside of JSON values are text.
    """
    if _THOUGHT.search(text) is None:
        return text, ""
    escaped = escape_latex(text)
    spans = thought_spans(escaped)
    if escaped != text:
        # The two differ in backslashes alone, and no mark holds one.
        places = [place for place, letter in enumerate(text) if letter != "\\"] + [len(text)]
        if len(places) - 1 != len(escaped) - escaped.count("\\"):
            return text, ""

        def at(place: int) -> int:
            return places[place - escaped.count("\\", 0, place)]

        spans = [Span(*map(at, span)) for span in spans]
    thoughts = (text[span.inner_start : span.inner_end].strip() for span in spans)
    return without(text, spans), "\n".join(thought for thought in thoughts if thought)


def without(text: str, spans: list[Span]) -> str:
    """A text without these characters of it."""
    kept, position = [], 0
    for span in spans:
        kept.append(text[position : span.start])
        position = span.end
    return "".join([*kept, text[position:]])


def thought_spans(text: str) -> list[Span]:
    """What of a reply text is thought, in order.

    Args:
        text (`str`): The reply text, in which every backslash begins an escape of JSON.
    """
    if _THOUGHT.search(text) is None:
        return []
    spans: list[Span] = []
    position = work = 0
    while work < _MAX_WORK and (match := _EVENT.search(text, position)):
        start, position = match.span()
        if match["fenced"]:
            spans.append(Span(start, position, start, position))
        elif match["closes"]:
            spans = [Span(0, position, 0, start)]  # nothing began it: all before is no answer
        elif match["opens"]:
            closing = next((mark for mark in _THOUGHT.finditer(text, position) if mark["closes"]), None)
            inner_end, end = closing.span() if closing is not None else (len(text), len(text))
            spans.append(Span(start, end, position, inner_end))
            position = end
        else:
            position, wasted = _behind_value(text, start)
            work += wasted
    return spans


def _behind_value(text: str, start: int) -> tuple[int, int]:
    """Where reading goes on behind a JSON value, and how many characters were read in vain."""
    try:
        _, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        # The decoder reads on to the end for a missing quote, and counts the lines before every error.
        read_to = len(text) if error.msg.startswith("Unterminated") else error.pos
        wasted = 10 + read_to - start + error.pos // 8
    except RecursionError:
        wasted = 100_000
    else:
        return end, end - start
    return read_entry(text, start)[1] if ENTRY.match(text, start) else start + 1, wasted
