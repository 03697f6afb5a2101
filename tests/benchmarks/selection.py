"""Which selection finds what the target needs, inside a budget? Replayed on given pairs: no LLM, no network.

    python -m tests.benchmarks.selection --documents docs.parquet --pairs pairs.parquet --targets target.parquet \\
        --labels labels.parquet --budget 0.05 0.1 --seeds 5

Documents: `id`, `text`. Pairs: `doc_id`, `question`, `answer`; left out, what the documents state themselves. Targets:
`question`, `answer`, `split` (reference, validation, test), or a folder with such splits. Labels: `id`,
`n_target_like_qa`; scores alone read them. A drawn document costs its tokens and gives its pairs. All policies of a
seed share embedder, reference sample and clusters.

`transport` is the distance of (a sample of) the pairs found to the target's validation part. Read it beside the yield:
a pool of look-alikes can score better than all useful pairs together.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

import numpy as np

from equal_hf.selection.optimal_transport import transport_cost
from equal_hf.selection.pair_sample import HashPool
from tests.benchmarks.selection_inputs import EMBEDDERS, Embedded, Inputs, embed, read_inputs
from tests.benchmarks.selection_policies import BASELINES, COMPARED, POLICIES
from tests.benchmarks.selection_replay import make_setting, select, tokens

TRANSPORT_PAIRS, TRANSPORT_ITEMS = 1_000, 250


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", required=True)
    parser.add_argument("--pairs")
    parser.add_argument("--targets", required=True)
    parser.add_argument("--labels")
    parser.add_argument("--budget", type=float, nargs="+", default=[0.1], help="shares of the documents")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--policies", nargs="+", default=list(COMPARED), metavar="POLICY", help=", ".join(POLICIES))
    parser.add_argument("--embedder", nargs="+", default=["marks"], help=f"{', '.join(EMBEDDERS)}, or a folder")
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--reference", type=int, default=100, help="items of the reference part used")
    parser.add_argument("--arms-per-round", type=int, default=5)
    parser.add_argument("--documents-per-arm", type=int, default=3)
    parser.add_argument(
        "--train", action="store_true", help="also train a small LM on each selection, on its test part"
    )
    parser.add_argument("--train-steps", type=int, default=150)
    args = parser.parse_args(argv)
    if args.policies == ["all"]:
        args.policies = list(POLICIES)
    if unknown := set(args.policies) - set(POLICIES):
        parser.error(f"unknown policies {', '.join(sorted(unknown))}: choose from {', '.join(POLICIES)}, or all")
    if not all(0 < budget <= 1 for budget in args.budget):
        parser.error("--budget: shares of the documents, above 0 and up to 1")
    return args


def measure(inputs: Inputs, embedded: Embedded, drawn: np.ndarray) -> dict[str, float]:
    """What a selection found and what it cost."""
    places = inputs.pairs_of(drawn)
    every = tokens(inputs, np.arange(len(inputs.ids)))
    result = {
        "documents_share": len(drawn) / len(inputs.ids),
        "tokens_share": float(every[drawn].sum() / every.sum()),
        "pairs": float(len(places)),
    }
    if inputs.labels is not None:
        result["target_like"] = float(inputs.labels[drawn].sum())
    if len(places) and len(embedded.held_out):
        pool = HashPool(TRANSPORT_PAIRS)
        pool.add([inputs.pairs[place] for place in places], embedded.pairs[places])
        result["transport"] = transport_cost(pool.embeddings, embedded.held_out[:TRANSPORT_ITEMS])
    return result


def summarise(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and spread (standard deviation) over seeds of every number."""
    spread = 1 if len(runs) > 1 else 0
    return {
        name: {
            "mean": float(np.mean([run[name] for run in runs])),
            "spread": float(np.std([run[name] for run in runs], ddof=spread)),
        }
        for name in runs[0]
    }


