"""Does selection give a better model than the simple ways, for the same money? A pre-trained model says so.

    python -m tests.benchmarks.training --model SMOLLM2_FOLDER --embedder MINILM_FOLDER --cache FOLDER

Documents, pairs, targets, policies and the price of extraction are those of the selection benchmark: every policy buys
documents of the same money in its order, and gets their pairs as a perfect extractor would return them. On each
purchase the same model is trained from the same start, with a LoRA adapter on every linear layer, and then scored:

- `target_loss`: loss a token of the target's test answers, calculator annotations `<<…>>` taken out;
- `outside_loss`: of documents of domains in which no document holds a pair, which no arm can be trained on: what was
  forgotten;
- `exact_match` of the first `--exact-match` items, greedy; left out by default, it takes longer than a training.

Two regimes: `steps`, all pairs that an arm bought for so many steps, those of an arm with fewer of them seen more
often; and `pairs`, as many pairs of every arm, drawn at random, for the same steps. `all` is trained on the pairs of
all documents, which cost more money than the budget; `untouched` is the model as it was.

Every (arm, seed, regime) is kept in `--cache` as soon as it is done, by all that decides it: a run that was killed
repeats the one it was at. `--add NAME FILE` compares pairs from elsewhere. Differences are paired over seeds, with
95 % t intervals. Without the model or the data it says so and measures nothing. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from equal_hf.target import without_annotations
from equal_hf.types import QAPair
from tests.benchmarks.pair_value import MODEL_PACKAGE, missing
from tests.benchmarks.report import conclude, progress
from tests.benchmarks.selection_embed import CACHE_VARIABLE
from tests.benchmarks.selection_inputs import Inputs, read_inputs
from tests.benchmarks.training_arms import ALL, NAMES, UNTOUCHED, Bought, purchases, read_pairs
from tests.benchmarks.training_model import Cells, Exams, Regime, Student, Training
from tests.benchmarks.training_table import Scores, differences, show, summarise

ARMS = [UNTOUCHED, "uniform", "bm25", "nearest-5", "cal", "ours", ALL]
ITEM_TOKENS, OUTSIDE_TOKENS = 512, 256

Tables = dict[str, dict[str, dict[int, dict[str, float]]]]  # regime → arm → seed → numbers


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    data = Path(os.environ.get("EQUAL_DATA", "../shared/data"))
    spec = find_spec(MODEL_PACKAGE)
    found = Path(spec.origin).parent if spec is not None and spec.origin else Path(MODEL_PACKAGE)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, default=data / "math_web.parquet", help="id, text, domain")
    parser.add_argument("--pairs", type=Path, default=data / "math_web_pairs.parquet")
    parser.add_argument("--target", type=Path, default=data / "targets/gsm8k.parquet")
    parser.add_argument("--labels", type=Path, default=data / "math_web_labels.parquet")
    parser.add_argument("--part", choices=("test", "validation"), default="test", help="of the target, that scores")
    parser.add_argument("--embedder", default="marks", help="marks, words, or a sentence-transformers folder")
    parser.add_argument("--embedder-dtype", default="float32")
    parser.add_argument("--embeddings", type=Path, default=os.environ.get(CACHE_VARIABLE), help="where they are kept")
    parser.add_argument("--reference", type=int, default=100, help="items of the reference part used")
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--budget", type=float, default=0.05, help="share of the money that all documents cost")
    parser.add_argument("--arms", nargs="+", choices=NAMES, default=ARMS, metavar="ARM", help=", ".join(NAMES))
    parser.add_argument("--add", nargs=2, action="append", default=[], metavar=("NAME", "FILE"), help="pairs, Parquet")
    parser.add_argument("--judged", default="ours", help="the arm that the others are compared to")
    parser.add_argument("--regimes", nargs="+", choices=("steps", "pairs"), default=["steps", "pairs"])
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--equal-pairs", type=int, default=64, help="pairs of every arm in the regime `pairs`")
    parser.add_argument("--learning-rate", type=float, default=Training.learning_rate)
    parser.add_argument("--items", type=int, default=100, help="items of the target scored")
    parser.add_argument("--outside", type=int, default=16, help="documents outside the target scored")
    parser.add_argument("--exact-match", type=int, default=0, metavar="ITEMS")
    parser.add_argument("--model", type=Path, default=found, help="a model's folder; a GGUF file in it is dequantised")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the products")
    parser.add_argument("--cache", type=Path, default=Path("training_cache"), help="where finished trainings are kept")
    parser.add_argument("--only-cached", action="store_true", help="show what is there and train nothing")
    args = parser.parse_args(argv)
    args.targets = args.target
    if clash := {name for name, _ in args.add} & set(NAMES):
        parser.error(f"--add: {', '.join(sorted(clash))} is an arm's name already")
    return args


def outside_texts(documents: Path, inputs: Inputs, count: int) -> list[str]:
    """Documents of domains without a single pair; where there are no domains, documents without a pair."""
    import pandas as pd

    without = np.diff(inputs.starts) == 0
    frame = pd.read_parquet(documents)
    domains = frame["domain"] if "domain" in frame else pd.Series(range(len(frame)))
    barren = pd.Series(without).groupby(domains.to_numpy()).transform("all").to_numpy()
    places = np.random.default_rng(0).permutation(np.flatnonzero(barren))[:count]
    return [inputs.texts[place] for place in np.sort(places)]


def make_exams(args: argparse.Namespace, inputs: Inputs, student: Student) -> Exams:
    """The same items for every arm and seed."""
    items = getattr(inputs.target, args.part)
    chosen = [items[place] for place in np.random.default_rng(0).permutation(len(items))[: args.items]]
    shown = map(without_annotations, chosen)
    rows = [student.row(QAPair(item.question, item.answer, ""), ITEM_TOKENS) for item in shown]
    outside = [student.text_row(text, OUTSIDE_TOKENS) for text in outside_texts(args.documents, inputs, args.outside)]
    losses = {"target": [row for row in rows if row is not None]} | ({"outside": outside} if outside else {})
    return Exams(losses, [item for item in chosen if item.final][: args.exact_match])


def train_all(args: argparse.Namespace, cells: Cells, bought: list[dict[str, Bought]]) -> tuple[Tables, list[str]]:
    """Every cell, regime by regime and seed by seed; and the names of those that are not there."""
    regimes = [Regime(name, args.steps, args.equal_pairs if name == "pairs" else None) for name in args.regimes]
    wanted = [
        (regime, seed, name, of) for regime in regimes for seed, arms in enumerate(bought) for name, of in arms.items()
    ]
    tables: Tables = {regime.name: {name: {} for name in bought[0]} for regime in regimes}
    absent, spent, trained = [], 0.0, 0
    to_do = sum(not path.exists() for path in {cells.path(name, of.pairs, seed, at) for at, seed, name, of in wanted})
    for regime, seed, name, of in wanted:
        cell, kept = f"{name}, seed {seed}, equal {regime.name}", cells.path(name, of.pairs, seed, regime).exists()
        if args.only_cached and not kept:
            absent.append(cell)
            continue
        began = time.monotonic()
        numbers = dict(cells.run(name, of.pairs, seed, regime))
        if not kept:
            spent, trained = spent + time.monotonic() - began, trained + 1
            told = " ".join(f"{key} {value:.4f}" for key, value in numbers.items() if key.endswith("_loss"))
            speed = numbers["train_tokens"] / numbers["train_seconds"] if "train_tokens" in numbers else 0.0
            left = max(0, to_do - trained) * spent / trained / 60
            progress(f"{cell}: {told}; {speed:.0f} tokens a second of training; {left:.0f} minutes left")
        if of.target_like is not None and of.pairs is not None and regime.pairs is None:
            numbers["target_like"] = float(of.target_like)
        tables[regime.name][name][seed] = numbers
    return tables, absent


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, bool]]:
    began = time.monotonic()
    inputs = read_inputs(str(args.documents), str(args.pairs), str(args.target), str(args.labels))
    bought = [
        arms | {name: read_pairs(file, seed) for name, file in args.add}
        for seed, arms in enumerate(purchases(args, inputs))
    ]
    student = Student(
        args.model, Training(batch=args.batch, learning_rate=args.learning_rate), args.device, args.dtype
    )
    exams = make_exams(args, inputs, student)
    tables, absent = train_all(args, Cells(args.cache, student, exams), bought)
    result: dict[str, Any] = {
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "bought": {
            name: {
                "documents": [arms[name].documents for arms in bought],
                "pairs": [len(arms[name].pairs or ()) for arms in bought],
                "money": [round(arms[name].money, 4) for arms in bought],
            }
            for name in bought[0]
        },
        "regimes": {},
        "missing": absent,
        "tokens_a_second": tokens_a_second(tables),
        "seconds": round(time.monotonic() - began, 1),
    }
    for regime, table in tables.items():
        print(f"\nequal {regime}, mean ± standard deviation over seeds; differences with 95 % intervals\n")
        show(table, args.judged)
        numbers = ("target_loss", "outside_loss", *(("exact_match",) if args.exact_match else ()))
        result["regimes"][regime] = {
            "arms": {name: summarise(scores) for name, scores in table.items()},
            "differences": differences(table, args.judged, numbers),
        }
    spent = [of.money for arms in bought for name, of in arms.items() if name != ALL]
    return result, {"within_budget": all(money <= args.budget * (1 + 1e-6) for money in spent)}


def tokens_a_second(tables: dict[str, dict[str, Scores]] | Tables) -> float | None:
    """Of all trainings together."""
    runs = [of for table in tables.values() for scores in table.values() for of in scores.values()]
    seconds = sum(of.get("train_seconds", 0.0) for of in runs)
    return round(sum(of.get("train_tokens", 0.0) for of in runs) / seconds, 1) if seconds else None


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if (reason := missing(args)) is not None:
        progress(f"skipped: {reason}")
        print(json.dumps({"skipped": reason}))
        return
    conclude(*measure(args))


if __name__ == "__main__":
    main()
