"""Does what the model in training knows change what is selected, and does the model gain by it?

    python -m tests.benchmarks.closed_loop --documents docs.parquet --pairs pairs.parquet --labels labels.parquet \
        --target gsm8k.parquet --embedder MINILM_FOLDER --dtype bfloat16 --model SMOLLM2_FOLDER --cache FOLDER \
        --arms value loss_drop 'pair influence' 'reference gain' --seeds 2
    python -m tests.benchmarks.closed_loop --documents $A/documents.parquet --target $A/target --like sympy. \
        --embedder $A/embedder --model $A/model --cache FOLDER --clusters 120 --documents-per-arm 8 \
        --rows-per-round 128 --rounds 6 --valued-pairs 64 --gradient-items 32 --validation 100 --test-items 200 \
        --learning-rate 1e-3 --steps 96          # A=runs/quickstart_assets, made by `make quickstart`

The same corpus, target, clusters and seeds; each arm selects by the value of documents and

- `value`: by nothing else, so that all can be collected before anything is trained;
- `loss_drop`: the drop of the validation loss pays a round's clusters, with weight 0.25, as the recipes have it, or 1;
  `up and down` is no model's loss but one that falls and rises by the same amount in turn, with weight 0.25, to see
  how much any loss could change;
- `loss_attribution`, `influence`: the reward functions of that name, weight 1;
- `pair influence`: pairs are valued by it, half and half with likeness, or alone;
- `learned`: the same, by how much the loss of a pair fell in the round that trained on it;
- `reference gain`: by how much lower the loss of a pair is after a few steps on the reference than before: no training
  in the loop is needed for that.

The model is trained after each round but the last, on the round's pairs topped up with earlier ones, as the trainer
does it. Then a model is trained from the start on all pairs of each selection, with equal steps and a rate that
decays, and the loss of test items is measured; for `value`, also after as many steps round by round at a constant
rate, and (added after the first run, to tell order from rate) after one training at a constant rate. Everything is
kept in the cache by what led to it, so a run that was interrupted goes on, and arms that drew the same share it. The
last line is JSON.

Hypotheses, written before the runs: loss rewards change less than a tenth of the documents, and no test loss by more
than two standard errors; influence of pairs changes more than a fifth, finds fewer target-like pairs, and its test
loss is lower. Rule: the closed loop is the default only if the test loss of some arm is lower than that of value alone
by two standard errors with one model and not higher by as much with the other; else all is collected first, then
trained on once.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.closed_loop_model import LoopModel
from tests.benchmarks.closed_loop_replay import ARMS, ClosedLoop
from tests.benchmarks.report import progress
from tests.benchmarks.selection_embed import embed, make_encoder
from tests.benchmarks.selection_grader import target_like_pairs
from tests.benchmarks.selection_inputs import Inputs, read_inputs
from tests.benchmarks.selection_replay import Setting, make_setting
from tests.benchmarks.selection_texts import TextFeatures


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", required=True)
    parser.add_argument("--pairs", help="where left out, the pairs that documents state")
    parser.add_argument("--target", required=True)
    parser.add_argument("--labels", help="for the count of target-like pairs alone")
    parser.add_argument("--like", help="without labels: pairs of documents whose id begins so count as target-like")
    parser.add_argument("--embedder", default="marks", help="marks, words, or a sentence-transformers folder")
    parser.add_argument("--dtype", default="float32", help="precision of an embedder in a folder")
    parser.add_argument("--embeddings", type=Path, help="where they are kept")
    parser.add_argument("--model", type=Path, required=True, help="a model's folder; of a GGUF an adapter is trained")
    parser.add_argument("--cache", type=Path, default=Path("closed_loop_cache"))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--reference-items", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arms-per-round", type=int, default=10)
    parser.add_argument("--documents-per-arm", type=int, default=4)
    parser.add_argument("--rows-per-round", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--warm-up", type=int, default=2, help="steps")
    parser.add_argument("--valued-pairs", type=int, default=32)
    parser.add_argument("--gradient-items", type=int, default=24)
    parser.add_argument("--validation", type=int, default=24, help="items whose loss pays")
    parser.add_argument("--tuning-steps", type=int, default=4, help="on the reference, for the gain")
    parser.add_argument("--steps", type=int, default=20, help="of each selection's own training")
    parser.add_argument("--test-items", type=int, default=40)
    return parser.parse_args(argv)


def labels_by_prefix(inputs: Inputs, prefix: str) -> np.ndarray:
    """Which pairs are of documents whose id begins so."""
    of = np.repeat([identifier.startswith(prefix) for identifier in inputs.ids], np.diff(inputs.starts))
    return np.asarray(of, dtype=bool)


def one_seed(setting: Setting, truth: np.ndarray | None, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What each arm drew and what a model makes of it."""

    @functools.cache
    def model() -> LoopModel:
        return LoopModel(args.model, setting.inputs, setting.items, args, setting.seed, args.cache)

    told: dict[str, dict[str, Any]] = {}
    first: list[np.ndarray] = []
    for name in args.arms:
        began = time.monotonic()
        loop = ClosedLoop(ARMS[name], setting, model)
        drawn = loop.select(args.rounds)
        first = first or loop.rounds
        result: dict[str, Any] = {
            "documents": drawn.tolist(),
            "pairs": len(loop.places),
            "useful": int(sum(loop.selector.useful)),
            "target_like": None if truth is None else int(truth[loop.places].sum()),
            "rounds_changed": [
                round(1 - len(np.intersect1d(own, of)) / len(own), 3)
                for own, of in zip(loop.rounds, first, strict=True)
            ],
            "selected_s": round(time.monotonic() - began, 1),
        }
        result["test_loss"] = model().test_loss(loop.places)
        if name == "value":
            result["test_loss_constant_rate"] = model().test_loss(loop.places, decays=False)
            result["test_loss_by_rounds"] = model().test_loss_of_rounds(loop.history)
            result["test_loss_untouched"] = model().untouched
        told[name] = result
        progress(f"seed {setting.seed}, {name}: {time.monotonic() - began:.0f} s, test loss {result['test_loss']:.4f}")
    model().forget()
    base = set(told[args.arms[0]]["documents"])
    for result in told.values():
        own = set(result.pop("documents"))
        result["changed"] = round(1 - len(own & base) / len(own), 4)
    return told


