"""How much of an answer its document has to hold."""

from hypothesis import given
from hypothesis import strategies as st

from equal_hf.filters.grounding import GroundingFilter, grounding
from equal_hf.types import Document, QAPair

TEXT = "Janet's ducks lay 16 eggs per day. She eats three for breakfast and sells the remainder at the market for $2."


def check(answer: str, min_grounding: float = 0.15, text: str = TEXT) -> str | None:
    return GroundingFilter(min_grounding).check(QAPair("Q?", answer, "d"), Document("d", text))


def test_a_worked_answer_may_add_steps_and_numbers():
    assert check("Janet sells 16 - 3 = 13 duck eggs a day, which makes 13 * 2 = 26 dollars each day.") is None


def test_an_answer_about_something_else_is_rejected():
    assert check("Photosynthesis converts sunlight into chemical energy inside chloroplasts.") == "not_grounded"


def test_too_short_an_answer_is_not_judged():
    assert check("Blue whales swim") is None
    assert grounding("42", TEXT) is None


def test_inflected_words_count():
    assert grounding("multiplying multiplied multiplies selling eggs", "He multiplies and sells an egg.") == 3 / 5


def test_scripts_without_spaces_are_judged_by_character():
    text = "北京是中华人民共和国的首都，人口超过两千万。"
    assert check("北京是中国的首都", text=text) is None
    assert check("鲸鱼在海洋里游泳", text=text) == "not_grounded"


@given(st.text(), st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_bar_turns_down_more(answer, text, one, other):
    low, high = sorted((one, other))
    assert check(answer, low, text) is None or check(answer, high, text) is not None
    share = grounding(answer, text)
    assert share is None or 0 <= share <= 1


@given(st.text(), st.text(), st.text())
def test_what_the_document_says_is_grounded(before, answer, after):
    assert check(answer, 1.0, f"{before} {answer} {after}") is None
