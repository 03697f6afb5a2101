r"""Cut a long text into parts that fit a model's limit, at the most natural boundary there is.

>>> text = "# One\n\nFirst part.\n\n# Two\n\nSecond part."
>>> [text[start:end] for start, end in split_text(text, max_tokens=7, count_tokens=lambda part: len(part) // 3)]
['# One\n\nFirst part.\n\n', '# Two\n\nSecond part.']
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from equal_hf.errors import ConfigError


class Span(NamedTuple):
    """A character range, `text[start:end]`."""

    start: int
    end: int


def split_text(text: str, max_tokens: int, count_tokens: Callable[[str], int]) -> list[Span]:
    """Cut a text into consecutive parts of at most `max_tokens` tokens each.

    Parts end before a heading where there is one in the second half of what fits, else after a paragraph, a line, a
    sentence, a word, and at any character as the last resort. A part is as long as fits, give or take the boundary.

    `count_tokens` may be a call to a server, so it is asked about whole parts only, whose length is guessed from the
    ratio of characters to tokens seen so far: once or twice a part as a rule, a logarithmic number of times at worst.

    Args:
        text (`str`): The text.
        max_tokens (`int`): Tokens a part may have, at least 1.
        count_tokens (`Callable[[str], int]`): Number of tokens of a text.

    Returns:
        `list[Span]`: Ranges that cover the text without gap or overlap, in order; empty for an empty text. A part is
        over the limit only where a single character is.

    Raises:
        `ConfigError`: If `max_tokens` is less than 1.
    """
    if max_tokens < 1:
        raise ConfigError(f"`max_tokens` is {max_tokens}: a part of a text needs at least 1 token.")
    spans: list[Span] = []
    start, ratio = 0, _CHARACTERS_PER_TOKEN
    while start < len(text):
        end, ratio = _fit(text, start, ratio, max_tokens, count_tokens)
        spans.append(Span(start, end))
        start = end
    return spans


_CHARACTERS_PER_TOKEN = 4.0  # the first guess, and four times that the most that is believed
_FULL = 0.75  # a part that uses this share of the limit is worth no further count
_GUESSES = 5  # after so many by proportion a part that fits is taken, and one that does not is halved

# Best first. Each runs greedily to the end of what may fit, so it finds the last such place in a single pass.
_BOUNDARIES = [
    re.compile(pattern, re.DOTALL | re.MULTILINE)
    for pattern in (
        r".*^(?=#{1,6}[ \t]+\S|[^\n]{1,200}\n(?:={3,}|-{3,}|~{3,})[ \t]*$)",  # Markdown and reStructuredText headings
        r".*\n[ \t]*\n",
        r".*\n",
        r".*(?:[.!?][\"')\]]{0,3}\s|[\u3002\uff01\uff1f])",
        r".*\s",
    )
]


def _fit(
    text: str, start: int, ratio: float, max_tokens: int, count_tokens: Callable[[str], int]
) -> tuple[int, float]:
    """Where the part that begins at `start` ends, and the characters per token seen in it."""
    fits, fails = start, len(text) + 1
    fitting_ratio = ratio
    limit = start + int(max_tokens * ratio)
    attempts = 0
    while True:
        end = _boundary(text, start, min(max(limit, start + 1), fails - 1))
        if end <= fits:
            return fits, fitting_ratio
        tokens = count_tokens(text[start:end])
        attempts += 1
        ratio = min((end - start) / max(tokens, 1), 4 * _CHARACTERS_PER_TOKEN)
        if tokens <= max_tokens or end == start + 1:
            fits, fitting_ratio = end, ratio
            rest_may_fit = fails > len(text) and len(text) - start <= max_tokens * ratio
            if end == len(text) or attempts > _GUESSES or (tokens >= _FULL * max_tokens and not rest_may_fit):
                return fits, fitting_ratio
            limit = len(text) if rest_may_fit else start + int(0.95 * max_tokens * ratio)
        else:
            fails = end
            if attempts > _GUESSES and fits > start:
                return fits, fitting_ratio
            limit = start + (end - start) // 2 if attempts > _GUESSES else start + int(0.95 * max_tokens * ratio)


def _boundary(text: str, start: int, limit: int) -> int:
    """The best place to cut in the second half of what may fit, `text[start:limit]`."""
    if limit >= len(text):
        return len(text)
    middle = start + (limit - start) // 2
    for pattern in _BOUNDARIES:
        match = pattern.match(text, middle, limit)
        if match and match.end() > middle:
            return match.end()
    return limit
