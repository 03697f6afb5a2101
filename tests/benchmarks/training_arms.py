"""What each arm of a comparison of trainings trains on: all, nothing, what a policy buys or half of it, or a file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from equal_hf.selection.round_values import PairValues
from equal_hf.types import Decision, QAPair, Round
from tests.benchmarks.selection_answer_form import AnswerLengths
from tests.benchmarks.selection_inputs import Inputs
from tests.benchmarks.selection_policies import POLICIES
from tests.benchmarks.selection_replay import Setting, select
from tests.benchmarks.selection_settings import add_arguments, check_arguments, settings

UNTOUCHED, ALL = "untouched", "all"
HALVES = ("ours-better-half", "ours-better-half-length")  # of the pairs of `ours`, by value
NAMES = (UNTOUCHED, ALL, *POLICIES, *HALVES)


@dataclass(frozen=True)
class Bought:
    """What an arm trains on.

    Args:
        pairs (`Sequence[QAPair]`, *optional*): In the order they were bought; `None` for the untouched model.
        documents (`int`): Documents bought.
        money (`float`): What they cost, as a share of what all documents cost.
        target_like (`int`, *optional*): Pairs that the labels call target-like.
    """

    pairs: Sequence[QAPair] | None
    documents: int = 0
    money: float = 0.0
    target_like: int | None = None


def selection_arguments(args: argparse.Namespace) -> argparse.Namespace:
    """The selection benchmark's own flags, budgets in money, for one target and one embedder."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    told = ["--documents", str(args.documents), "--pairs", str(args.pairs), "--targets", str(args.target)]
    told += ["--embedder", args.embedder, "--dtype", args.embedder_dtype, "--budget-in", "money"]
    told += ["--budget", str(args.budget), "--seeds", str(args.seeds), "--reference", str(args.reference)]
    told += ["--clusters", str(args.clusters)]
    told += [] if args.labels is None else ["--labels", str(args.labels)]
    told += [] if args.embeddings is None else ["--cache", str(args.embeddings)]
    chosen = parser.parse_args(told)
    check_arguments(parser, chosen)
    return chosen


def purchases(args: argparse.Namespace, inputs: Inputs) -> Iterator[dict[str, Bought]]:
    """For each seed what every arm buys with the same money."""
    chosen = selection_arguments(args)
    needed = [name for name in args.arms if name in POLICIES or name in HALVES]
    if not needed:
        yield from ({name: _bought(name, None, inputs, args.budget) for name in args.arms} for _ in range(args.seeds))
        return
    ((_, _, seeds),) = settings(chosen, {args.target.stem: inputs})
    for setting in seeds:
        yield {name: _bought(name, setting, inputs, args.budget) for name in args.arms}


def _bought(name: str, setting: Setting | None, inputs: Inputs, budget: float) -> Bought:
    costs = inputs.costs("money")
    if name in HALVES:
        assert setting is not None
        drawn = select(POLICIES["ours"], setting, budget * float(costs.sum()))
        better = better_half(drawn, setting, by_length=name.endswith("-length"))
        money = float(costs[drawn].sum() / costs.sum())
        return Bought([inputs.pairs[place] for place in better], len(drawn), money)
    if name == UNTOUCHED:
        return Bought(None)
    if name == ALL:
        drawn = np.arange(len(inputs.ids))
    else:
        assert setting is not None
        drawn = select(POLICIES[name], setting, budget * float(costs.sum()))
    labels = inputs.labels
    return Bought(
        pairs=[inputs.pairs[place] for place in inputs.pairs_of(drawn)],
        documents=len(drawn),
        money=float(costs[drawn].sum() / costs.sum()),
        target_like=None if labels is None else int(labels[drawn].sum()),
    )


def better_half(drawn: np.ndarray, setting: Setting, *, by_length: bool = False) -> np.ndarray:
    """Places of the half of the documents' pairs that is worth most, in the order they were bought.

    Pairs are worth what the library says of them once all are known, from the reference alone.

    Args:
        drawn (`np.ndarray`): The documents that were bought.
        setting (`Setting`): Holds pairs, embeddings and the reference.
        by_length (`bool`, *optional*, defaults to `False`): Whether likeness looks at the length of answers, too.
    """
    inputs, own = setting.inputs, setting.profiles
    places = inputs.pairs_of(drawn)
    round = Round(
        0,
        (Decision(0, 0.0, tuple(inputs.ids[document] for document in drawn)),),
        tuple(replace(inputs.pairs[place], cluster=0) for place in places),
    )
    questions = [[item.question for item in setting.items]]
    known = ([setting.reference], own.samples, own.count)
    judge = AnswerLengths(setting.items, *known) if by_length else PairValues(*known, questions=questions)
    values = judge.take(round, setting.embedded.pairs[places]).mixed[:, 0]
    best = np.argsort(-values, kind="stable")[: len(places) // 2]
    return places[np.sort(best)]


def read_pairs(path: str, seed: int) -> Bought:
    """Pairs of a Parquet file (`question`, `answer`; with a column `seed`, those of that seed)."""
    import pandas as pd

    table = pd.read_parquet(path)
    if "seed" in table:
        table = table[table["seed"] == seed]
    pairs = [QAPair(question, answer, "") for question, answer in zip(table["question"], table["answer"], strict=True)]
    if not pairs:
        raise SystemExit(f"{path} holds no pairs of seed {seed}")
    return Bought(pairs)
