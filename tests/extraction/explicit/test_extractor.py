"""Marked questions and answers, and the extractor that collects every kind."""

import json
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.errors import ConfigError
from equal_hf.extraction.explicit.extractor import KINDS, ExplicitExtractor
from equal_hf.extraction.explicit.marked_pairs import marked_pairs
from equal_hf.types import Allowance, Document, QAPair, Usage


def read(text: str) -> list[tuple[str, str, str]]:
    pairs = marked_pairs(Document("d", textwrap.dedent(text)))
    return [(pair.method, pair.question, pair.answer) for pair in pairs]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Question: Why?\nAnswer: Because.", [("Why?", "Because.")]),
        ("Q: Why?\nA: Because.\n\nQ: How?\nA: So.", [("Why?", "Because."), ("How?", "So.")]),
        ("Q1. Why?\nA1. Because.\nQ2. How?\nA2. So.", [("Why?", "Because."), ("How?", "So.")]),
        ("Q. 34. Why?\nA. Because.", [("Why?", "Because.")]),
        ("375. Q. Why?\nA. Because.", [("Why?", "Because.")]),
        ("Question 3.2: Why?\nAnswer 3.2: Because.", [("Why?", "Because.")]),
        ("**Q: Why?**\n\nA: Because.", [("Why?", "Because.")]),
        ("**Question:** Why?\n**Answer:** Because.", [("Why?", "Because.")]),
        ("### Question 1\nWhy?\n### Answer\nBecause.\n\nOf that.", [("Why?", "Because.\n\nOf that.")]),
        ("> Q: Why?\n> A: Because.", [("Why?", "Because.")]),
        ("- Q: Why?\n- A: Because.", [("Why?", "Because.")]),
        (
            "Q: Name two.\n1. one\n2. two\nA: Both:\n\n* one\n* two",
            [("Name two.\n1. one\n2. two", "Both:\n\n* one\n* two")],
        ),
        ("Q: What is 6 * 7?\nA: 42.", [("What is 6 * 7?", "42.")]),
        ("Q: Minus?\nA: -5", [("Minus?", "-5")]),
        ("Q1: one?\nQ2: two?\n\n# Answers\n\nA1: first\nA2: second", [("one?", "first"), ("two?", "second")]),
        ("Q: Pick.\nA. red\nB. blue\nAnswer: B", [("Pick.\nA. red\nB. blue", "B")]),
        ("Q: Pick.\nA. red\nB. blue\n\nQ: Why?\nA. Because.", [("Why?", "Because.")]),
        ("Q: Pick.\nA) red\nB) blue\nAnswer: A", [("Pick.\nA) red\nB) blue", "A")]),
        ("Q: Only asked?\n\nSome prose.", []),
        ("A: Only answered.", []),
        ("Q: Why?\nA:\n\n# Next", []),
        ("A paper of size A4\nis an Answer to this Question", []),
        ("A. Lincoln was born.\nB. Franklin too.", []),
        ("```\nQ: in code?\nA: yes\n```", []),
    ],
)
def test_question_and_answer(text, pairs):
    assert read(text) == [("question_answer", question, answer) for question, answer in pairs]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Exercise 3.2\nAdd 1 and 2.\n\nSolution\n\n3\n", [("Add 1 and 2.", "3")]),
        ("**Exercise 3.** Add.\n\n**Solution.** Three.", [("Add.", "Three.")]),
        ("Problem: Add.\nSolution: Three.\n\nProblem: Take.\nSolution: One.", [("Add.", "Three."), ("Take.", "One.")]),
        ("Example 1 (Euler).\nAdd.\n\nSolution.\nThree.\n\n## Next\nText", [("Add.", "Three.")]),
        ("Problem.--Add.\n\nSolution.--Three.", [("Add.", "Three.")]),
        ("EXAMPLE 2: Add.\nANSWER: Three.", [("Add.", "Three.")]),
        ("Exercise\n--------\nAdd.\n\nSolution\n~~~~~~~~\nThree.", [("Add.", "Three.")]),
        (
            "Example\n\nAdd.\n\nSolution\n\nThree.\n\nNow you: take.\n\nSolution\n\nOne.",
            [("Add.", "Three."), ("Now you: take.", "One.")],
        ),
        (
            "Exercise 1. Add.\nExercise 2. Take.\n\nSolution 2. One.\nSolution 1. Three.",
            [("Take.", "One."), ("Add.", "Three.")],
        ),
        ("Example 3 shows that\nSolution of it: none", []),
        ("Exercise 1\nAdd.\n\n## Notes\n\nSolution\n\nsalt water", []),
        ("Solution\n\nsalt water", []),
    ],
)
def test_exercise_and_solution(text, pairs):
    assert read(text) == [("exercise_solution", question, answer) for question, answer in pairs]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (
            "# FAQ\n\n## Why?\n\nBecause.\n\nReally.\n\n## How? ##\nSo.\n",
            [("Why?", "Because.\n\nReally."), ("How?", "So.")],
        ),
        ("Why is that?\n============\n\nBecause.\n\nOther\n-----\nText", [("Why is that?", "Because.")]),
        ("**Why?**\n\nBecause.\n\n**How?**\n\nSo.", [("Why?", "Because."), ("How?", "So.")]),
        ("## 2.1 Why?\nBecause **so**.\n\n**Note**\n\nMore.", [("Why?", "Because **so**.\n\n**Note**\n\nMore.")]),
        ("### Q: Why?\nBecause.", [("Why?", "Because.")]),
        ("## Why?\n```\n# comment?\n```\nDone.", [("Why?", "```\n# comment?\n```\nDone.")]),
        ("## Why?\nBecause.\n\n---\n\nFooter", [("Why?", "Because.")]),
        ("## Why?\n## How?\nSo.", [("How?", "So.")]),
        ("# How do I sort?\n\nI tried a lot.\n\n## 2 Answers\n\nUse sort.", []),
        ("# How do I sort?\n\nUse sort.", [("How do I sort?", "Use sort.")]),
        ("Is this a heading?\n\nNo.", []),
        ("## ?\nText", []),
    ],
)
def test_headings_that_ask(text, pairs):
    assert read(text) == [("faq", question, answer) for question, answer in pairs]


