"""Formulas compared in a process of its own: equal ones, different ones, and those made to never end."""

import time

import pytest

from equal_hf.errors import MissingDependencyError
from equal_hf.target import TargetItem
from equal_hf.training.evaluation import exact_match
from equal_hf.training.exact_match import math_verifier, measure
from equal_hf.training.exact_match.math_verifier import MathVerifier

needs_math_verify = pytest.mark.skipif(not math_verifier.can_verify(), reason="math-verify is not installed")


@needs_math_verify
def test_formulas_are_equal_by_value_and_not_by_their_last_number():
    with MathVerifier() as verifier:
        assert not verifier.equal(r"\frac{1}{3}", r"\frac{2}{3}")
        assert verifier.equal("0.5", r"\frac{1}{2}") and verifier.equal(r"\frac12", "1/2")
        assert verifier.equal("p - q", "-q+p") and not verifier.equal("(3,4)", "(4,3)")
        assert verifier.equal("15", r"3 \times 5 = 15")
        # Python that SymPy would evaluate where it reads plain expressions.
        assert not verifier.equal("1", "__import__('os').abort()")
        assert verifier.given_up == 0


@needs_math_verify
def test_hostile_formulas_are_given_up_and_the_next_one_is_compared():
    hostile = [
        "9^{9^{9^{9^9}}}",
        r"\sum_{i=1}^{10^{12}} \frac{1}{i^{i}}",
        "{" * 400,
        r"\frac{1}{" * 60 + "2" + "}" * 60,
        "99999999!" * 3,
        "\x00\n\ud800",
        "9" * 100_000,
    ]
    began = time.monotonic()
    with MathVerifier(one_s=1.0) as verifier:
        for formula in hostile:
            assert not verifier.equal("1", formula)
        assert verifier.equal("0.5", r"\frac{1}{2}"), "the process was started again"
        assert verifier.given_up >= 1
    assert time.monotonic() - began < 60
    with MathVerifier(all_s=0.0) as late:
        assert not late.equal("0.5", r"\frac{1}{2}") and late.given_up == 1


def test_without_math_verify_one_line_says_what_to_install(world, monkeypatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setattr(measure, "can_verify", lambda: False)
    model = AutoModelForCausalLM.from_pretrained(world / "model")
    tokenizer = AutoTokenizer.from_pretrained(world / "model")
    formula = TargetItem("What is half?", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}")
    with pytest.raises(MissingDependencyError, match=r"pip install 'equal-hf\[math\]'"):
        exact_match(model, tokenizer, [formula], max_new_tokens=2)
    # Numbers need none of it: a formula is then read for its last one.
    assert exact_match(model, tokenizer, [TargetItem("1 + 1?", "2", "2")], max_new_tokens=2) == 0.0
    assert measure._by_last_number("15", "3\\times5=15") and not measure._by_last_number("15", "15\\times3")
