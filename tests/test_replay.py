"""Replaying a run's records under the same policy and under others."""

import argparse
import json

import pytest

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector, ExplicitExtractor, Uniform
from equal_hf.cli import replay as command
from equal_hf.errors import ConfigError
from equal_hf.publishing.rounds import RoundRecords
from equal_hf.replay import recorded_documents, replay
from equal_hf.selection.bandit import Greedy
from tests.world import make_target

SETTINGS = {"num_rounds": 4, "arms_per_round": 2, "documents_per_arm": 4}


@pytest.fixture(scope="module")
def corpus(world):
    return ClusteredCorpus.load(world / "corpus")


def make(corpus, folder, bandit=None, **settings):
    args = CollectorConfig(output_dir=str(folder), **SETTINGS | settings)
    return EqualDataCollector(corpus, ExplicitExtractor(), bandit, args=args, reference=make_target().reference)


def play(collector, runs, lag=0):
    recorded = recorded_documents(RoundRecords(run) for run in runs)
    sizes = {"rounds": 4, "arms_per_round": 2, "documents_per_arm": 4, "seed": 42, "feedback_lag": lag}
    return list(replay(collector.selector, recorded, **sizes))


@pytest.mark.parametrize("lag", [0, 1])
def test_the_same_policy_selects_the_same(corpus, tmp_path, lag):
    rounds = list(make(corpus, tmp_path, feedback_lag=lag).rounds())
    played = play(make(corpus, tmp_path / "again", feedback_lag=lag), [tmp_path], lag)
    assert [step.round.decisions for step in played] == [round.decisions for round in rounds]
    assert [step.round.rewards for step in played] == [round.rewards for round in rounds]
    assert not any(step.missing for step in played)


def test_another_policy_is_told_what_it_would_have_needed(corpus, tmp_path):
    rounds = list(make(corpus, tmp_path / "run").rounds())
    list(make(corpus, tmp_path / "all", num_rounds=1, arms_per_round=10, documents_per_arm=99).rounds())
    alone = play(make(corpus, tmp_path / "x", Uniform()), [tmp_path / "run"])
    drawn = {(d.arm, row) for round in rounds for d in round.decisions for row in d.rows}
    for step in alone:
        assert set(step.missing) == {(d.arm, row) for d in step.round.decisions for row in d.rows} - drawn
    assert sum(len(step.missing) for step in alone)
    # With every document on record nothing is missing, and the draws are those of a run of its own.
    complete = play(make(corpus, tmp_path / "y", Uniform()), [tmp_path / "run", tmp_path / "all"])
    assert not any(step.missing for step in complete)
    live = list(make(corpus, tmp_path / "live", Uniform()).rounds())
    assert [step.round.decisions for step in complete] == [round.decisions for round in live]


def test_it_ends_where_nothing_is_recorded(corpus, tmp_path):
    list(make(corpus, tmp_path / "run", num_rounds=1).rounds())
    greedy = play(make(corpus, tmp_path / "x", Greedy()), [tmp_path / "run"])
    assert len(greedy) < 4
    assert len(greedy[-1].missing) == greedy[-1].round.documents


@pytest.fixture
def recipe_run(world, corpus, tmp_path):
    collector = make(corpus, tmp_path / "run")
    collector.config = {
        "corpus": str(world / "corpus"),
        "target": str(world / "target"),
        "n_reference": None,
        "reward_funcs": ["worth"],
    }
    rounds = list(collector.rounds())
    collector.close()
    return tmp_path / "run", rounds


def parse(*argv):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["replay", *map(str, argv)])


def test_the_command_reads_a_run_folder(recipe_run, capsys):
    folder, rounds = recipe_run
    args = parse(folder, "--json")
    assert args.func(args) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exact_rounds"] == 4
    assert [[d["rows"] for d in r["decisions"]] for r in told["rounds"]] == [
        [list(d.rows) for d in r.decisions] for r in rounds
    ]
    args = parse(folder, "--bandit", "uniform")
    assert args.func(args) == 0
    out = capsys.readouterr().out
    assert "would need new calls" in out and "exact: the first 0 of" in out


def test_a_run_that_does_not_name_its_corpus_is_refused(corpus, tmp_path):
    collector = make(corpus, tmp_path / "bare")
    list(collector.rounds())
    args = parse(tmp_path / "bare")
    with pytest.raises(ConfigError, match="does not say what `corpus`"):
        args.func(args)