def compare(seeds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Means over the seeds, and differences of test loss to the first arm, paired, with their standard error."""
    names, summary = list(seeds[0]), {}
    base = np.array([one[names[0]]["test_loss"] for one in seeds])
    for name in names:
        own = [one[name] for one in seeds]
        differences = np.array([one["test_loss"] for one in own]) - base
        error = round(float(differences.std(ddof=1) / np.sqrt(len(own))), 4) if len(own) > 1 else None
        row = {
            key: round(float(np.mean([one[key] for one in own])), 4)
            for key in ("changed", "pairs", "useful", "target_like", "test_loss", "selected_s")
            if own[0][key] is not None
        }
        row |= {"difference": round(float(differences.mean()), 4), "standard_error": error}
        for key in ("test_loss_constant_rate", "test_loss_by_rounds", "test_loss_untouched"):
            if key in own[0]:
                row[key] = round(float(np.mean([one[key] for one in own])), 4)
        summary[name] = row
    return summary


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    args = parse(argv)
    began = time.monotonic()
    inputs = read_inputs(args.documents, args.pairs, args.target, args.labels)
    texts = TextFeatures(inputs.texts)
    embedded = embed(inputs, make_encoder(args.embedder, inputs.texts, args.embeddings, args.dtype))
    truth = target_like_pairs(inputs, texts) if args.labels else None
    truth = labels_by_prefix(inputs, args.like) if args.like else truth
    seeds = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        setting = make_setting(
            inputs,
            embedded,
            texts,
            seed,
            clusters=args.clusters,
            n_reference=args.reference_items,
            arms=args.arms_per_round,
            documents=args.documents_per_arm,
            costs=inputs.costs("documents"),
        )
        seeds.append(one_seed(setting, truth, args))
    summary = compare(seeds)
    print(f"{'arm':26}{'changed':>9}{'pairs':>8}{'useful':>8}{'like':>8}{'test loss':>11}{'± to value':>20}")
    for name, row in summary.items():
        found = (
            f"{row['changed']:9.1%}{row['pairs']:8.0f}{row['useful']:8.0f}{row.get('target_like', float('nan')):8.0f}"
        )
        spread = "" if row["standard_error"] is None else f" ± {row['standard_error']:.4f}"
        print(f"{name:26}{found}{row['test_loss']:11.4f}{row['difference']:+12.4f}{spread}")
    settings = {name: value if not isinstance(value, Path) else value.name for name, value in vars(args).items()}
    result = {"arms": summary, "seeds": seeds, "settings": settings, "seconds": round(time.monotonic() - began)}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