def test_a_heading_with_a_marked_answer_is_one_pair():
    assert read("### Q1: Why?\n\nA: Because.\n") == [("question_answer", "Why?", "Because.")]
    assert read("## Why?\n\nAnswer: Because.\n") == [("question_answer", "Why?", "Because.")]


MIXED = textwrap.dedent(
    """\
    # Numbers

    Q: What is 2 + 2?
    A: 4

    ## Is 7 prime?

    Yes.

    ## Examples

    Exercise 1. Add 1 and 2.

    Solution. 3

    >>> 3 + 4
    7
    >>> 1 / 0
    Traceback (most recent call last):
    ZeroDivisionError: division by zero
    """
)


def test_every_kind_in_document_order_with_provenance():
    [extraction] = ExplicitExtractor().extract([Document("d9", MIXED, cluster=4)])
    assert [pair.method for pair in extraction.pairs] == ["question_answer", "faq", "exercise_solution", "doctest"]
    assert extraction.dropped == {"doctest_traceback": 1}
    assert extraction.finish_reason == "stop"
    for pair in extraction.pairs:
        start, end = pair.span
        assert pair.answer in MIXED[start:end]
        assert (pair.document_id, pair.cluster, pair.model, pair.prompt_hash) == ("d9", 4, "", "")


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_can_be_chosen(kind):
    [extraction] = ExplicitExtractor([kind]).extract([Document("d", MIXED)])
    assert [pair.method for pair in extraction.pairs] == [kind]


def test_the_first_pairs_of_a_long_document_are_kept_and_the_others_counted():
    text = "\n".join(f"Q: {n}?\nA: {n}" for n in range(7))
    [extraction] = ExplicitExtractor(max_pairs_per_document=3).extract([Document("d", text)])
    assert [pair.question for pair in extraction.pairs] == ["0?", "1?", "2?"]
    assert extraction.dropped == {"too_many_pairs": 4}


def test_a_document_without_pairs_is_used_all_the_same():
    [extraction] = ExplicitExtractor().extract([Document("d", "é" * 10)])
    assert (extraction.pairs, extraction.usage) == ((), Usage(prompt_tokens=5, completion_tokens=0, requests=1))


def test_allowance_is_spent_in_draw_order_and_never_passed():
    documents = [Document(str(size), "x" * 4 * size) for size in (50, 60, 30, 30, 20)]
    extractions = ExplicitExtractor().extract(documents, Allowance(prompt_tokens=100))
    assert [extraction.finish_reason for extraction in extractions] == ["stop", "budget", "stop", "budget", "stop"]
    assert [extraction.document_id for extraction in extractions] == ["50", "60", "30", "30", "20"]
    assert sum((extraction.usage for extraction in extractions), Usage()) == Usage(100, 0, 3)
    assert extractions[1].usage == Usage()


