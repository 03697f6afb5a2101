"""The comparison of policies runs on any documents and targets in its columns, and ends with JSON."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks import selection, selection_forecast
from tests.benchmarks.selection_baselines import round_robin
from tests.benchmarks.selection_embed import Cached, make_encoder
from tests.benchmarks.selection_grader import Grader, target_like_pairs
from tests.benchmarks.selection_inputs import affordable, read_inputs
from tests.benchmarks.selection_table import paired_ratio
from tests.benchmarks.selection_texts import TextFeatures
from tests.world import make_documents, make_target

BASELINES = {"uniform", "nearest-mean", "nearest-5", "bm25", "round-robin", "classifier", "paper", "cal"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    documents = pd.DataFrame(make_documents(40))
    documents.to_parquet(folder / "documents.parquet")
    target = make_target()
    rows = [
        {"question": item.question, "answer": item.answer, "split": part}
        for part in ("reference", "validation", "test")
        for item in getattr(target, part)
    ]
    pd.DataFrame(rows).to_parquet(folder / "target.parquet")
    useful = [2 * (source == "arithmetic") for source in documents["source"]]
    pd.DataFrame({"id": documents["id"], "n_target_like_qa": useful}).to_parquet(folder / "labels.parquet")
    return folder


@pytest.fixture(scope="module")
def inputs(files):
    paths = [str(files / f"{name}.parquet") for name in ("documents", "target", "labels")]
    return read_inputs(paths[0], None, *paths[1:])


def run(files, capsys, *flags):
    given = ["--documents", files / "documents.parquet", "--targets", files / "target.parquet", *flags]
    selection.main([str(value) for value in given])
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_it_compares_policies(files, capsys):
    flags = ["--labels", files / "labels.parquet", "--budget", "0.1", "0.2", "--seeds", "2", "--clusters", "10"]
    flags += ["--arms-per-round", "1"]  # few clusters are useful, and a round pulls different ones
    told = run(files, capsys, *flags)
    table = told["embedders"]["marks"]["target"]["0.2"]
    assert set(table) == {*BASELINES, "ours"}
    assert told["target_like"] == {"target": 80} and told["pairs"] == 400  # the pairs are those the documents state
    assert all(row["documents"]["mean"] == 40 for row in table.values())
    assert table["ours"]["target_like"]["mean"] >= 70  # of 80, with as many documents as are useful
    assert table["cal"]["target_like"]["mean"] >= 70
    assert table["uniform"]["target_like"]["mean"] < 40
    ratios = told["ratios"]["target_like"]["ours"]
    assert set(ratios) == BASELINES
    over_all = ratios["uniform"]["all"]
    assert over_all["mean"] > 1.5 and over_all["low"] < over_all["mean"] < over_all["high"]


def test_it_compares_in_money_with_a_grader(files, capsys):
    flags = ["--labels", files / "labels.parquet", "--budget-in", "money", "--seeds", "2", "--clusters", "10"]
    told = run(files, capsys, *flags, "--grader", "0.8", "0.05", "--policies", "cal-graded", "cal-oracle")
    table = told["embedders"]["marks"]["target"]["0.1"]
    assert set(table) == {*BASELINES, "cal-graded", "cal-oracle"}
    assert all(0.08 < row["money_share"]["mean"] <= 0.1 for row in table.values())
    assert table["cal-oracle"]["target_like"]["mean"] >= table["uniform"]["target_like"]["mean"]


def test_it_judges_forecasts(files, capsys):
    flags = ["--labels", files / "labels.parquet", "--budget", "0.4", "--seeds", "1", "--clusters", "10"]
    flags += ["--arms-per-round", "2", "--grader", "0.8", "0.05"]
    given = ["--documents", files / "documents.parquet", "--targets", files / "target.parquet", *flags]
    with pytest.raises(SystemExit):
        selection_forecast.main([str(value) for value in given])
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    over_all = told["forecasts"]["ours"]["all"]
    assert {"held_0.1", "held_0.5", "held_1", "bias_0.5", "stop", "spent", "stop_target_like"} <= set(over_all)
    assert 0.5 < over_all["stop"] <= 1 and set(told["forecasts"]) >= {"ours", "ours-graded", "ours, labels"}
    assert len(told["promises"]) == 4


def test_it_trains_on_each_selection(files, capsys):
    flags = ["--train", "--train-steps", "3", "--seeds", "1", "--clusters", "10", "--policies", "ours"]
    told = run(files, capsys, *flags)
    table = told["embedders"]["marks"]["target"]["0.1"]
    losses = [told["all_documents"], *table.values()]
    assert all(4 < row["test_loss"]["mean"] < 9 for row in losses)


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--policies", "clairvoyant"], "clairvoyant"),
        (["--policies", "cal-graded"], "--grader"),
        (["--grader", "0.8", "0.05"], "--labels"),
        (["--budget", "1.5"], "--budget"),
    ],
)
def test_what_cannot_be_compared_is_refused(files, capsys, flags, said):
    with pytest.raises(SystemExit):
        run(files, capsys, *flags)
    assert said in capsys.readouterr().err


def test_costs_are_those_of_prompts_and_pairs(inputs):
    first = len(inputs.texts[0]) // 4 + 450
    pairs = int(inputs.starts[1])
    assert inputs.costs("documents")[0] == 1
    assert inputs.costs("tokens")[0] == first + 120 * pairs
    assert inputs.costs("money")[0] == first + 4 * 120 * pairs
    assert inputs.usage(np.array([0, 1])).requests == 2
    drawn, costs = np.array([2, 0, 1]), np.array([5.0, 9.0, 3.0])
    assert affordable(drawn, costs, 8).tolist() == [2, 0] and affordable(drawn, costs, 2).tolist() == []


def test_a_grader_errs_as_it_is_told(inputs):
    truth = target_like_pairs(inputs, TextFeatures(inputs.texts))
    assert truth.sum() == inputs.labels.sum()
    sums = np.add.reduceat(truth.astype(int), inputs.starts[:-1][np.diff(inputs.starts) > 0])
    assert sums.max() <= 2
    many = np.repeat(truth, 50)
    grader = Grader(many, 0.8, 0.05, seed=1)
    assert abs(grader.graded[many].mean() - 0.8) < 0.02 and abs(grader.graded[~many].mean() - 0.05) < 0.01
    assert (grader.graded == Grader(many, 0.8, 0.05, seed=1).graded).all()
    places = np.flatnonzero(many)[:100]
    assert set(grader.grades(places, oracle=True)) == {3} and set(grader.grades(places)) == {0, 3}


def test_embeddings_are_kept_by_content(tmp_path):
    seen = []

    def encode(texts):
        seen.extend(texts)
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)

    assert Cached("model", encode, tmp_path)(["a", "bb", "a"])[:, 0].tolist() == [1, 2, 1]
    assert Cached("model", encode, tmp_path)(["bb", "ccc"])[:, 0].tolist() == [2, 3]
    assert seen == ["a", "bb", "ccc"]
    Cached("other", encode, tmp_path)(["a"])
    assert seen[-1] == "a"


def test_an_embedder_of_other_documents_has_another_cache(inputs, tmp_path):
    make_encoder("words", inputs.texts, tmp_path)(inputs.texts[:3])
    make_encoder("words", inputs.texts[1:], tmp_path)(inputs.texts[:3])
    assert len(list(tmp_path.iterdir())) == 2


def test_ratios_are_paired():
    ours = [{"n": 110.0}, {"n": 220.0}, {"n": 55.0}]
    theirs = [{"n": 100.0}, {"n": 200.0}, {"n": 50.0}]
    ratio = paired_ratio([ours], [theirs], "n")
    assert (round(ratio.mean, 6), round(ratio.low, 6), ratio.verdict()) == (1.1, 1.1, "more")
    both = paired_ratio([ours, theirs], [theirs, ours], "n")
    assert round(both.mean, 6) == 1 and both.verdict() == "level"
    assert paired_ratio([theirs], [ours], "n").verdict() == "less"


def test_round_robin_gives_every_item_its_nearest():
    class Small:
        reference = np.array([[1.0, 0.0], [0.0, 1.0]])

        class embedded:
            documents = np.array([[0.9, 0.1], [0.8, 0.7], [0.1, 0.2]])

    assert round_robin(Small, 3).tolist() == [0, 1, 2]


def test_bm25_ranks_rare_shared_words_first():
    features = TextFeatures(["apples and pears", "apples apples", "kiwis"])
    assert np.argsort(-features.bm25(["pears apples"])).tolist() == [0, 1, 2]
    assert features.bm25(["and"]).tolist() == [0, 0, 0]


def test_the_measurement_of_pair_values_says_what_it_lacks(files, capsys):
    from tests.benchmarks import pair_value

    given = [f"--{name}={files / f'{name}.parquet'}" for name in ("documents", "labels")]
    given += [f"--pairs={files / 'documents.parquet'}", f"--targets={files / 'target.parquet'}"]
    pair_value.main([*given, f"--model={files}"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"skipped": f"{files} holds no model"}


@pytest.mark.parametrize("flag", ["--seeds", "--clusters", "--reference", "--arms-per-round", "--documents-per-arm"])
def test_counts_below_one_are_refused(flag, capsys):
    with pytest.raises(SystemExit):
        selection.parse(["--documents", "d.parquet", "--targets", "t.parquet", flag, "0"])
    assert f"{flag}: at least 1" in capsys.readouterr().err
