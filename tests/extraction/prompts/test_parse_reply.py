"""Replies as models really write them, and as nobody should."""

import json
import math
import time
from collections import Counter

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.prompts.degenerate import degenerate_reasons
from equal_hf.extraction.prompts.parse_reply import (
    GRADED_SCHEMA,
    MAX_PAIRS,
    PAIRS_SCHEMA,
    Parsed,
    clean_text,
    parse_pairs,
)

DRAFT = '{"pairs": [{"question": "3 + 3?", "answer": "5"}]}'
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


@pytest.mark.parametrize(
    "unit",
    [
        *("[", "{", '["', "[1,", '{"a":', '{"question":"', "\\", "[[]]", '{"a ', "é{", "analysisA"),
        *('{"question": "a "b" ', "{'question': '", "{question: // ", "{'question': 'a', /* ", "{'question': 'a'}"),
        *("<think", "<think>", "</think>", "<think "),
    ],
)
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


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>Perhaps {DRAFT}? No, wrong.</think>\n{ONE}",
        f"Perhaps {DRAFT}? No.</think>{ONE}",  # begun by the chat template
        f"<Thinking>{DRAFT}</THINKING >{ONE}",
        f"<reasoning effort='high'>{DRAFT}</reasoning><answer>{ONE}</answer>",
        f"[THINK]{DRAFT}[/THINK]{ONE}",
        f"<seed:think>{DRAFT}</seed:think>{ONE}",
        f"◁think▷{DRAFT}◁/think▷{ONE}",
        f"<|begin_of_thought|>{DRAFT}<|end_of_thought|> {ONE}",
        f"<|START_THINKING|>{DRAFT}<|END_THINKING|>{ONE}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{ONE}",
        f"analysisWe draft {DRAFT} first.assistantfinal{ONE}",
        f"<think>{DRAFT}</think>Once more.<think>{DRAFT}</think>{ONE}",
        f"<think>{DRAFT}<think>{DRAFT}</think>{DRAFT}</think>{ONE}",
        f"<think>{DRAFT[:30]}</think>{ONE}",  # a draft that breaks off
        f"&lt;think&gt;{DRAFT}&lt;/think&gt;{ONE}",
        f"```thinking\n{DRAFT}\n```\n```json\n{ONE}\n```",
    ],
    ids=range(16),
)
def test_what_a_model_thinks_is_no_answer(reply):
    assert parse_pairs(reply) == Parsed([PAIR])


@pytest.mark.parametrize(
    "reply", [f"<think>{DRAFT} Let me", f"[think]{DRAFT}", f"<|channel|>analysis<|message|>{DRAFT}"]
)
def test_a_thought_that_never_ends_holds_no_answer(reply):
    assert parse_pairs(reply) == Parsed(reason="not_json")


def test_pairs_about_thoughts_are_pairs():
    pair = {"question": "What ends at </think>?", "answer": "What <think> or [THINK] began."}
    assert parse_pairs(f"<think>{DRAFT}</think>{json.dumps(pair)}").pairs == [tuple(pair.values())]


