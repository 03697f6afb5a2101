"""What typesetting hides and what it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.filters.normalise import is_blank, normalise, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 2+2 ?", "what   is 2 + 2"),
        ("“Quoted” — text.", '"quoted" — TEXT'),
        ("ﬁnd x²", "find x2"),
        ("Straße", "STRASSE"),
        ("f(x, y);", "f(x y)"),
        ("a\u00a0b\n\tc", "a b c"),
        ("今天 天气", "今天天气"),
    ],
)
def test_typesetting_does_not_tell_texts_apart(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("2 + 2", "2 - 2"), ("5!", "5"), ("1.5", "15"), ("x**2", "x*2"), ("(a)b", "a(b)"), ("a_b", "a b"), (".", "?")],
)
def test_mathematics_and_code_do(one, other):
    assert normalise(one) != normalise(other)


@given(st.text())
def test_normalising_is_idempotent_and_keeps_something(text):
    once = normalise(text)
    assert normalise(once) == once
    assert bool(once) == (not is_blank(text))


def test_a_script_without_spaces_has_a_word_a_character():
    assert words("今天天气好 abc カタ") == ["今", "天", "天", "气", "好", "abc", "カ", "タ"]
