r"""When a reply that is still being written has no more to give.

A model that cannot stop writes the same entry again, or the same sentence inside an answer, or blanks, until the limit
of tokens. [`ReplyWatch`] reads a reply as it comes and says where it may be ended:

- `"repeats"`: three entries of one list in a row were there before, the last one word for word, or for the fourth time
  with other numbers; or the text has gone round in a circle, four times or more over 300 characters; or one sentence
  of an answer stood there ten times or more over 600 characters, with no difference but numbers.
- `"blank"`: nothing but blanks over 128 characters between two tokens of JSON.
- `"finished"`: the object that the reply began with, with its list of pairs, is closed, and what follows is no other;
  or that list holds as many pairs as are read.

>>> watch = ReplyWatch()
>>> entry = '{"question": "What is a set?", "answer": "A collection of different things."}'
>>> watch.feed('{"pairs": [' + ", ".join([entry] * 9) + "]}")
'repeats'
>>> watch.end == len('{"pairs": [' + ", ".join([entry] * 4))
True
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from equal_hf.extraction.prompts.degenerate import MIN_REPETITIONS, pair_form, plain
from equal_hf.extraction.prompts.parse_reply import MAX_PAIRS, parse_pairs

Reason = Literal["repeats", "blank", "finished"]

_BLOCK = 32  # characters that are read at a time, however they come
_BLANKS = 128
_KEPT = 24_000  # characters that are looked back at; a longer entry counts as new
_MOST_ENTRY = 20_000
# A stretch is a loop if it goes round so often, over so many characters.
_ROUNDS, _LOOP = 4, 300
_NUMBERED_ROUNDS, _NUMBERED_LOOP = 10, 600
_LOOKED_BACK = 1_600  # so the longest circle found has 400 characters
_SUFFIX = 32
_TRIES = 3

_INSIDE = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')
_PAIRS_KEY = re.compile(r'"pairs"\s*:\s*\Z', re.IGNORECASE)
_BEGINS = re.compile(r"\s*(?:```(?:json)?\s*)?\{", re.IGNORECASE)
_BETWEEN = re.compile(r"(?:[\s`,]|(?<=`)(?:j|js|jso|json)(?![a-z]))*", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass
class _Entries:
    """The entries of one list."""

    seen: set[tuple[str, ...]] = field(default_factory=set)
    forms: Counter[tuple[str, ...]] = field(default_factory=Counter)
    in_a_row: int = 0  # that were there before
    pairs: int = 0

    def add(self, text: str) -> bool:
        """Take an entry; returns whether the list only repeats itself."""
        pairs = parse_pairs(text).pairs
        exact = (plain(pairs[0][0]), plain(pairs[0][1])) if len(pairs) == 1 else (text,)
        form = pair_form(*pairs[0]) if len(pairs) == 1 else exact
        self.pairs += len(pairs)
        again = exact in self.seen
        self.seen.add(exact)
        self.forms[form] += 1
        self.in_a_row = self.in_a_row + 1 if again or self.forms[form] > 1 else 0
        no_use = again or self.forms[form] >= MIN_REPETITIONS
        return no_use and self.in_a_row >= MIN_REPETITIONS - 1


@dataclass
class _Bracket:
    kind: str
    start: int
    entries: _Entries | None = None
    holds_pairs: bool = False


class ReplyWatch:
    """Reads a reply text piece by piece; where it says to end does not depend on the pieces. Time and memory are
    bounded by the length of the reply.

    Attributes:
        reason (`str`, *optional*): Why the reply may be ended; `None` as long as it may not.
        end (`int`, *optional*): How many of its characters count then.
    """

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.end: int | None = None
        self._pending = ""
        self._text, self._base = "", 0  # the text from a position on
        self._position = 0  # where reading goes on
        self._string: int | None = None  # where the string begins that is open
        self._open: list[_Bracket] = []
        self._straight: bool | None = None  # whether the reply begins with an object
        self._closed: int | None = None  # where the object with the pairs ended

    def feed(self, piece: str) -> Reason | None:
        """Take the next piece.

        Args:
            piece (`str`): Of any length.

        Returns:
            `str`: Why the reply may be ended; `None` if it may not.
        """
        if self.reason is not None:
            return self.reason
        piece, start = self._pending + piece, 0
        while len(piece) - start >= _BLOCK and self.reason is None:
            self._read(piece[start : start + _BLOCK])
            start += _BLOCK
        self._pending = piece[start:]
        return self.reason

    def _read(self, block: str) -> None:
        if len(self._text) > 2 * _KEPT:
            self._base += len(self._text) - _KEPT
            self._text = self._text[-_KEPT:]
        self._text += block
        end = self._base + len(self._text)
        if self._straight is None and self._text.strip():
            begins = _BEGINS.match(self._text)
            self._straight = begins is not None or (None if end <= 2 * _BLOCK else False)
        while self._position < end and self.reason is None:
            self._step(end)
        if self.reason is None:
            self._look(end)

    def _step(self, end: int) -> None:
        """Go on to the next character that matters."""
        text, base = self._text, self._base
        pattern = _OUTSIDE if self._string is None else _INSIDE
        match = pattern.search(text, self._position - base)
        if match is None:
            self._position = end
            return
        at, mark = base + match.start(), match[0]
        self._position = at + (2 if mark == "\\" else 1)
        if mark == '"':
            self._string = at if self._string is None else None
        elif mark in "{[":
            is_pairs = mark == "[" and len(self._open) == 1 and bool(_PAIRS_KEY.search(text, 0, match.start()))
            self._open.append(_Bracket(mark, at, _Entries() if mark == "[" else None, is_pairs))
            self._closed = None
        elif mark in "}]" and self._open and self._open[-1].kind == "{["["}]".index(mark)]:
            self._close(self._open.pop(), at + 1)

    def _close(self, bracket: _Bracket, end: int) -> None:
        within = self._open[-1] if self._open else None
        if bracket.holds_pairs and within is not None:
            within.holds_pairs = True
        elif bracket.kind == "{" and within is not None and within.entries is not None:
            start = bracket.start - self._base
            if start >= 0 and end - bracket.start <= _MOST_ENTRY:
                if within.entries.add(self._text[start : end - self._base]):
                    self._stop("repeats", end)
                elif within.entries.pairs >= MAX_PAIRS and within.holds_pairs and self._straight:
                    self._stop("finished", end)
            else:
                within.entries.in_a_row = 0
        elif bracket.kind == "{" and within is None and bracket.holds_pairs and self._straight:
            self._closed = end

    def _look(self, end: int) -> None:
        """Look at the end of the text, at places that do not depend on the pieces it came in."""
        text, base = self._text, self._base
        if self._closed is not None:
            rest = text[self._closed - base :]
            following = rest[_BETWEEN.match(rest).end() :]  # type: ignore[union-attr]
            if following[:1] in ("{", "["):
                self._closed = None
            elif following or len(rest) >= _BLOCK:
                self._stop("finished", self._closed)
        elif self._string is None and end >= _BLANKS and text[-_BLANKS:].isspace():
            self._stop("blank", end)
        elif end % (2 * _BLOCK) == 0:
            tail = text[-_LOOKED_BACK:]
            if _period(tail, _ROUNDS, _LOOP):
                self._stop("repeats", end)
            elif self._string is not None and end - self._string >= _NUMBERED_LOOP:
                masked = _NUMBER.sub("#", text[max(self._string - base, len(text) - 2 * _LOOKED_BACK, 0) :])
                period = _period(masked, _NUMBERED_ROUNDS, _NUMBERED_LOOP)
                if period and len(_WORD.findall(masked[-period:])) >= 2:
                    self._stop("repeats", end)

    def _stop(self, reason: Reason, end: int) -> None:
        self.reason, self.end = reason, end


def _period(text: str, rounds: int, characters: int) -> int | None:
    """The length of the circle in which a text goes at its end; `None` if it does not, so often and so long.

    >>> _period("Well, " + "so it is, and " * 30, 4, 300)
    14
    """
    suffix, last = text[-_SUFFIX:], len(text) - _SUFFIX
    found = last
    for _ in range(_TRIES):
        found = text.rfind(suffix, 0, found + _SUFFIX - 1)
        if found < 0:
            return None
        period = last - found
        length = max(characters, rounds * period)
        if length > len(text):
            return None
        if text[-length:-period] == text[-length + period :]:
            return period
    return None
