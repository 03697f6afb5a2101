"""The comparison of trainings at a small scale: trainings are kept, go on after a kill, and the last line is JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest

from recipes.tiny_models import build_language_model, build_tokenizer
from tests import processes
from tests.benchmarks import training
from tests.benchmarks.selection_inputs import read_inputs
from tests.benchmarks.training_arms import HALVES, purchases
from tests.benchmarks.training_table import paired_difference
from tests.world import make_documents, make_target

ARMS = ["untouched", "uniform", "nearest-5"]


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Everything but the cache."""
    folder = tmp_path_factory.mktemp("training")
    documents = pd.DataFrame(make_documents(20))
    silent = pd.DataFrame({"id": [f"silent-{n}" for n in range(4)], "text": ["The sea was calm. " * 9] * 4})
    documents = pd.concat([documents.assign(domain=documents["source"]), silent.assign(domain="novels")])
    documents.to_parquet(folder / "documents.parquet")
    target = make_target()
    rows = [
        {"question": item.question, "answer": item.answer, "final": item.final, "split": part}
        for part in ("reference", "validation", "test")
        for item in getattr(target, part)
    ]
    pd.DataFrame(rows).to_parquet(folder / "target.parquet")
    pd.DataFrame({"id": documents["id"], "n_target_like_qa": 1}).to_parquet(folder / "labels.parquet")
    pairs = read_inputs(str(folder / "documents.parquet"), None, str(folder / "target.parquet"), None).pairs
    table = pd.DataFrame([{"doc_id": p.document_id, "question": p.question, "answer": p.answer} for p in pairs])
    table.to_parquet(folder / "pairs.parquet")
    table.head(6).assign(seed=0).to_parquet(folder / "added.parquet")
    tokenizer = build_tokenizer(documents["text"].tolist(), folder / "model", vocabulary=600)
    build_language_model(tokenizer, folder / "model", seed=0)
    given = {name: folder / f"{name}.parquet" for name in ("documents", "pairs", "target", "labels")}
    given |= {"model": folder / "model", "clusters": 5, "seeds": 1, "budget": 0.3, "steps": 12, "equal-pairs": 8}
    given |= {"batch": 4, "items": 6, "outside": 3, "dtype": "float32", "judged": "nearest-5"}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))] + ["--arms", *ARMS]


def run(capsys: pytest.CaptureFixture[str], flags: list[str], cache: Path, *more: str) -> tuple[dict, int]:
    """The result, and how many cells were trained."""
    before = {path: path.stat().st_mtime_ns for path in cache.glob("*.json")}
    with pytest.raises(SystemExit) as ended:
        training.main([*flags, "--cache", str(cache), *more])
    assert ended.value.code == 0
    after = {path: path.stat().st_mtime_ns for path in cache.glob("*.json")}
    assert before.items() <= after.items()  # what was there is as it was
    return json.loads(capsys.readouterr().out.splitlines()[-1]), len(after) - len(before)


def losses(result: dict, exam: str = "target") -> dict[tuple[str, str], float]:
    """Means by regime and arm."""
    return {
        (regime, arm): of[f"{exam}_loss"]["mean"]
        for regime, told in result["regimes"].items()
        for arm, of in told["arms"].items()
    }


def test_trainings_are_kept_and_a_killed_run_goes_on(flags, tmp_path, capsys):
    whole, trained = run(capsys, flags, tmp_path / "whole")
    assert trained == 5  # the untouched model is scored once, two arms are trained in two regimes
    told = losses(whole)
    assert len(told) == 6 and told["steps", "untouched"] == told["pairs", "untouched"]
    assert len({told[regime, arm] for regime in ("steps", "pairs") for arm in ARMS}) == 5
    assert told["steps", "nearest-5"] < told["steps", "untouched"]  # a random model learns
    assert whole["bought"]["nearest-5"]["money"][0] <= 0.3 and whole["promises"] == {"within_budget": True}
    again, trained = run(capsys, flags, tmp_path / "whole")
    assert (losses(again), trained) == (told, 0)

    cache = tmp_path / "killed"
    command = ["-m", "tests.benchmarks.training", *flags, "--cache", str(cache)]
    process = processes.start(command, tmp_path / "log")
    while len(list(cache.glob("*.json"))) < 2 and process.poll() is None:
        time.sleep(0.01)
    processes.kill(process)
    there = {path.name for path in cache.glob("*.json")}
    assert len(there) >= 2, (tmp_path / "log").read_text()[-3000:]
    resumed, trained = run(capsys, flags, cache)
    assert trained == 5 - len(there)
    assert {path.name for path in cache.glob("*.json")} == {path.name for path in (tmp_path / "whole").glob("*.json")}
    assert losses(resumed) == pytest.approx(told)
    assert losses(resumed, "outside") == pytest.approx(losses(whole, "outside"))


def test_what_decides_a_training_trains_again(flags, tmp_path, capsys):
    few = [*flags, "--regimes", "steps"]
    first, trained = run(capsys, few, tmp_path)
    assert trained == 3
    # Other steps: both arms. The untouched model stays scored.
    assert run(capsys, few, tmp_path, "--steps", "6")[1] == 2
    # Other items: everything.
    assert run(capsys, few, tmp_path, "--items", "5")[1] == 3
    # A new arm: it alone.
    added, trained = run(capsys, few, tmp_path, "--add", "mine", tmp_path_of(flags, "added"))
    assert trained == 1 and added["bought"]["mine"]["pairs"] == [6]
    assert {key: value for key, value in losses(added).items() if key[1] != "mine"} == losses(first)
    # Exact match: asked of one item.
    matched, trained = run(capsys, few, tmp_path, "--exact-match", "1", "--arms", "nearest-5")
    assert trained == 1 and matched["regimes"]["steps"]["arms"]["nearest-5"]["exact_match"]["mean"] in (0, 1)
    # Nothing is trained, and what is missing is told.
    shown, trained = run(capsys, few, tmp_path, "--learning-rate", "1e-3", "--only-cached")
    assert trained == 0 and len(shown["missing"]) == 3


def test_the_better_half_is_of_what_ours_bought(flags):
    args = training.parse([*flags, "--arms", "ours", *HALVES])
    inputs = read_inputs(str(args.documents), str(args.pairs), str(args.target), str(args.labels))
    (bought,) = purchases(args, inputs)
    ours = bought["ours"]
    halves = [bought[name] for name in HALVES]
    for half in halves:
        assert len(half.pairs) == len(ours.pairs) // 2 > 0
        assert (half.documents, half.money) == (ours.documents, ours.money)
        left = iter(ours.pairs)
        assert all(pair in left for pair in half.pairs)  # in the order they were bought
    assert halves[0].pairs != ours.pairs[: len(halves[0].pairs)]
    assert halves[0].pairs != halves[1].pairs


def tmp_path_of(flags: list[str], name: str) -> str:
    return str(Path(flags[flags.index("--pairs") + 1]).with_name(f"{name}.parquet"))


def test_differences_are_paired():
    ours = {0: {"loss": 1.0}, 1: {"loss": 2.0}, 2: {"loss": 3.0}}
    theirs = {0: {"loss": 1.5}, 1: {"loss": 2.4}, 2: {"loss": 3.6}, 3: {"loss": 9.0}}
    told = paired_difference(ours, theirs, "loss")
    assert told["seeds"] == 3 and told["mean"] == pytest.approx(-0.5)
    # t of 2 degrees of freedom at 97.5 % is 4.303; the standard deviation is 0.1.
    assert told["high"] - told["mean"] == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)
    assert paired_difference({0: {"loss": 1.0}}, theirs, "loss")["low"] is None
