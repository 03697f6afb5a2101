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
import time
from collections.abc import Iterable, Sequence

import numpy as np

from equal_hf.selection.optimal_transport import transport_cost
from equal_hf.selection.pair_sample import HashPool
from tests.benchmarks.selection_inputs import affordable
from tests.benchmarks.selection_policies import BASELINES, GRADED, POLICIES
from tests.benchmarks.selection_replay import Setting, select
from tests.benchmarks.selection_settings import SHARED, add_arguments, check_arguments, read_targets, settings
from tests.benchmarks.selection_table import Runs, compare_policies, show, show_ratios, summarise

TRANSPORT_PAIRS, TRANSPORT_ITEMS = 1_000, 250
OURS = "ours"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--policies", nargs="+", metavar="POLICY", help=f"beside the baselines: {', '.join([*POLICIES, *GRADED])}; all"
    )
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
    check_arguments(parser, args)
    known = POLICIES | (GRADED if args.grader else {})
    asked = args.policies or [OURS, *(GRADED if args.grader else ())]
    asked = list(known) if asked == ["all"] else asked
    if unknown := [name for name in asked if name not in known]:
        needed = "; graded ones need --grader" if set(unknown) & set(GRADED) else ""
        parser.error(f"unknown policies {', '.join(unknown)}: choose from {', '.join(known)}, or all{needed}")
    args.compared = {name: known[name] for name in [*BASELINES, *asked]}
    if args.train and len(args.targets) > 1:
        parser.error("--train: takes one target")
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


def run_seeds(args: argparse.Namespace, settings: Iterable[Setting]) -> dict[str, dict[str, list[dict[str, float]]]]:
    """All policies on the settings of one target and embedder: budget → policy → numbers of each seed."""
    runs: dict[str, dict[str, list[dict[str, float]]]] = {f"{budget:g}": {} for budget in args.budget}
    for setting in settings:
        whole = float(setting.costs.sum())
        for name, policy in args.compared.items():
            # No policy knows its budget, so a smaller one is the beginning of a larger one.
            drawn = select(policy, setting, max(args.budget) * whole)
            for budget in args.budget:
                bought = affordable(drawn, setting.costs, budget * whole)
                run = measure(setting, bought, args.transport)
                if args.train:
                    run["test_loss"] = args.trainer.loss(setting.inputs.pairs_of(bought), setting.seed)
                runs[f"{budget:g}"].setdefault(name, []).append(run)
    return runs


def main(argv: Sequence[str] | None = None) -> dict:
    args = parse(argv)
    began = time.monotonic()
    by_target = read_targets(args)
    inputs = next(iter(by_target.values()))
    useful = {name: None if of.labels is None else int(of.labels.sum()) for name, of in by_target.items()}
    print(f"{len(inputs.ids)} documents, {len(inputs.pairs)} pairs; target-like: {useful}", flush=True)
    result: dict = {
        "documents": len(inputs.ids),
        "pairs": len(inputs.pairs),
        "target_like": useful,
        "settings": {name: getattr(args, name) for name in SHARED},
        "embedders": {},
    }
    if args.train:
        from tests.benchmarks.selection_train import SmallModel

        args.trainer = SmallModel(inputs, steps=args.train_steps)
        losses = [{"test_loss": args.trainer.loss(np.arange(len(inputs.pairs)), seed)} for seed in range(args.seeds)]
        result["all_documents"] = summarise(losses)
        print(f"all documents: test loss {result['all_documents']['test_loss']}", flush=True)
    tables: dict[str, dict[str, Runs]] = {}
    for target, embedder, seeds in settings(args, by_target):
        for budget, table in run_seeds(args, seeds).items():
            name = f"{target}, {embedder}, {float(budget):.0%}"
            tables[name] = table
            print(f"\n{name} of the {args.budget_in}, {args.seeds} seeds: mean ± spread")
            show(table)
            at = result["embedders"].setdefault(embedder, {}).setdefault(target, {})
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