@pytest.mark.parametrize(
    ("reply", "pair"),
    [
        ('{"pairs": [{"question": "2 + 2?", "answer": "4",},]}', PAIR),
        ("{'pairs': [{'question': '2 + 2?', 'answer': '4'}]}", PAIR),
        ('{"pairs": [{"question": "2 + 2?", "answer": 4}]}', PAIR),
        ('{"question": "2 ÷ 3?", "answer": 0.670}', ("2 ÷ 3?", "0.670")),  # digits as they are written
        ('{"question": "Big?", "answer": 1' + "0" * 5000 + "}", ("Big?", "1" + "0" * 5000)),
        ('{"question": "Is 7 prime?", "answer": true}', ("Is 7 prime?", "true")),
        ("{'question': 'Is 7 prime?', 'answer': True, 'note': None}", ("Is 7 prime?", "True")),
        ('{"question": "What is a "set"?", "answer": "A "bag", say."}', ('What is a "set"?', 'A "bag", say.')),
        ("{'question': 'Whose is it?', 'answer': 'It's Ada's.'}", ("Whose is it?", "It's Ada's.")),
        ("""{'question': "What's x?", 'answer': 'x is "it"'}""", ("What's x?", 'x is "it"')),
        (r"{'question': 'Whose?', 'answer': 'They\'re Ada\'s.'}", ("Whose?", "They're Ada's.")),
        ('{"Pairs": [{"Question": "2 + 2?", "ANSWER": "4"}]}', PAIR),
        ('[{"q": "2 + 2?", "a": "4"}]', PAIR),
        ('{pairs: [{question: "2 + 2?", answer: "4"}]}', PAIR),
        ('{"pairs": [ // one\n{"question": "2 + 2?", /* sum */ "answer": "4" # yes\n}]}', PAIR),
        ('{"pairs": [{"question": "2 + 2?" "answer": "4"}]}', PAIR),
        ("{\"question\": \"2 + 2?\", \"answer\": '''4'''}", PAIR),
        ("{“question”: “2 + 2?”, “answer”: “4”}", PAIR),
        (json.dumps(ONE), PAIR),
        ('{"id": 3, "level": "easy", "question": "2 + 2?", "answer": "4",}\n\nI hope this helps!', PAIR),
        (
            r"{'question': 'Is $2 \times 3$ six?', 'answer': '$\frac{6}{1}$',}",
            (r"Is $2 \times 3$ six?", r"$\frac{6}{1}$"),
        ),
    ],
    ids=range(21),
)
def test_slips_that_can_be_read_in_one_way_only_are_read(reply, pair):
    assert parse_pairs(reply) == Parsed([pair])


@pytest.mark.parametrize(
    "reply",
    [
        '{"question": "What is {"a": "b"} here?", "answer": "An object",',  # cut off
        '{"question": "a", "answer": "b", "answer": "c",}',  # which one?
        '{"question": "a", "answer": He said "b"}',
        '{"question": "a", "answer": null,}',
        '{"question": "a", "answer": ["b"],}',
    ],
)
def test_slips_that_take_a_guess_are_not_read(reply):
    parsed = parse_pairs(reply)
    assert (parsed.pairs, parsed.invalid) == ([], 1)


quoted = st.text(st.sampled_from("ab \"',:{[?\n"), min_size=1, max_size=12)  # a brace behind a quote ends an entry


@given(quoted, quoted, st.sampled_from(['"', "'"]))
def test_a_slip_loses_a_pair_or_keeps_its_text(question, answer, quote):
    reply = f"{{{quote}question{quote}: {quote}{question}{quote}, {quote}answer{quote}: {quote}{answer} {quote},}}"
    assert parse_pairs(reply).pairs in ([], [(clean_text(question), clean_text(answer))])


@pytest.mark.parametrize(
    ("pairs", "reasons"),
    [
        ([("2 + 2?", "4"), ("2 + 3?", "5"), ("2 + 4?", "6"), ("2 + 5?", "7"), ("2 + 6?", "8")], {}),
        ([(f"What is step {n}?", f"This is step {n}.") for n in range(6)], {"repeated_pair": 5}),
        ([(f"{n}. How many apples?", "Twelve.") for n in range(6)], {"repeated_pair": 5}),
        ([("How many apples?", f"Answer {n}.") for n in range(6)], {"repeated_pair": 5}),
        ([("Who?", "Anna.")] * 3, {}),  # the filter of duplicates takes these
        ([("What is a set?", " what is a  SET? ")], {"answer_is_question": 1}),
        ([("…", "…"), ("???", "Yes."), ("Why?", "…")], {"no_question": 2}),
        ([("价格是多少？", "十二。"), ("ما هو؟", "كتاب")], {}),
    ],
)
def test_degenerate_pairs_have_reasons_of_their_own(pairs, reasons):
    found = Counter(reason for reason in degenerate_reasons(pairs) if reason)
    assert found == reasons
    assert len(degenerate_reasons(pairs)) == len(pairs)


