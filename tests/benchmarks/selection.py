"""Which selection finds what the target needs, inside a budget? Replayed on given pairs: no LLM, no network.

    python -m tests.benchmarks.selection --documents docs.parquet --pairs pairs.parquet --targets target.parquet \\
        --labels labels.parquet --budget-in money --budget 0.05 0.1 --seeds 5 --embedder marks words --cache embeddings

Documents: `id`, `text`. Pairs: `doc_id`, `question`, `answer`; left out, what the documents state themselves. Targets:
`question`, `answer`, `split` (reference, validation, test), or a folder with such splits; of several every policy is
measured on each. Labels: `id`, `n_target_like_qa`; scores and graders alone read them. All policies of a seed share
embedder, reference sample and clusters, and the baselines are always among them.

A drawn document gives its pairs, as a perfect extractor would return them, and costs a quarter of its characters and
450 tokens as prompt and 120 tokens a pair as completion; in money a completion token costs four prompt tokens. A
budget is a share of what all documents would cost. Every policy buys in its order until the next document is more
than what is left.

With `--grader RECALL FALSE_ALARM` policies are compared too that are given grades: each target-like pair is found with
the one chance, each other pair taken for one with the other; and what true labels would give (`oracle`).

Ratios are geometric means with 95 % intervals over seeds, paired: `more` or `less` where an interval leaves 1 out.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equal_hf.selection.optimal_transport import transport_cost
from equal_hf.selection.pair_sample import HashPool
from tests.benchmarks.report import progress
from tests.benchmarks.selection_embed import CACHE_VARIABLE, EMBEDDERS, embed, make_encoder
from tests.benchmarks.selection_grader import Grader, target_like_pairs
from tests.benchmarks.selection_inputs import UNITS, Inputs, affordable, for_target, read_inputs
from tests.benchmarks.selection_policies import BASELINES, GRADED, POLICIES
from tests.benchmarks.selection_replay import Setting, make_setting, select
from tests.benchmarks.selection_table import Runs, compare_policies, show, show_ratios, summarise
from tests.benchmarks.selection_texts import TextFeatures

TRANSPORT_PAIRS, TRANSPORT_ITEMS = 1_000, 250
OURS = "ours"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", required=True)
    parser.add_argument("--pairs")
    parser.add_argument("--targets", required=True, nargs="+")
    parser.add_argument("--labels", nargs="+", help="one for all targets, or one for each")
    parser.add_argument("--budget", type=float, nargs="+", default=[0.1], help="shares of what all documents cost")
    parser.add_argument("--budget-in", choices=UNITS, default="documents")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument(
        "--policies", nargs="+", metavar="POLICY", help=f"beside the baselines: {', '.join([*POLICIES, *GRADED])}; all"
    )
    parser.add_argument("--embedder", nargs="+", default=["marks"], help=f"{', '.join(EMBEDDERS)}, or a folder")
    parser.add_argument("--dtype", default="float32", help="precision of an embedder in a folder")
    parser.add_argument(
        "--cache", default=os.environ.get(CACHE_VARIABLE), help=f"folder that keeps embeddings; ${CACHE_VARIABLE}"
    )
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--reference", type=int, default=100, help="items of the reference part used")
    parser.add_argument("--arms-per-round", type=int, default=5)
    parser.add_argument("--documents-per-arm", type=int, default=3)
    parser.add_argument("--grader", type=float, nargs=2, metavar=("RECALL", "FALSE_ALARM"))
    parser.add_argument(
        "--transport",
        action="store_true",
        help="also the transport distance of the pairs found to the validation part",
    )
    parser.add_argument(
        "--train", action="store_true", help="also train a small LM on each selection, on its test part"
    )
    parser.add_argument("--train-steps", type=int, default=150)
    args = parser.parse_args(argv)
    known = POLICIES | (GRADED if args.grader else {})
    asked = args.policies or [OURS, *(GRADED if args.grader else ())]
    asked = list(known) if asked == ["all"] else asked
    if unknown := [name for name in asked if name not in known]:
        needed = "; graded ones need --grader" if set(unknown) & set(GRADED) else ""
        parser.error(f"unknown policies {', '.join(unknown)}: choose from {', '.join(known)}, or all{needed}")
    args.compared = {name: known[name] for name in [*BASELINES, *asked]}
    if not all(0 < budget <= 1 for budget in args.budget):
        parser.error("--budget: shares of what all documents cost, above 0 and up to 1")
    if args.labels is not None and len(args.labels) not in (1, len(args.targets)):
        parser.error("--labels: give one file for all targets, or one for each")
    if args.grader and (args.labels is None or not all(0 <= share <= 1 for share in args.grader)):
        parser.error("--grader: two shares from 0 to 1, and --labels to replay its grades from")
    return args


def measure(setting: Setting, drawn: np.ndarray, transport: bool) -> dict[str, float]:
    """What a selection found and what it cost."""
    inputs = setting.inputs
    places = inputs.pairs_of(drawn)
    result = {"documents": float(len(drawn)), "pairs": float(len(places))}
    for unit in ("tokens", "money"):
        costs = inputs.costs(unit)
        result[f"{unit}_share"] = float(costs[drawn].sum() / costs.sum())
    if inputs.labels is not None:
        result["target_like"] = float(inputs.labels[drawn].sum())
    if transport and len(places) and len(setting.embedded.held_out):
        pool = HashPool(TRANSPORT_PAIRS)
        pool.add([inputs.pairs[place] for place in places], setting.embedded.pairs[places])
        result["transport"] = transport_cost(pool.embeddings, setting.embedded.held_out[:TRANSPORT_ITEMS])
    return result


def run_target(
    args: argparse.Namespace, inputs: Inputs, encode, texts: TextFeatures, told: str
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """All policies on one target and embedder: budget → policy → numbers of each seed."""
    began = time.monotonic()
    embedded = embed(inputs, encode)
    progress(f"[{told}] embedded in {time.monotonic() - began:.0f} s")
    costs = inputs.costs(args.budget_in)
    budgets = {f"{budget:g}": budget * float(costs.sum()) for budget in args.budget}
    truth = target_like_pairs(inputs, texts) if args.grader else None
    runs: dict[str, dict[str, list[dict[str, float]]]] = {budget: {} for budget in budgets}
    for seed in range(args.seeds):
        setting = make_setting(
            inputs,
            embedded,
            texts,
            seed,
            clusters=min(args.clusters, len(inputs.ids)),
            n_reference=args.reference,
            arms=args.arms_per_round,
            documents=args.documents_per_arm,
            costs=costs,
            grader=None if truth is None else Grader(truth, *args.grader, seed),
        )
        for name, policy in args.compared.items():
            # No policy knows its budget, so a smaller one is the beginning of a larger one.
            drawn = select(policy, setting, max(budgets.values()))
            for budget, size in budgets.items():
                bought = affordable(drawn, costs, size)
                run = measure(setting, bought, args.transport)
                if args.train:
                    run["test_loss"] = args.trainer.loss(inputs.pairs_of(bought), seed)
                runs[budget].setdefault(name, []).append(run)
        progress(f"[{told}] seed {seed} done after {time.monotonic() - began:.0f} s")
    return runs


def main(argv: Sequence[str] | None = None) -> dict:
    args = parse(argv)
    began = time.monotonic()
    labels = (
        [None] * len(args.targets) if args.labels is None else args.labels * (len(args.targets) // len(args.labels))
    )
    inputs = read_inputs(args.documents, args.pairs, args.targets[0], labels[0])
    by_target = {Path(args.targets[0]).stem: inputs}
    for target, of in zip(args.targets[1:], labels[1:], strict=True):
        by_target[Path(target).stem] = for_target(inputs, target, of)
    if len(by_target) < len(args.targets):
        raise SystemExit("--targets: two have one name; rename a file")
    if args.train and len(by_target) > 1:
        raise SystemExit("--train: takes one target")
    useful = {name: None if of.labels is None else int(of.labels.sum()) for name, of in by_target.items()}
    print(f"{len(inputs.ids)} documents, {len(inputs.pairs)} pairs; target-like: {useful}", flush=True)
    result: dict = {
        "documents": len(inputs.ids),
        "pairs": len(inputs.pairs),
        "target_like": useful,
        "settings": {
            name: getattr(args, name)
            for name in (
                "budget_in", "seeds", "clusters", "reference", "arms_per_round", "documents_per_arm", "grader", "dtype"
            )
        },
        "embedders": {},
    }  # fmt: skip
    if args.train:
        from tests.benchmarks.selection_train import SmallModel

        args.trainer = SmallModel(inputs, steps=args.train_steps)
        losses = [{"test_loss": args.trainer.loss(np.arange(len(inputs.pairs)), seed)} for seed in range(args.seeds)]
        result["all_documents"] = summarise(losses)
        print(f"all documents: test loss {result['all_documents']['test_loss']}", flush=True)
    texts = TextFeatures(inputs.texts)
    cache = None if args.cache is None else Path(args.cache)
    tables: dict[str, dict[str, Runs]] = {}
    for embedder in args.embedder:
        encode = make_encoder(embedder, inputs.texts, cache, args.dtype)
        short = embedder if embedder in EMBEDDERS else Path(embedder).name
        for target, of in by_target.items():
            for budget, table in run_target(args, of, encode, texts, f"{target}, {short}").items():
                name = f"{target}, {short}, {float(budget):.0%}"
                tables[name] = table
                print(f"\n{name} of the {args.budget_in}, {args.seeds} seeds: mean ± spread")
                show(table)
                at = result["embedders"].setdefault(short, {}).setdefault(target, {})
                at[budget] = {policy: summarise(runs) for policy, runs in table.items()}
    result["ratios"] = compare(args, tables)
    result["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result))
    return result


def compare(args: argparse.Namespace, tables: dict[str, dict[str, Runs]]) -> dict:
    """Print and return the ratios to everything else of what is not a baseline: of finds, and of losses if trained."""
    known = next(iter(next(iter(tables.values())).values()))[0]
    numbers = [name for name in ("target_like", "test_loss") if name in known]
    ratios: dict[str, dict] = {}
    for number in numbers:
        for policy in (name for name in args.compared if name not in BASELINES):
            found = compare_policies(tables, policy, number)
            ratios.setdefault(number, {})[policy] = found
            print(f"\n-- {number}, {policy} to others: geometric mean, 95 % interval over seeds")
            show_ratios(policy, found)
    return ratios


if __name__ == "__main__":
    main()
