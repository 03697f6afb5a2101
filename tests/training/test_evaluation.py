"""Exact match: what counts as a result, and that nothing is no result."""

import pytest

from equal_hf.target import TargetItem
from equal_hf.training.evaluation import exact_match, final_answer


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("16 - 3 - 4 = <<16-3-4=9>>9 eggs a day.\n#### 18", "18"),
        ("#### 1,234.50\n", "1234.5"),
        (r"So it is \boxed{5}, on page 3.", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"$\boxed{ \left( 3, \frac{\pi}{2} \right) }$", r"(3,\frac{\pi}{2})"),
        ("#### Step 4\nThe total is 12.", "12"),
        ("Yes", "Yes"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_the_result_of_an_answer(answer, result):
    assert final_answer(answer) == result


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