def test_thousands_of_different_pairs_of_a_reply_are_told_apart_in_a_second():
    letters = "abcdefghij"
    names = ["".join(letters[int(digit)] for digit in str(number)) for number in range(20_000)]
    pairs = [(f"What is {name}?", f"A thing called {name}.") for name in names]
    started = time.process_time()
    assert degenerate_reasons([*pairs, *[("Who?", "I.")] * 4])[-4:] == [None, *["repeated_pair"] * 3]
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    ("written", "grade"),
    [
        ("0", 0),
        ("3", 3),
        ('"2"', 2),
        ("2.0", 2),
        ('"3/3"', 3),
        ('" 1 of 3 "', 1),
        ("7", None),
        ("-1", None),
        ("1.5", None),
        ("true", None),
        ("null", None),
        ("[3]", None),
        ('"high"', None),
        ('"3/5"', None),
        ('"٣"', None),
        ("1e400", None),
        ("9" * 5_000, None),
    ],
)
def test_grades_are_whole_numbers_up_to_three_or_none(written: str, grade: int | None) -> None:
    """Whatever stands there, the pair is kept, and so are the grades of the others."""
    pair = json.dumps({"question": "q", "answer": "a"})
    parsed = parse_pairs(f'{{"pairs": [{pair[:-1]}, "fit": {written}}}, {pair[:-1]}, "Fit": 1}}]}}')
    assert parsed.pairs == [("q", "a")] * 2 and parsed.invalid == 0
    assert parsed.grades == [grade, 1]


def test_grades_stay_with_their_pairs() -> None:
    one = '{"fit": 3, "question": "q1", "answer": "a"}, {"question": "", "fit": 2}, {"question": "q2", "answer": "b"}'
    assert parse_pairs(f'{{"pairs": [{one}]}}') == Parsed([("q1", "a"), ("q2", "b")], None, 1, [3, None])
    assert parse_pairs('{"question": "q", "answer": "a"}').grades == []
    assert parse_pairs('{"question": "q", "answer": "a", "fit": 9}').grades == []
    many = json.dumps([{"question": str(n), "answer": "a", "fit": n % 4} for n in range(MAX_PAIRS + 5)])
    assert parse_pairs(many).grades == [n % 4 for n in range(MAX_PAIRS)]
    thought = '<think>{"question": "draft", "answer": "a", "fit": 1}</think>{"question": "q", "answer": "a", "fit": 2}'
    assert parse_pairs(thought.removeprefix("<think>")).grades == [2]


def test_grades_in_entries_that_are_not_quite_json() -> None:
    entries = """{question: 'It's 2 + 2?', answer: '4', fit: 3}, {"question": "q", "answer": "a", "fit": "2/3",}"""
    assert parse_pairs(f"{{pairs: [{entries}]}}") == Parsed([("It's 2 + 2?", "4"), ("q", "a")], grades=[3, 2])


def test_the_graded_schema_asks_for_one_of_four_grades() -> None:
    """In the subset that strict servers take: all keys required, no range but an enumeration."""
    jsonschema.Draft202012Validator.check_schema(GRADED_SCHEMA)
    pair = {"question": "q", "answer": "a"}
    jsonschema.validate({"pairs": [pair | {"fit": 3}]}, GRADED_SCHEMA)
    for fit in (4, "3", None):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"pairs": [pair | {"fit": fit}]}, GRADED_SCHEMA)
    entry = GRADED_SCHEMA["properties"]["pairs"]["items"]
    assert entry["required"] == list(entry["properties"]) == ["question", "answer", "fit"]
    assert "fit" not in json.dumps(PAIRS_SCHEMA)
