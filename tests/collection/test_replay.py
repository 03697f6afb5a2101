"""Replaying a run's records under the same policy and under others."""

import argparse
import json
import shutil

import pandas as pd
import pytest

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector, ExplicitExtractor, Uniform
from equal_hf.cli import replay as command
from equal_hf.collection.replay_records import recorded_documents, replay
from equal_hf.corpus import Embedder
from equal_hf.errors import ConfigError
from equal_hf.records.run_folder import RoundRecords
from equal_hf.selection.bandits import Greedy
from equal_hf.selection.rewards import per_cost, per_token, transport_reward, value_reward, yield_reward
from recipes.tiny_models import build_embedder
from tests.world import make_documents, make_target

SETTINGS = {"num_rounds": 4, "arms_per_round": 2, "documents_per_arm": 4}


@pytest.fixture(scope="module")
def corpus(world):
    return ClusteredCorpus.load(world / "corpus")


def make(corpus, folder, bandit=None, rewards=None, targets=None, **settings):
    args = CollectorConfig(output_dir=str(folder), **SETTINGS | settings)
    reference = targets or make_target().reference
    return EqualDataCollector(corpus, ExplicitExtractor(), bandit, rewards, args=args, reference=reference)


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


def test_rewards_per_token_are_replayed_from_what_each_pull_used(corpus, tmp_path):
    def paid(folder):
        return make(corpus, folder, rewards=[per_token(value_reward), per_cost(yield_reward, 1.0, 2.0)])

    rounds = list(paid(tmp_path).rounds())
    played = play(paid(tmp_path / "again"), [tmp_path])
    assert [step.round.rewards for step in played] == [round.rewards for round in rounds]
    assert all(value is not None for round in rounds for values in round.rewards.values() for value in values)


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
        "reward_funcs": ["value"],
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
    run = json.loads((folder / "run.json").read_text())
    run["fingerprint"]["document_order"] = "promise"  # as version 0.1 called "value"
    (folder / "run.json").write_text(json.dumps(run))
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
    assert "would need new calls" in out and "not exact: round 0 would already draw" in out


def test_a_run_whose_limits_changed_is_replayed_exactly(recipe_run, corpus, capsys):
    folder, rounds = recipe_run
    collector = make(corpus, folder, num_rounds=6, max_completion_tokens=10**6)
    collector.config = json.loads((folder / "run.json").read_text())["config"]
    more = list(collector.rounds())
    collector.close()
    args = parse(folder, "--json")
    assert args.func(args) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exact_rounds"] == len(more) == 6 > len(rounds)
    assert [[d["rows"] for d in r["decisions"]] for r in told["rounds"]] == [
        [list(d.rows) for d in r.decisions] for r in more
    ]


def test_a_round_that_a_token_budget_cut_is_replayed_as_it_was(world, corpus, tmp_path, capsys):
    whole = make(corpus, tmp_path / "whole")
    used = sum(round.usage.prompt_tokens for round in list(whole.rounds())[:2])
    whole.close()
    for limit in (used + 200, 10**6):
        collector = make(corpus, tmp_path / "run", max_prompt_tokens=limit)
        collector.config = {"corpus": str(world / "corpus"), "target": str(world / "target"), "n_reference": None}
        collector.config |= {"reward_funcs": ["value"]}
        rounds = list(collector.rounds())
        collector.close()
    assert [round.documents for round in rounds][:3] == [8, 8, rounds[2].documents] and 0 < rounds[2].documents < 8
    args = parse(tmp_path / "run", "--json")
    assert args.func(args) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exact_rounds"] == len(rounds) == 4
    assert [[d["rows"] for d in r["decisions"]] for r in told["rounds"]] == [
        [list(d.rows) for d in r.decisions] for r in rounds
    ]


@pytest.mark.parametrize("explore", ["7", "-1", "nan"])
def test_a_share_that_is_none_is_refused(recipe_run, explore):
    args = parse(recipe_run[0], "--explore", explore)
    with pytest.raises(ConfigError, match="`explore` is"):
        args.func(args)


def test_a_corpus_with_an_embedder_of_its_own_is_replayed_with_that_one(world, tmp_path, capsys):
    """As an alignment leaves it: the name is the original model's, the vectors are another's."""
    rows = make_documents(40)
    build_embedder([row["text"] for row in rows], tmp_path / "aligned", seed=5, dimension=16)
    embedder = Embedder(str(tmp_path / "aligned"))
    ClusteredCorpus.build(rows, tmp_path / "corpus", embedder=embedder, n_clusters=10, show_progress=False)
    shutil.copytree(tmp_path / "aligned", tmp_path / "corpus/embedder")
    manifest = json.loads((tmp_path / "corpus/corpus.json").read_text())
    manifest["embedder"] |= {"name": str(world / "embedder"), "folder": "embedder"}
    (tmp_path / "corpus/corpus.json").write_text(json.dumps(manifest))
    collector = make(ClusteredCorpus.load(tmp_path / "corpus"), tmp_path / "run", rewards=[transport_reward])
    collector.config = {
        "corpus": str(tmp_path / "corpus"),
        "target": str(world / "target"),
        "n_reference": None,
        "reward_funcs": ["transport"],
    }
    rounds = list(collector.rounds())
    collector.close()
    args = parse(tmp_path / "run", "--json")
    assert args.func(args) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exact_rounds"] == len(rounds) == 4
    assert [r["rewards"] for r in told["rounds"]] == [dict(r.rewards) for r in rounds]


def test_a_run_on_several_targets_is_replayed_with_all_of_them(world, corpus, tmp_path, capsys):
    second = tmp_path / "proofs.parquet"
    rows = [{"problem": i.question, "solution": i.answer, "split": "reference"} for i in make_target(2).reference]
    pd.DataFrame(rows).to_parquet(second)
    targets = {"target": make_target().reference, "proofs": make_target(2).reference}
    rewards = [value_reward, transport_reward]
    collector = make(corpus, tmp_path / "run", rewards=rewards, targets=targets, target_weights=[3.0, 1.0])
    collector.config = {
        "corpus": str(world / "corpus"),
        "target": [str(world / "target"), str(second)],
        "target_validation_split": None,
        "target_test_split": None,
        "target_split_column": [None, "split"],
        "target_question_column": ["question", "problem"],
        "target_answer_column": ["answer", "solution"],
        "n_reference": None,
        "reward_funcs": ["value", "transport"],
    }
    rounds = list(collector.rounds())
    collector.close()
    args = parse(tmp_path / "run", "--json")
    assert args.func(args) == 0
    told = json.loads(capsys.readouterr().out)["rounds"]
    assert [r["rewards"] for r in told] == [dict(r.rewards) for r in rounds]
    assert set(told[0]["rewards"]) == {"value_target", "value_proofs", "transport_target", "transport_proofs"}
    args = parse(tmp_path / "run", "--target_weights", "0", "1", "--json")
    assert args.func(args) == 0
    assert json.loads(capsys.readouterr().out)["rounds"][0]["decisions"] != told[0]["decisions"]


def test_a_run_that_does_not_name_its_corpus_is_refused(corpus, tmp_path):
    collector = make(corpus, tmp_path / "bare")
    list(collector.rounds())
    args = parse(tmp_path / "bare")
    with pytest.raises(ConfigError, match="does not say what `corpus`"):
        args.func(args)
