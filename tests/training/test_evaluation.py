"""Exact match: what counts as a result, and that nothing is no result."""

import pytest

from equal_hf.target import TargetItem
from equal_hf.training.evaluation import exact_match
from equal_hf.training.exact_match.forms import few_shot_text, read
from equal_hf.training.exact_match.results import canonical, final_answer, reply_result, same_result


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("16 - 3 - 4 = <<16-3-4=9>>9 eggs a day.\n#### 18", "18"),
        ("#### 1,234.50\n", "1234.5"),
        ("#### $18", "18"),
        ("#### 18 dollars", "18"),
        (r"So it is \boxed{5}, on page 3.", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{6 - 5i}", "6-5i"),
        (r"\boxed{\$18.90}", "18.9"),
        (r"\boxed{\text{Evelyn}}", "Evelyn"),
        (r"$\boxed{ \left( 3, \frac{\pi}{2} \right) }$", r"(3,\frac{\pi}{2})"),
        ("#### Step 4\nThe total is 12.", "12"),
        ("Yes", "Yes"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_the_result_of_an_answer(answer, result):
    assert final_answer(answer) == result


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ("18", "18.0", True),
        (".5", "0.5", True),
        ("18", "-18", False),
        ("Yes", "yes", True),
        ("Yes", "No", False),
        (r"\text{Evelyn}", "evelyn", True),
        ("Yes", r"\frac{1}{2}", False),
        (r"\frac{1}{2}", r"\frac{ 1 }{2}", True),
        (r"\frac{1}{2}", r"\frac{1}{3}", None),
        ("1/2", "0.5", None),
        ("", "", False),
        (".", "18", False),
        ("18", "", False),
    ],
)
def test_results_that_are_the_same_without_computing(wanted, found, same):
    assert same_result(wanted, found) is same


def test_a_formula_is_looked_for_where_the_result_is_one():
    reply = r"There are $3$ ways out of 7, so $P = \frac{3}{7}$ of 100."
    assert reply_result(reply, r"\frac{2}{7}") == canonical(r"P = \frac{3}{7}")
    assert reply_result(reply, "5") == "100"


def test_the_harness_form_is_read_strictly_and_flexibly():
    def right(reply, wanted="1200"):
        return [is_right for _, is_right in read("few_shot", reply, wanted, verify=lambda *_: False)]

    assert right("3 * 400 = 1,200.\n#### 1,200\n\nQuestion: What is 2 + 2?\nAnswer: 4\n#### 4") == [True, True]
    assert right("It is $1,200.") == [False, True], "strict needs the mark"
    assert right("#### 1200 apples of 7") == [True, False], "flexible takes the last number"
    assert right("#### 7\n#### 1200") == [False, True], "strict takes the first"
    assert right("") == right("#### ", "") == [False, False]


def test_examples_stand_before_the_question_with_their_results_marked():
    examples = [TargetItem("1 + 1?", "<<1+1=2>>2\n#### 2", "2"), TargetItem("2 + 2?", "Four.", "4")]
    assert few_shot_text(TargetItem("3 + 3?", "6", "6"), examples) == (
        "Question: 1 + 1?\nAnswer: <<1+1=2>>2\n#### 2\n\nQuestion: 2 + 2?\nAnswer: Four.\n#### 4\n\n"
        "Question: 3 + 3?\nAnswer:"
    )


def test_an_item_or_a_generation_without_a_result_never_counts_as_right(world):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(world / "model")
    tokenizer = AutoTokenizer.from_pretrained(world / "model")
    blank = [TargetItem("What is 1 + 1?", "Two.", final) for final in ("", "  ", None)]
    assert exact_match(model, tokenizer, blank, max_new_tokens=2) == 0.0
    # A model that ends at once says nothing, which equals no result.
    items = [*blank, TargetItem("What is 1 + 1?", "2", "2"), TargetItem("What is left?", "Nothing.", ".")]
    model.generation_config.eos_token_id = list(range(model.config.vocab_size))
    assert exact_match(model, tokenizer, items, max_new_tokens=2) == 0.0
