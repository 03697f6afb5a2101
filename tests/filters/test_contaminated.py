"""Copies of protected texts: what is found, what is not."""

import json
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.errors import ConfigError
from equal_hf.filters.contaminated import ContaminationFilter, Decontaminator
from equal_hf.types import Document, QAPair, Rejection

DUCKS = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. How much does she make?"
)


def pair(question: str, answer: str = "answer", document_id: str = "d") -> QAPair:
    return QAPair(question, answer, document_id=document_id)


def test_decontamination_finds_copies_in_another_dress():
    protected = Decontaminator([DUCKS])
    assert protected.contaminated(pair(DUCKS))
    assert protected.contaminated(pair("Please solve. " + DUCKS.upper().replace(".", " ,") + " Thanks"))
    assert protected.contaminated(pair("Who?", "Remember: " + DUCKS))
    assert not protected.contaminated(pair("Janet's ducks lay 16 eggs per day. How many a week?"))


@pytest.mark.parametrize(("shared", "found"), [(13, True), (12, False)])
def test_thirteen_consecutive_words_are_the_line(shared, found):
    words = [f"w{number}" for number in range(40)]
    protected = Decontaminator([" ".join(words)])
    assert protected.shares_ngram(" ".join([*"xyz", *words[7 : 7 + shared], *"uvw"])) is found


def test_a_short_question_is_found_whole_from_eight_words_on():
    eight = "how many legs do seven large spiders have"
    seven = "how many legs do seven spiders have"
    protected = Decontaminator([eight, seven])
    assert protected.shares_ngram(f"we ask {eight} in all")
    assert not protected.shares_ngram(f"we ask {seven} in all")
    assert protected.contaminated(pair(f"{seven.capitalize()}?"))


def test_a_short_answer_protects_nothing_and_a_long_one_does():
    answer = "first " + " ".join(f"step{number}" for number in range(15))
    protected = Decontaminator([DUCKS], ["42", "the answer is that there are nine of them", answer])
    assert not protected.contaminated(pair("How many?", "The answer is that there are nine of them"))
    assert not protected.contaminated(pair("42", "42"))
    assert protected.contaminated(pair("What to do?", answer))


def test_what_many_protected_texts_share_is_boilerplate():
    template = "what does the last statement of this python code output python from sympy import"
    questions = [f"{template} name{number} then a{number} b{number} c{number} d{number}" for number in range(20)]
    protected = Decontaminator(questions)
    assert not protected.contaminated(pair(f"{template} name3 and nothing else of the rest"))
    assert protected.contaminated(pair(questions[3]))
    strict = Decontaminator(questions, max_shared=20)
    assert strict.contaminated(pair(f"{template} name3 and nothing else of the rest"))


def test_a_short_run_length_also_bounds_the_shorter_rule():
    protected = Decontaminator(["one two three four five"], n=4)
    assert protected.shares_ngram("zero two three four five six")
    assert not protected.shares_ngram("zero two three four six")


def test_nothing_protected_nothing_found():
    protected = Decontaminator([])
    assert not protected.contaminated(pair(DUCKS))
    assert not Decontaminator([""]).shares_ngram("")


def test_impossible_run_lengths_are_errors():
    with pytest.raises(ConfigError, match="min_words"):
        Decontaminator([DUCKS], min_words=0)


WORD = st.sampled_from("alpha beta gamma delta 1 2 x_1".split())


@given(st.lists(st.lists(WORD, min_size=1, max_size=12), max_size=4), st.lists(WORD, max_size=25))
def test_runs_are_those_that_a_plain_search_finds(questions, text):
    protected = Decontaminator((" ".join(question) for question in questions), n=4, min_words=3)
    runs = {
        tuple(question[at : at + min(4, len(question))])
        for question in questions
        if len(question) >= 3
        for at in range(max(1, len(question) - 3))
    }
    plain = any(tuple(text[at : at + len(run)]) == run for run in runs for at in range(len(text)))
    assert protected.shares_ngram(" ".join(text)) == plain


def test_verdicts_do_not_depend_on_the_process():
    code = (
        "from equal_hf.filters.contaminated import Decontaminator; "
        "d = Decontaminator([' '.join(map(str, range(30)))]); "
        "print([int(x) for r in d._runs.values() for x in r._hashes][:3])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_thousands_of_documents_in_seconds():
    rng = random.Random(0)
    vocabulary = [f"word{number}" for number in range(5000)]
    protected = Decontaminator(" ".join(rng.choices(vocabulary, k=60)) for _ in range(2000))
    documents = [" ".join(rng.choices(vocabulary, k=300)) for _ in range(3000)]
    started = time.process_time()
    assert not any(protected.shares_ngram(document) for document in documents)
    assert time.process_time() - started < 10


def test_the_filter_names_its_reason_and_what_it_protects():
    filter, document = ContaminationFilter([DUCKS], ["42"], n=10), Document("d", "")
    assert filter.check(pair(DUCKS), document) == "contaminated"
    assert filter.check(pair("How many legs has a duck?"), document) is None
    other = ContaminationFilter([DUCKS], ["43"], n=10)
    assert filter.identity() == ContaminationFilter([DUCKS], ["42"], n=10).identity() != other.identity()
    assert filter.identity()["ngram"] == 10


def test_no_record_of_a_rejection_holds_a_protected_text_whatever_its_reason():
    exam = {"exam.jsonl:train:question": [DUCKS, "What is a duck?"]}
    filter = ContaminationFilter(
        ["Who keeps the ducks of the village on the hill above the old mill?"], benchmarks=exam
    )
    reply = json.dumps({"pairs": [{"question": DUCKS.replace(". ", ".\n"), "answer": "18 é"}]})
    broken = reply[: len(reply) // 2 + 60]  # cut short, so that it is no JSON
    rejections = [
        Rejection("d", "contaminated", DUCKS, "18", raw=reply),
        Rejection("d", "not_grounded", "WHAT is a duck ?", "A bird.", raw="A reply that holds what is a duck"),
        Rejection("d", "duplicate", "What is a goose?", "Another bird.", raw="A reply that holds what is a duck"),
        Rejection("d", "answer_too_long", "Why?", f"As one says: {DUCKS}"),
        Rejection("d", "not_json", raw=broken),
        Rejection("d", "not_json", raw=reply.replace("\\n", "\\\\n").replace("ducks", "d\u00aducks")),
        Rejection("d", "not_json", raw="Nothing to see."),
    ]
    withheld = filter.withhold(rejections)
    assert [item.reason for item in withheld] == [item.reason for item in rejections]
    everything = " ".join(f"{item.question} {item.answer} {item.raw}" for item in withheld)
    assert "muffins" not in everything and "a duck" not in everything.lower() and "18" not in withheld[0].answer
    assert withheld[0].question == withheld[0].answer
    assert withheld[0].question.startswith("withheld: repeats an item of exam.jsonl:train:question, sha256 ")
    # What repeats nothing stays, but for the reply that it shares with a pair that does.
    assert (withheld[2].question, withheld[2].answer) == ("What is a goose?", "Another bird.")
    assert withheld[6] == rejections[6]
    assert filter.withhold(withheld) == withheld


def test_one_copy_has_one_hash_and_a_target_item_names_the_target():
    filter = ContaminationFilter([DUCKS])
    one, same, other = filter.withhold(
        [Rejection("d", "contaminated", text, "x") for text in (DUCKS, DUCKS.upper(), f"{DUCKS} Why?")]
    )
    assert one == same != other and "an item of the target" in other.question