def test_allowance_counts_what_pairs_take():
    documents = [Document("a", "Q: What is 2 + 2?\nA: 4"), Document("b", "Q: What is 3 + 3?\nA: 6")]
    extractions = ExplicitExtractor().extract(documents, Allowance(completion_tokens=5))
    assert [len(extraction.pairs) for extraction in extractions] == [1, 0]
    assert [extraction.finish_reason for extraction in extractions] == ["stop", "budget"]


def test_identity_is_json_and_tells_settings_apart():
    assert json.loads(json.dumps(ExplicitExtractor().identity()))["kind"] == "explicit"
    one, other = ExplicitExtractor(["faq", "doctest"]), ExplicitExtractor(["doctest", "faq"])
    assert one.identity() == other.identity()
    assert one.identity() != ExplicitExtractor(["faq"]).identity()
    assert one.identity() != ExplicitExtractor(["faq", "doctest"], max_pairs_per_document=1).identity()


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"kinds": ["riddle"]}, "riddle"), ({"kinds": []}, "kinds"), ({"max_pairs_per_document": 0}, "max_pairs")],
)
def test_impossible_settings_are_errors(settings, name):
    with pytest.raises(ConfigError, match=name):
        ExplicitExtractor(**settings)


HOSTILE = [
    "x",
    " ",
    "\n",
    "\t",
    ">>> ",
    ">>>",
    "#",
    "*",
    "**",
    "`",
    "Q: ",
    "A: ",
    "Example (",
    "1. ",
    "- ",
    "> ",
    "= ",
    "?\n",
    "é",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_five_megabytes_of_one_thing(unit):
    started = time.process_time()
    [extraction] = ExplicitExtractor().extract([Document("d", unit * (5_000_000 // len(unit)))])
    assert time.process_time() - started < 20
    assert len(extraction.pairs) <= 1


MARKS = ["# q?\nA: b\n", "Solution\n", "A. b\n", "Example\n\nfoo\n\nSolution\n\nbar\n\n", "**a?**\n", "Q7: a\n"]
STARTS = ["", "Q: x\nA. y\n", "# q?\n\nfoo\n", "Example\nfoo\n\nSolution\n"]
SESSIONS = [
    ">>> x.append(1)\n",
    ">>> x = x + 1\n>>> x\n1\n",
    ">>> foo(3)\n>>> 1\n1\n",
    ">>> mp.a = 1\n>>> mp.b = 2\n>>> 1\n1\n",
    ">>> 1 # doctest: +SKIP # doctest: '\n",
]


@pytest.mark.parametrize(
    ("start", "block", "characters"),
    [(start, block, 25_000) for start in STARTS for block in MARKS] + [("", block, 6_000) for block in SESSIONS],
)
def test_time_grows_with_length_only(start, block, characters):
    """Eight times the text may take eight times as long; a quadratic step would take 64 times."""

    def seconds(length: int) -> float:
        document = Document("d", start + block * (length // len(block)))
        began = time.process_time()
        ExplicitExtractor().extract([document])
        return time.process_time() - began

    # A machine that is busy may make one of them wait, but not each time.
    assert any(seconds(8 * characters) < 40 * max(seconds(characters), 0.01) for _ in range(3))


lines = st.sampled_from(
    "Q: a?|A: b|Q1. a|A1. b|A. b|B. c|Answer: x|# h|## why?|**why?**|**b**|Exercise 1|Solution|Solution.|Example (x).|"
    "Title?|=====|-----|---|```|~~~|>>> 1|1|text|  indented||".split("|")
)


@given(
    st.lists(lines | st.text(max_size=15), max_size=40).map("\n".join) | st.text(st.characters(exclude_categories=()))
)
def test_never_raises_and_every_pair_stands_in_its_span(text):
    document = Document("d", text)
    [extraction] = ExplicitExtractor().extract([document])
    assert [extraction] == ExplicitExtractor().extract([document])
    for pair in extraction.pairs:
        start, end = pair.span
        assert 0 <= start < end <= len(text)
        assert pair.question and pair.answer
        if pair.method != "doctest":
            assert pair.question in text[start:end] and pair.answer in text[start:end]


def test_pairs_are_plain_data():
    [extraction] = ExplicitExtractor().extract([Document("d", MIXED)])
    assert all(isinstance(pair, QAPair) and hash(pair) for pair in extraction.pairs)
