"""Several filters together: one reason a pair, order kept, and the same decisions after a resume."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.collection.config import CollectorConfig
from equal_hf.errors import ConfigError
from equal_hf.filters.base import apply_filters, remember
from equal_hf.filters.build import build_filters
from equal_hf.filters.contaminated import ContaminationFilter
from equal_hf.filters.duplicate import DuplicateFilter
from equal_hf.filters.lengths import LengthFilter
from equal_hf.filters.normalise import normalise
from equal_hf.filters.reasons import FILTERS, REASONS
from equal_hf.target import TargetItem
from equal_hf.types import Document, QAPair
from equal_hf.utils.hashing import content_hash

PROTECTED = "how many eggs do the ducks lay"
DOCUMENTS = {
    "d": Document("d", "Ducks lay eggs. The house was built in 1850 beside the river, and a mill was added later.")
}


def pair(question: str, answer: str = "answer") -> QAPair:
    return QAPair(question, answer, document_id="d")


PROMPT = "The document is what stands between the two lines."


def make(**settings):
    return build_filters(CollectorConfig(num_rounds=1, **settings), [TargetItem(PROTECTED, "16")], PROMPT)


def test_each_pair_has_one_reason_and_order_is_kept():
    pairs = [
        pair("Q1?", "one"),
        pair("  ", "x"),
        pair("Q2?", " \n"),
        pair("q" * 41, "x"),
        pair("Q3?", "a" * 21),
        pair(PROTECTED, "x"),
        pair("q1", "ONE"),
        pair("Q4?", "four"),
    ]
    filters = [LengthFilter(40, 20), ContaminationFilter([PROTECTED]), DuplicateFilter()]
    kept, rejected = apply_filters(pairs, DOCUMENTS, filters)
    assert [item.question for item in kept] == ["Q1?", "Q4?"]
    withheld = f"withheld: repeats an item of the target, sha256 {content_hash(normalise(PROTECTED))}"
    assert [(item.reason, item.question, item.answer) for item in rejected] == [
        ("empty_question", "  ", "x"),
        ("empty_answer", "Q2?", " \n"),
        ("question_too_long", "q" * 41, "x"),
        ("answer_too_long", "Q3?", "a" * 21),
        ("contaminated", withheld, withheld),
        ("duplicate", "q1", "ONE"),
    ]
    assert {item.document_id for item in rejected} == {"d"}


def test_no_filter_keeps_all():
    pairs = [pair("Q?", "a"), pair("Q?", "a")]
    assert apply_filters(pairs, DOCUMENTS, []) == (pairs, [])


def test_every_filter_turns_something_down_for_its_reasons_only():
    filters = make(max_question_characters=300, max_answer_characters=500)
    long = (
        "The house beside the river was built in the year of the great flood, when all of the village was young and "
        "nobody who lives there now had been born, as an old letter to the mayor of the next town tells"
    )
    pairs = [
        pair(" "),
        pair("…", "…"),
        pair("Where?", ""),
        pair("Where are the eggs?", "where are\u200b the EGGS"),
        pair("w" * 301),
        pair("Where?", "w" * 501),
        pair("1. Ducks lay eggs", "2. Ducks lay eggs"),
        pair("The eggs are laid.", "2"),
        pair("The house was built in: 1850", "built in: 1850"),
        pair("What does the figure above show?", "Eggs."),
        pair("What stands between the two lines?", "A mill."),
        pair("Who was first on the Moon?", "Armstrong walked there during July 1969, Aldrin followed second."),
        pair(PROTECTED),
        pair("Wie viele Eier legen die Enten auf dem Hof des alten Bauern an einem einzigen Tag im Sommer?", "Zwei."),
        pair(f"{long}. When was it built?", "In 1850."),
        pair(f"{long}; when was it built?", "in 1850"),
        *(pair(f"Were there {number} eggs?", f"Ducks lay {number} eggs.") for number in (2, 3, 4)),
        pair(f"{long}. When was it erected?", "In 1850."),
    ]
    kept, rejected = apply_filters(pairs, DOCUMENTS, filters)
    assert kept == [pairs[14], *pairs[16:18]]
    assert [item.reason for item in rejected] == [reason for name in FILTERS for reason in REASONS[name]]


QUESTIONS = st.sampled_from(["Q1?", "q1", "Q2?", PROTECTED, "What is in this passage?", "", "Q3 + 1?", "Q3 - 1?"])
PAIRS = st.lists(st.builds(pair, QUESTIONS, st.sampled_from(["one", "ONE", "two"])), max_size=12)


@given(PAIRS, PAIRS)
def test_a_fold_over_kept_pairs_decides_as_if_never_stopped(first, second):
    running = make()
    kept, _ = apply_filters(first, DOCUMENTS, running)
    resumed = make()
    for item in kept:
        remember(item, resumed)
    assert apply_filters(second, DOCUMENTS, running) == apply_filters(second, DOCUMENTS, resumed)


def test_filters_run_in_one_order_whatever_the_setting_says():
    assert [filter.name for filter in make()] == list(FILTERS)
    assert [filter.name for filter in make(filters=["duplicate", "lengths", "duplicate"])] == ["lengths", "duplicate"]
    assert make(filters=[]) == []


def test_identities_are_json_and_tell_settings():
    identities = {filter.name: filter.identity() for filter in make(min_grounding=0.2)}
    assert list(identities) == list(FILTERS)
    assert json.loads(json.dumps(identities)) == identities
    assert all(identity["name"] == name and identity["version"] >= 1 for name, identity in identities.items())
    others = {filter.name: filter.identity() for filter in make(min_grounding=0.3)}
    assert [name for name in identities if identities[name] != others[name]] == ["grounding"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": ["lenghts"]}, "did you mean `lengths`"),
        ({"filters": ["zzz"]}, "choose from lengths"),
        ({"max_answer_characters": 0}, "max_answer_characters"),
        ({"min_grounding": 1.5}, "min_grounding"),
        ({"near_duplicate_similarity": 0.5}, "near_duplicate_similarity"),
        ({"decontaminate_against": ["a:b:c:d"]}, "source"),
        ({"decontaminate_against": ["a/b"], "filters": ["lengths"]}, "leaves out `contaminated`"),
    ],
)
def test_settings_that_cannot_be_are_told_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        CollectorConfig(num_rounds=1, **settings)


def test_a_long_answer_has_the_same_reason_without_being_normalised_whole():
    check, document = LengthFilter().check, Document("d", "")
    question = "What is 2 + 2, and why?"
    normalise.cache_clear()
    for answer, reason in (
        ("It is a sum. " * 1000, "answer_too_long"),
        ("... " * 5000 + question, "answer_is_question"),
        (question.replace(" ", " " * 3000), "answer_is_question"),
        (question + " It is a sum." * 1000, "answer_too_long"),
    ):
        assert check(QAPair(question, answer, document_id="d"), document) == reason
    started = time.process_time()
    for position in range(8):
        check(QAPair(question, f"{position} " + "It is a sum. " * 800_000, document_id="d"), document)
    assert time.process_time() - started < 2
