"""Pairs that small models write when they have nothing to say, or cannot stop.

>>> degenerate_reasons([("Is 7 prime?", "Yes."), ("…", "…"), ("What is a set?", "What is a set?")])
[None, 'no_question', 'answer_is_question']
>>> degenerate_reasons([(f"What is item {n}?", "A thing.") for n in range(1, 6)])
[None, 'repeated_pair', 'repeated_pair', 'repeated_pair', 'repeated_pair']
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

MIN_REPETITIONS = 4  # fewer alike are exercises of one kind, as often as not
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W_]")


def degenerate_reasons(pairs: Sequence[tuple[str, str]]) -> list[str | None]:
    """Why pairs of one reply are none.

    Args:
        pairs (`Sequence[tuple[str, str]]`): Questions and answers, in the reply's order.

    Returns:
        `list[str | None]`: For each pair `None`, or `"no_question"` (the question holds no letter and no digit, as the
        form in the prompt), `"answer_is_question"` (both are the same text), or `"repeated_pair"` (the reply holds it
        four times or more, with no difference but a number that the answer repeats or ignores; the first is kept).
    """
    forms = [pair_form(*pair) for pair in pairs] if len(pairs) >= MIN_REPETITIONS else [()] * len(pairs)
    counts = Counter(forms)
    reasons: list[str | None] = []
    seen: set[tuple[str, ...]] = set()
    for (question, answer), form in zip(pairs, forms, strict=True):
        reason = None
        if question and not _WORD.search(question):
            reason = "no_question"
        elif question and plain(question) == plain(answer):
            reason = "answer_is_question"
        elif form in seen and counts[form] >= MIN_REPETITIONS:
            reason = "repeated_pair"
        seen.add(form)
        reasons.append(reason)
    return reasons


def pair_form(question: str, answer: str) -> tuple[str, ...]:
    """A pair with the numbers of its question masked, in its answer too.

    Other numbers of the answer are results, which tell exercises of one kind apart; but not where the question holds
    no number at all.
    """
    counters = set(_NUMBER.findall(question))

    def mask(match: re.Match[str]) -> str:
        return "#" if match[0] in counters or not counters else match[0]

    return plain(_NUMBER.sub(mask, question)), plain(_NUMBER.sub(mask, answer))


def plain(text: str) -> str:
    """A text less case and the kind of its blanks."""
    return " ".join(text.casefold().split())
