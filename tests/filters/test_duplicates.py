"""Copies and near copies: of pairs kept before only, and never of a pair with other numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.filters.duplicate import DuplicateFilter
from equal_hf.filters.near_duplicate import NearDuplicateFilter
from equal_hf.types import Document, QAPair

DOCUMENT = Document("d", "")
STORY = (
    "A farmer walks to the market on Monday with {n} baskets of eggs on an old cart, sells them to the baker at the "
    "corner and walks home again in the evening rain."
)


def pair(question: str, answer: str = "answer") -> QAPair:
    return QAPair(question, answer, document_id="d")


def test_exact_and_normalised_copies_of_kept_pairs():
    filter = DuplicateFilter()
    first = pair("What is 2 + 2?", "4")
    assert filter.check(first, DOCUMENT) is None
    assert filter.check(first, DOCUMENT) is None  # asking is not keeping
    filter.keep(first)
    assert filter.check(QAPair("What is 2 + 2?", "4", document_id="elsewhere"), DOCUMENT) == "duplicate"
    assert filter.check(pair("WHAT is 2+2", "4."), DOCUMENT) == "duplicate"
    assert filter.check(pair("What is 2 + 2?", "5"), DOCUMENT) is None
    assert filter.check(pair("What is 2 + 2? 4", "4"), DOCUMENT) is None


def test_question_and_answer_do_not_run_into_each_other():
    filter = DuplicateFilter()
    filter.keep(pair("a b", "c"))
    assert filter.check(pair("a", "b c"), DOCUMENT) is None


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        (STORY.format(n=7) + " How many did he sell?", "7 baskets", "near_duplicate"),
        (STORY.format(n=7).replace("old", "ancient") + " How many does he sell?", "7 baskets", "near_duplicate"),
        (STORY.format(n=8) + " How many baskets are sold?", "7 baskets", None),
        (STORY.format(n=7) + " How many baskets are sold?", "9 baskets", None),
        (STORY.format(n=7) + " How many baskets are left?", "none at all", None),
        ("The farmer keeps 7 hens beside the wood. Who feeds them?", "7 baskets", None),
    ],
)
def test_near_copies_differ_in_words_but_in_no_number_and_no_short_answer(question, answer, reason):
    filter = NearDuplicateFilter()
    kept = pair(STORY.format(n=7) + " How many does he sell?", "7 baskets")
    assert filter.check(kept, DOCUMENT) is None
    filter.keep(kept)
    assert filter.check(kept, DOCUMENT) == "near_duplicate"
    assert filter.check(pair(question, answer), DOCUMENT) == reason


def test_one_long_answer_may_answer_two_questions():
    filter = NearDuplicateFilter()
    answer = STORY.format(n=7) * 3
    filter.keep(pair("Is the trade of the baker inherited?", answer))
    assert filter.check(pair("Is the trade of the farmer inherited?", answer), DOCUMENT) is None
    assert filter.check(pair("Is the trade of the baker inherited?", answer + " Yes."), DOCUMENT) == "near_duplicate"


def test_code_has_to_be_the_same():
    filter = NearDuplicateFilter()
    question = STORY + "\n\n```python\nx = [3, 1]\nx.{method}()\n```"
    filter.keep(pair(question.format(n=7, method="sort")))
    assert filter.check(pair(question.format(n=7, method="sort") + " Tell."), DOCUMENT) == "near_duplicate"
    assert filter.check(pair(question.format(n=7, method="reverse") + " Tell."), DOCUMENT) is None


TEXTS = st.one_of(st.text(), st.text("ab 1\n`$\\", max_size=60), st.just("```" * 9))


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8))
def test_two_filters_that_saw_the_same_say_the_same(texts):
    one, other = NearDuplicateFilter(), NearDuplicateFilter()
    pairs = [pair(question, answer) for question, answer in texts]
    decisions = []
    for item in pairs:
        decisions.append(one.check(item, DOCUMENT))
        if decisions[-1] is None:
            one.keep(item)
    for item, decision in zip(pairs, decisions, strict=True):
        assert other.check(item, DOCUMENT) == decision
        if decision is None:
            other.keep(item)
    assert all(one.check(item, DOCUMENT) == "near_duplicate" for item in pairs)
