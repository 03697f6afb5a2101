"""Replies as models really write them, and as nobody should."""

import json
import math
import time

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.prompts.parse_reply import MAX_PAIRS, PAIRS_SCHEMA, clean_text, parse_pairs

ONE = '{"question": "2 + 2?", "answer": "4"}'
PAIR = ("2 + 2?", "4")


@pytest.mark.parametrize(
    "reply",
    [
        f'{{"pairs": [{ONE}]}}',
        f'  \n{{"pairs": [{ONE}]}}\n\n',
        f'```json\n{{"pairs": [{ONE}]}}\n```',
        f'Here you are:\n\n```\n{{"pairs": [{ONE}]}}\n```\nAsk for more!',
        f"[{ONE}]",
        ONE,
        f"The set {{1, 2}} and [0, 1) are different. {ONE} }} ]",
        f'{{"pairs": [{ONE}]}} {{"pairs": ',
        f'{{"result": {{"pairs": [{ONE}]}}}}',
        f'{{"qa_pairs": [{ONE}]}}',
        f'{{"pairs": [{ONE}], "note": NaN, "more": [1e999, {"1" * 6000}]}}',
        '{"pairs": [{"question": "2 + 2?", "answer": "4", "difficulty": 1}]}',
        "<think>Which {pairs} are there?</think>" + ONE,
    ],
    ids=range(13),
)
def test_finds_the_pair_wherever_it_stands(reply):
    parsed = parse_pairs(reply)
    assert (parsed.pairs, parsed.reason, parsed.invalid) == ([PAIR], None, 0)


@pytest.mark.parametrize(
    ("reply", "reason", "invalid"),
    [
        ("", "empty_reply", 0),
        (" \n\t ", "empty_reply", 0),
        ("I cannot do that.", "not_json", 0),
        ('{"pairs": [', "not_json", 0),
        ('{"pairs": [{"question": "What', "not_json", 1),
        ('{"pairs": []}', "no_pairs", 0),
        ("[]", "no_pairs", 0),
        ('{"answer": 4}', "wrong_schema", 1),
        ('{"pairs": "none"}', "wrong_schema", 0),
        ("[1, 2]", "wrong_schema", 0),
        ('{"pairs": [["q", "a"], {"question": 1, "answer": null}, 7]}', "wrong_schema", 3),
        ("[" * 100_000, "not_json", 0),
        ('{"pairs": ' * 2000, "not_json", 0),
    ],
)
def test_says_why_there_is_no_pair(reply, reason, invalid):
    parsed = parse_pairs(reply)
    assert (parsed.pairs, parsed.reason, parsed.invalid) == ([], reason, invalid)


def test_one_bad_entry_does_not_cost_the_others():
    reply = f'{{"pairs": [{ONE}, {{"question": 5, "answer": "x"}}, "stray", {ONE}]}}'
    parsed = parse_pairs(reply)
    assert (parsed.pairs, parsed.invalid) == ([PAIR, PAIR], 2)


def test_a_reply_that_was_cut_off_keeps_its_whole_pairs():
    reply = json.dumps({"pairs": [{"question": f"q{n}", "answer": f"a{n}"} for n in range(4)]})
    parsed = parse_pairs(reply[: reply.index("q3") + 2])
    assert parsed.pairs == [("q0", "a0"), ("q1", "a1"), ("q2", "a2")]
    assert parsed.invalid == 1


def test_one_object_a_line():
    assert parse_pairs(f"{ONE}\n{ONE}\n").pairs == [PAIR, PAIR]


def test_too_many_pairs_are_counted():
    parsed = parse_pairs(json.dumps([{"question": str(n), "answer": "a"} for n in range(MAX_PAIRS + 5)]))
    assert (len(parsed.pairs), parsed.invalid) == (MAX_PAIRS, 5)


def test_backslashes_of_mathematics_survive():
    reply = r'{"pairs": [{"question": "Simplify \sqrt{8} + \frac{1}{2} \\cdot \beta.", "answer": "a\nb \\alpha"}]}'
    assert parse_pairs(reply).pairs == [(r"Simplify \sqrt{8} + \frac{1}{2} \cdot \beta.", "a\nb \\alpha")]


def test_what_cannot_be_stored_is_cleaned():
    [(question, answer)] = parse_pairs(
        r'{"question": "\ud83d\ude00 \ud800 x\u0000y", "answer": "a\r\nb\u009f\u001b"}'
    ).pairs
    assert (question, answer) == ("\U0001f600 \ufffd xy", "a\nb")


def test_the_schema_describes_what_is_parsed():
    reply = {"pairs": [{"question": "q", "answer": "a"}]}
    jsonschema.Draft202012Validator.check_schema(PAIRS_SCHEMA)
    jsonschema.validate(reply, PAIRS_SCHEMA)
    assert parse_pairs(json.dumps(reply)).pairs == [("q", "a")]
    for bad in ({}, {"pairs": [{"question": "q"}]}, {"pairs": [{"question": "", "answer": "a"}]}, {"pairs": [1]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, PAIRS_SCHEMA)


@pytest.mark.parametrize("unit", ["[", "{", '["', "[1,", '{"a":', '{"question":"', "\\", "[[]]", '{"a ', "é{"])
def test_hostile_replies_take_bounded_time(unit):
    started = time.process_time()
    parse_pairs(unit * (2_000_000 // len(unit)))
    assert time.process_time() - started < 15


noise = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates included
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | noise,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["pairs", "question", "answer", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(noise, values, noise, st.integers(0, 300))
def test_never_raises_and_gives_storable_text(before, value, after, cut):
    reply = (before + json.dumps(value) + after)[:cut]
    parsed = parse_pairs(reply)
    assert (parsed.reason is None) == bool(parsed.pairs)
    for pair in parsed.pairs:
        for text in pair:
            text.encode()
            assert clean_text(text) == text


@given(st.binary(max_size=200))
def test_never_raises_on_bytes_read_as_text(data):
    for encoding in ("utf-8", "latin-1", "utf-16"):
        parse_pairs(data.decode(encoding, "surrogateescape" if encoding == "utf-8" else "replace"))


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.booleans(), st.floats(0, 1))
def test_reads_back_what_a_model_was_asked_for(pairs, ascii_only, share):
    reply = json.dumps({"pairs": [{"question": q, "answer": a} for q, a in pairs]}, ensure_ascii=ascii_only)
    wanted = [(clean_text(q), clean_text(a)) for q, a in pairs]
    assert parse_pairs(f"```json\n{reply}\n```").pairs == wanted
    cut = parse_pairs(reply[: math.floor(share * len(reply))])
    assert cut.pairs == wanted[: len(cut.pairs)]  # a reply that breaks off loses pairs, it never garbles one
