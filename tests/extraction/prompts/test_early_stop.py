"""A reply that repeats itself or is finished is ended; one that still brings new pairs never is, however it comes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from equal_hf.extraction.prompts.degenerate import degenerate_reasons
from equal_hf.extraction.prompts.early_stop import ReplyWatch
from equal_hf.extraction.prompts.parse_reply import MAX_PAIRS, parse_pairs

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
ends = st.sampled_from(
    ["", " ", "\n```", "\n```\n\n", "\nThat is all that the document says. I hope it is of use to you."]
)
begins = st.sampled_from(["", "\n", "```json\n", "Here they are:\n```json\n", "<think>Two or three.</think>\n"])


def read(text: str, *cuts: int) -> tuple[str | None, int | None]:
    """Why and where a reply is ended that comes in these pieces."""
    watch = ReplyWatch()
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for start, end in pairwise(places):
        if watch.feed(text[start:end]):
            break
    return watch.reason, watch.end


def kept(text: str) -> set[tuple[str, str]]:
    pairs = parse_pairs(text).pairs
    return {pair for pair, reason in zip(pairs, degenerate_reasons(pairs), strict=True) if not reason}


def reply(pairs: list[tuple[str, str]], **style: object) -> str:
    return json.dumps({"pairs": [{"question": q, "answer": a} for q, a in pairs]}, **style)


@st.composite
def replies(draw: st.DrawFn) -> tuple[str, int]:
    """A reply whose entries are new or, up to two in a row, copies; and where the last new one ends."""
    new = draw(st.lists(st.tuples(words, words), min_size=1, max_size=12, unique=True))
    entries: list[tuple[str, str]] = []
    last = 0
    for number, (question, answer) in enumerate(new):
        # Told apart by more than numbers.
        entries.append((f"{chr(97 + number)} {question}", f"{answer} {chr(97 + number)}"))
        last = len(entries)
        entries += draw(st.lists(st.sampled_from(entries), max_size=2))
    style = draw(st.sampled_from([{}, {"indent": 2}, {"ensure_ascii": False}, {"separators": (",", ":")}]))
    text = draw(begins) + reply(entries, **style)
    whole = [json.dumps({"question": q, "answer": a}, **style) for q, a in entries]
    at = 0
    for entry in whole[:last]:
        compact = entry if "indent" not in style else None
        at = text.index(compact, at) + len(compact) if compact else text.index("}", text.index(_last(entry), at)) + 1
    return text + draw(ends), at


def _last(entry: str) -> str:
    return entry.splitlines()[-2].strip()


@given(replies())
def test_a_reply_that_still_brings_new_pairs_goes_on(made: tuple[str, int]):
    text, last = made
    reason, end = read(text)
    assert reason is None or end >= last
    assert kept(text[:end]) == kept(text)


@given(
    st.lists(
        st.one_of(
            words,
            st.sampled_from([reply([("q", "a")]), '{"question": "What is a set?", "answer": "A collection."}, ']),
            st.builds(lambda text, times: text * times, words, st.integers(1, 60)),
            st.builds(lambda pair, times: reply([pair] * times), st.tuples(words, words), st.integers(1, 9)),
            st.builds(lambda number: " " * number, st.integers(1, 300)),
        ),
        max_size=8,
    ).map("".join),
    st.lists(st.integers(0, 10_000), max_size=12),
)
@example('{"pairs": [' + '{"question": "\\\\\\"{", "answer": "]}"}, ' * 9, list(range(400)))
def test_where_it_ends_does_not_depend_on_the_pieces(text: str, cuts: list[int]):
    whole = read(text)
    assert read(text, *cuts) == whole == read(text, *range(len(text)))
    if whole[1] is not None:
        assert read(text[: whole[1]] + " more" * 40) == whole or whole[0] == "finished"


LOOP = "a learned behaviour is something that is "
TABLE = [(f"What is {a} times {b}?", f"{a} times {b} is {a * b}.") for a in (3, 7) for b in range(2, 12)]
STEPS = " ".join(f"Step {n}: divide {2 ** (9 - n)} by 2, which gives {2 ** (8 - n)}." for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "reason", "counted"),
    [
        (reply([("What is a set?", "A collection of things.")] * 20), "repeats", 1),
        (reply([("What is a set?", "A collection."), ("What is a group?", "A set with a law.")] * 9), "repeats", 2),
        (reply([(f"What is item {n}?", "A thing of some kind.") for n in range(20)]), "repeats", 1),
        ('{"pairs": [{"question": "q", "answer": "a"}, {"question": "b", "answer": "' + LOOP * 30, "repeats", 1),
        (
            '{"pairs": [{"question": "q", "answer": "'
            + " ".join(f"The sum of the first {n} terms of the series is {n * n}." for n in range(99)),
            "repeats",
            0,
        ),
        ('{"pairs": [{"question": "q", "answer": "a"}' + "\n" * 200, "blank", 1),
        (reply([("q", "a")]) + "\nI hope that this is of use to you.\n", "finished", 1),
        (reply([("q", "a")]) + "\n" * 100, "finished", 1),
        (reply([(f"Is {'x' * n} a word?", "No.") for n in range(1, 60)]), "finished", MAX_PAIRS),
        ("<think>Hm. " + "Wait, let me look at that again. " * 30, "repeats", 0),
        # Still of use:
        (reply(TABLE), None, 20),
        (reply([("How often can 512 be halved?", STEPS)] * 2), None, 1),
        (reply([("q", "a")]) + "\n" + reply([("r", "b")]) + "\n", None, 2),
        ("```json\n" + reply([("q", "a")]) + "\n```\n```json\n" + reply([("r", "b")]) + "\n```", None, 2),
        (
            "Maybe " + reply([("q", "a")]) + ", or more than that? Let me think.\n</think>\n" + reply([("r", "b")]),
            None,
            1,
        ),
        (reply([("Which code?", "def f():\n" + " " * 40 + "pass\n" + "=" * 79 + "\n" + "0, " * 40)]), None, 1),
        (reply([("Which numbers?", ", ".join(map(str, range(300))))]), None, 1),
    ],
)
def test_what_is_ended_and_what_is_not(text: str, reason: str | None, counted: int):
    assert (read(text)[0], len(kept(text[: read(text)[1]]))) == (reason, counted)
    if reason != "finished":
        assert kept(text[: read(text)[1]]) == kept(text)


def test_a_long_reply_takes_time_by_its_length():
    pairs = [(f"What is {'x' * (n % 90)} {n}?", f"It is {n * n}, {n} times {n}.") for n in range(2_000)]
    text = "Well. " + reply(pairs, indent=2)
    watch = ReplyWatch()
    for start in range(0, len(text), 4):
        assert watch.feed(text[start : start + 4]) is None
    assert len(watch._text) < 100_000
