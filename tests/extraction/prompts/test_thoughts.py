"""Telling what a model thought from what it answered."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.prompts.parse_reply import parse_pairs
from equal_hf.extraction.prompts.thoughts import split_thoughts

DRAFT = '{"pairs": [{"question": "Draft?", "answer": "Yes."}]}'
ONE = '{"pairs": [{"question": "What is $\\\\frac{1}{2}$?", "answer": "Half."}]}'


@pytest.mark.parametrize(
    ("text", "answer", "thoughts"),
    [
        (f"<think>\n{DRAFT}\n</think>\n\n{ONE}", f"\n\n{ONE}", DRAFT),
        (f"Perhaps {DRAFT}.</think>{ONE}", ONE, f"Perhaps {DRAFT}."),
        (f"<think>{DRAFT} Let me", "", f"{DRAFT} Let me"),
        (f"<think>a</think>Once more.<think>b</think>{ONE}", f"Once more.{ONE}", "a\nb"),
        (f"<think>$\\frac{{a}}{{b}}$</think>{ONE}", ONE, "$\\frac{a}{b}$"),
        (ONE, ONE, ""),
        ("", "", ""),
        # Marks inside of JSON are text, also where its backslashes are not escaped.
        ('{"a": "<think>"}', '{"a": "<think>"}', ""),
        ('{"a": "$\\sqrt{2}$ </think>"}', '{"a": "$\\sqrt{2}$ </think>"}', ""),
    ],
)
def test_the_answer_is_told_from_the_thoughts(text: str, answer: str, thoughts: str) -> None:
    assert split_thoughts(text) == (answer, thoughts)


PIECES = st.sampled_from(
    ["<think>", "</think>", DRAFT, ONE, "so ", "{", "\\frac", "\\", '"', "[THINK]", "```think ", "```"]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_an_answer_that_is_split_off_is_read_like_the_whole(text: str) -> None:
    answer, _ = split_thoughts(text)
    assert parse_pairs(answer).pairs == parse_pairs(text).pairs or "\\" in text  # whose meaning depends on all others
    assert len(answer) <= len(text)


@pytest.mark.parametrize("piece", ["<think>", "</think>", "{</think>", '{"question": </think>', "[<think>"])
def test_many_marks_take_bounded_time(piece: str) -> None:
    began = time.process_time()
    split_thoughts(piece * 50_000)
    assert time.process_time() - began < 5


def test_a_pair_that_quotes_a_mark_stays_whole() -> None:
    text = f"<think>hm</think>{json.dumps({'question': 'What ends at </think>?', 'answer': 'A thought.'})}"
    assert json.loads(split_thoughts(text)[0])["question"] == "What ends at </think>?"