def compare(args: argparse.Namespace, inputs: Inputs, embedder: str) -> dict[str, dict[str, dict]]:
    """All policies on one embedder: budget → policy → number → mean and spread."""
    began = time.monotonic()
    embedded = embed(inputs, embedder)
    print(f"[{embedder}] embedded in {time.monotonic() - began:.0f} s", flush=True)
    budgets = {f"{budget:g}": max(1, int(budget * len(inputs.ids))) for budget in args.budget}
    runs: dict[str, dict[str, list[dict[str, float]]]] = {budget: {} for budget in budgets}
    for seed in range(args.seeds):
        setting = make_setting(
            embedded,
            seed,
            clusters=min(args.clusters, len(inputs.ids)),
            n_reference=args.reference,
            arms=args.arms_per_round,
            documents=args.documents_per_arm,
        )
        for name in args.policies:
            # No policy knows its budget, so a smaller one is the beginning of a larger one.
            drawn = select(POLICIES[name], setting, inputs, embedded, max(budgets.values()))
            for budget, size in budgets.items():
                run = measure(inputs, embedded, drawn[:size])
                if args.train:
                    run["test_loss"] = args.trainer.loss(inputs.pairs_of(drawn[:size]), seed)
                runs[budget].setdefault(name, []).append(run)
        print(f"[{embedder}] seed {seed} done after {time.monotonic() - began:.0f} s", flush=True)
    return {budget: {name: summarise(of) for name, of in by_name.items()} for budget, by_name in runs.items()}


def best_baseline(table: dict[str, dict], number: str, least: bool) -> str | None:
    known = [name for name in BASELINES if name in table and number in table[name]]
    return (min if least else max)(known, key=lambda name: table[name][number]["mean"], default=None)


def show(table: dict[str, dict[str, dict[str, float]]], out=sys.stdout) -> None:
    numbers = {"target_like": ".0f", "pairs": ".0f", "transport": ".4f", "tokens_share": ".3f", "test_loss": ".3f"}
    shown = [number for number in numbers if number in next(iter(table.values()))]
    print(f"{'':20}" + "".join(f"{number:>20}" for number in shown), file=out)
    for name, of in table.items():
        cells = [f"{of[n]['mean']:{numbers[n]}} ± {of[n]['spread']:{numbers[n]}}" for n in shown]
        print(f"{name:20}" + "".join(f"{cell:>20}" for cell in cells), file=out)


def main(argv: Sequence[str] | None = None) -> dict:
    args = parse(argv)
    began = time.monotonic()
    inputs = read_inputs(args.documents, args.pairs, args.targets, args.labels)
    print(
        f"{len(inputs.ids)} documents, {len(inputs.pairs)} pairs"
        + ("" if inputs.labels is None else f", {inputs.labels.sum()} of them target-like")
    )
    result: dict = {
        "documents": len(inputs.ids),
        "pairs": len(inputs.pairs),
        "target_like": None if inputs.labels is None else int(inputs.labels.sum()),
        "seeds": args.seeds,
        "settings": {
            name: getattr(args, name) for name in ("clusters", "reference", "arms_per_round", "documents_per_arm")
        },
        "embedders": {},
    }
    if args.train:
        from tests.benchmarks.selection_train import SmallModel

        args.trainer = SmallModel(inputs, steps=args.train_steps)
        losses = [{"test_loss": args.trainer.loss(np.arange(len(inputs.pairs)), seed)} for seed in range(args.seeds)]
        result["all_documents"] = summarise(losses)
        print(f"all documents: test loss {result['all_documents']['test_loss']}", flush=True)
    for embedder in args.embedder:
        tables = compare(args, inputs, embedder)
        result["embedders"][embedder] = tables
        for budget, table in tables.items():
            print(f"\n{embedder}, {float(budget):.0%} of the documents, {args.seeds} seeds: mean ± spread")
            show(table)
            for number, least in (("target_like", False), ("test_loss", True)):
                best = best_baseline(table, number, least)
                if best is not None and number in table.get("ours", {}):
                    ratio = table["ours"][number]["mean"] / table[best][number]["mean"]
                    print(f"ours / best baseline ({best}), {number}: {ratio:.3f}")
    result["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
