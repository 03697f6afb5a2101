"""`equal-hf inspect`: counts that add up, samples, and nothing that steers the terminal."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.cli import inspect
from equal_hf.cli.inspect import inspect_rounds
from equal_hf.errors import ConfigError, RecordError
from equal_hf.filters.reasons import FILTERS, REASONS
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.types import Decision, Document, QAPair, Rejection, Round, Usage
from equal_hf.utils.printable import escape

HOSTILE = "\x1b[2J\x1b]0;title\x07 \u202eevil\u202c \x9b31m \r\n\x00 end"


def make_round(index: int, rejected: tuple[Rejection, ...] = (), pairs: int = 2) -> Round:
    kept = tuple(
        QAPair(f"What is {place} + {index}?", str(place + index), f"doc-{index}", 0) for place in range(pairs)
    )
    return Round(index, (Decision(0, 0.5, (f"doc-{index}",), (index,)),), kept, rejected=rejected)


REJECTED = (
    Rejection("doc-0", "not_json", raw=f"Sorry! {HOSTILE}"),
    Rejection("doc-0", "empty_answer", "Why?", ""),
    Rejection("doc-0", "not_self_contained", f"What is in Figure 3? {HOSTILE}", "A line.\nAnother."),
    Rejection("doc-0", "duplicate", "What is 0 + 0?", "0"),
)


@pytest.fixture
def run(tmp_path):
    records, run_file = RoundRecords(tmp_path / "run"), RunFile(tmp_path / "run")
    run_file.open({"filters": {name: {"name": name} for name in FILTERS}}, {})
    for round in (make_round(0, REJECTED), make_round(1)):
        documents = {f"doc-{round.index}": Document(f"doc-{round.index}", "text", 0)}
        records.write_extracted(round, np.zeros((len(round.pairs), 4)), documents, [Usage()])
    yield tmp_path / "run"  # the run is going on: its lock is held
    run_file.close()


def call(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    inspect.add_parser(parser.add_subparsers())
    args = parser.parse_args(["inspect", *map(str, argv)])
    return args.func(args)


def test_a_run_that_goes_on_is_shown_with_all_reasons(run, capsys):
    assert call(run) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "2 rounds, 2 documents, 4 pairs kept"
    table = {line.split()[0]: line.split()[1:] for line in lines[3:16]}
    assert table["extraction"] == ["7", "not_json", "1"]
    assert table["lengths"] == ["7", "6", "empty_answer", "1"]
    assert table["self_contained"] == ["6", "5", "not_self_contained", "1"]
    assert table["duplicate"] == ["5", "4", "duplicate", "1"]
    assert table["near_duplicate"] == ["4", "4"]
    assert "What is in Figure 3?" in out and "Sorry!" in out


def test_nothing_from_a_reply_reaches_the_terminal_raw(run, capsys):
    call(run, "--samples", "9")
    out = capsys.readouterr().out
    assert "\\x1b[2J" in out and "\\u202eevil" in out
    assert all(line.isprintable() for line in out.split("\n"))
    call(run, "--json")
    assert all(line.isprintable() and line.isascii() for line in capsys.readouterr().out.split("\n"))


def test_a_terminal_that_knows_ascii_only_gets_escapes(run):
    code = (
        "import argparse, sys; from equal_hf.cli import inspect; parser = argparse.ArgumentParser(); "
        "inspect.add_parser(parser.add_subparsers()); args = parser.parse_args(sys.argv[1:]); args.func(args)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", code, "inspect", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and "4 pairs kept" in done.stdout


def test_json_holds_texts_in_full(run, capsys):
    call(run, "--json", "--samples", "1")
    found = json.loads(capsys.readouterr().out)
    assert (found["rounds"], found["documents"], found["pairs"]) == (2, 2, 4)
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert list(stages) == ["extraction", *FILTERS]
    [sample] = stages["extraction"]["rejected"]["not_json"]
    assert sample["raw"] == f"Sorry! {HOSTILE}"
    [sample] = stages["lengths"]["rejected"]["empty_answer"]
    assert (sample["question"], sample["answer"], sample["document_id"], sample["round"]) == ("Why?", "", "doc-0", 0)
    assert len(stages["lengths"]["let_through"]) == 1


@pytest.mark.parametrize("wanted", ["not_self_contained", "self_contained"])
def test_one_reason_or_one_filter_alone(run, capsys, wanted):
    call(run, "--json", "--samples", "9", "--reason", wanted)
    [stage] = json.loads(capsys.readouterr().out)["stages"]
    assert stage["name"] == "self_contained" and stage["reasons"] == {"not_self_contained": 1}
    assert len(stage["let_through"]) == stage["passed"] == 5
    assert {sample["reason"] for sample in stage["let_through"]} == {"", "duplicate"}


def test_a_reason_that_turned_nothing_down_is_no_error(run, capsys):
    call(run, "--reason", "wrong_language")
    assert "language" in capsys.readouterr().out


def test_what_cannot_be_is_told(run, tmp_path):
    with pytest.raises(ConfigError, match="did you mean `duplicate`"):
        call(run, "--reason", "dupplicate")
    with pytest.raises(ConfigError, match="--samples"):
        call(run, "--samples", "-1")
    with pytest.raises(RecordError, match="run folder"):
        call(tmp_path / "nowhere")


def test_seeds_choose_samples_and_the_order_of_rounds_does_not():
    rounds = [make_round(index, pairs=40) for index in range(3)]
    one = inspect_rounds(rounds, FILTERS, samples=5, seed=1)
    assert one == inspect_rounds(reversed(rounds), FILTERS, samples=5, seed=1)
    assert one != inspect_rounds(rounds, FILTERS, samples=5, seed=2)
    assert len(one.stages[-1].let_through) == 5


ALL = [reason for reasons in REASONS.values() for reason in reasons]
REASON_LISTS = st.lists(st.sampled_from([*ALL, "not_json", "judged_low", "refused"]), max_size=30)


@given(REASON_LISTS, st.integers(0, 5), st.integers(0, 4))
def test_every_pair_is_accounted_for(reasons, pairs, samples):
    rejected = tuple(Rejection("doc-0", reason, f"Q{place}", "A") for place, reason in enumerate(reasons))
    inspection = inspect_rounds([make_round(0, rejected, pairs)], FILTERS, samples=samples)
    first, *filters = inspection.stages
    assert sum(count for stage in inspection.stages for count in stage.reasons.values()) == len(reasons)
    assert first.passed == pairs + sum(reason in ALL for reason in reasons)
    for before, stage in zip(inspection.stages, filters, strict=False):
        assert stage.seen == before.passed
        assert stage.seen - stage.passed == sum(stage.reasons.values())
        assert set(stage.reasons) <= set(REASONS[stage.name])
    assert filters[-1].passed == pairs
    for stage in inspection.stages:
        assert len(stage.let_through) == min(samples, stage.passed)
        assert {name: len(found) for name, found in stage.rejected.items()} == {
            name: min(samples, count) for name, count in stage.reasons.items()
        }


@given(st.text(st.characters()))
def test_escaped_text_is_printable_and_told_apart(text):
    assert escape(text).isprintable()
    assert escape(text) == text or not text.isprintable()
