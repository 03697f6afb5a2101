"""What comparisons of selections share: the files they read, and a setting for each target, embedder and seed."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.report import progress
from tests.benchmarks.selection_embed import CACHE_VARIABLE, EMBEDDERS, embed, make_encoder
from tests.benchmarks.selection_grader import Grader, target_like_pairs
from tests.benchmarks.selection_inputs import UNITS, Inputs, for_target, read_inputs
from tests.benchmarks.selection_replay import Setting, document_costs, make_setting
from tests.benchmarks.selection_texts import TextFeatures

SHARED = ("budget_in", "seeds", "clusters", "reference", "arms_per_round", "documents_per_arm", "grader", "dtype")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say what is read, what budgets are, and how settings are made."""
    parser.add_argument("--documents", required=True)
    parser.add_argument("--pairs")
    parser.add_argument("--targets", required=True, nargs="+")
    parser.add_argument("--labels", nargs="+", help="one for all targets, or one for each")
    parser.add_argument("--budget", type=float, nargs="+", default=[0.1], help="shares of what all documents cost")
    parser.add_argument("--budget-in", choices=UNITS, default="documents")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
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


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a message where the flags do not fit."""
    if not all(0 < budget <= 1 for budget in args.budget):
        parser.error("--budget: shares of what all documents cost, above 0 and up to 1")
    for name in ("seeds", "clusters", "reference", "arms_per_round", "documents_per_arm"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: at least 1")
    if args.labels is not None and len(args.labels) not in (1, len(args.targets)):
        parser.error("--labels: give one file for all targets, or one for each")
    if args.grader and (args.labels is None or not all(0 <= share <= 1 for share in args.grader)):
        parser.error("--grader: two shares from 0 to 1, and --labels to replay its grades from")
    if len({Path(target).stem for target in args.targets}) < len(args.targets):
        parser.error("--targets: two have one name; rename a file")


def read_targets(args: argparse.Namespace) -> dict[str, Inputs]:
    """Documents and pairs with each target, by the target's name."""
    count = len(args.targets)
    labels = [None] * count if args.labels is None else args.labels * (count // len(args.labels))
    first = read_inputs(args.documents, args.pairs, args.targets[0], labels[0])
    others = zip(args.targets[1:], labels[1:], strict=True)
    return {Path(args.targets[0]).stem: first} | {
        Path(target).stem: for_target(first, target, of) for target, of in others
    }


def settings(args: argparse.Namespace, by_target: dict[str, Inputs]) -> Iterator[tuple[str, str, Iterator[Setting]]]:
    """For each embedder and target (their names) the settings of all seeds."""
    first = next(iter(by_target.values()))
    texts = TextFeatures(first.texts)
    for embedder in args.embedder:
        encode = make_encoder(embedder, first.texts, None if args.cache is None else Path(args.cache), args.dtype)
        for target, inputs in by_target.items():
            name = embedder if embedder in EMBEDDERS else Path(embedder).name
            yield target, name, _seeds(args, inputs, texts, encode, f"{target}, {name}")


def _seeds(args: argparse.Namespace, inputs: Inputs, texts: TextFeatures, encode, told: str) -> Iterator[Setting]:
    began = time.monotonic()
    embedded = embed(inputs, encode)
    costs = inputs.costs(args.budget_in)
    truth = target_like_pairs(inputs, texts) if args.grader else None
    for seed in range(args.seeds):
        yield make_setting(
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
            document_costs=document_costs(args.budget_in),
        )
        progress(f"[{told}] seed {seed} done after {time.monotonic() - began:.0f} s")
