"""Parts cover the text, fit the limit, end at natural places, and cost few counts."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.errors import ConfigError
from equal_hf.extraction.requests.split_text import split_text


def bytes_in(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def words_in(text: str) -> int:
    return len(text.split())


def quarter(text: str) -> int:
    return math.ceil(len(text) / 4)


def parts(text: str, max_tokens: int, count=quarter) -> list[str]:
    return [text[start:end] for start, end in split_text(text, max_tokens, count)]


pieces = st.sampled_from(
    [
        "# Head\n",
        "Title\n=====\n",
        "\n\n",
        "\n",
        "A sentence. ",
        "Why? ",
        "word ",
        "é",
        "長い文。",
        "x" * 50,
        " ",
        "!",
        "🎉",
    ]
)


@given(st.lists(pieces, max_size=80).map("".join), st.integers(1, 60), st.sampled_from([bytes_in, words_in, quarter]))
def test_parts_cover_the_text_in_order_and_fit(text, max_tokens, count):
    calls = 0

    def counted(part: str) -> int:
        nonlocal calls
        calls += 1
        return count(part)

    spans = split_text(text, max_tokens, counted)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(start < end for start, end in spans)
    for start, end in spans:
        assert count(text[start:end]) <= max_tokens or end == start + 1
    assert calls <= len(spans) * (7 + math.ceil(math.log2(len(text) + 2)))


def test_a_text_that_fits_stays_whole_and_costs_one_count():
    calls = []
    text = "One. " * 100
    assert split_text(text, 1000, lambda part: calls.append(part) or len(part) // 5) == [(0, len(text))]
    assert calls == [text]


def test_a_text_that_fits_stays_whole_even_where_the_first_guess_was_short():
    text = "word " * 2000
    assert parts(text, 2100, words_in) == [text]


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("Intro text here.\n\n# Second\n\nMore text.\n", ["Intro text here.\n\n", "# Second\n\nMore text.\n"]),
        ("Intro text here.\n\nSecond\n------\nMore.\n", ["Intro text here.\n\n", "Second\n------\nMore.\n"]),
        ("First one here\nsame part.\n\nSecond one.", ["First one here\nsame part.\n\n", "Second one."]),
        ("The first sentence is. The second is too.", ["The first sentence is. ", "The second is too."]),
        ("line one of the\nline two of it", ["line one of the\n", "line two of it"]),
        ("every word counts here indeed", ["every word counts here ", "indeed"]),
        ("これは長い文です。次の文です", ["これは長い文です。", "次の文です"]),
    ],
)
def test_cuts_at_the_best_boundary(text, cuts):
    room = len(cuts[0]) / 0.95 + 1  # a guess that failed is followed by one that leaves 5 % of room
    limit = max(math.ceil(room), len(cuts[1]))
    assert parts(text, limit, len) == cuts


def test_an_empty_text_has_no_parts():
    assert split_text("", 10, len) == []


def test_a_single_character_over_the_limit_is_a_part():
    assert parts("🎉🎉", 1, bytes_in) == ["🎉", "🎉"]


def test_counts_that_are_far_from_the_guess():
    dense = "長" * 5000  # three tokens a character, where four characters a token are guessed
    calls = 0

    def count(part: str) -> int:
        nonlocal calls
        calls += 1
        return 3 * len(part)

    spans = split_text("plain words here " * 500 + dense, 300, count)
    assert max(3 * (end - start) for start, end in spans) <= 300
    assert calls < 2 * len(spans)


def test_a_limit_below_one_is_an_error():
    with pytest.raises(ConfigError, match="max_tokens"):
        split_text("text", 0, len)


@pytest.mark.parametrize("unit", ["x", "a sentence. ", "\n", "!", "a\n====", " "])
def test_ten_megabytes_in_seconds(unit):
    text = unit * (10_000_000 // len(unit))
    calls = 0

    def count(part: str) -> int:
        nonlocal calls
        calls += 1
        return len(part) // 4 + 1

    started = time.process_time()
    spans = split_text(text, 2000, count)
    assert time.process_time() - started < 15
    assert spans[-1].end == len(text)
    assert calls < 2 * len(spans) + 10
