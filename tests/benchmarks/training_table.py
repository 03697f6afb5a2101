"""Losses of trained models as a table: means and spreads, and differences with paired intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95
SHOWN = ("pairs", "target_like", "target_loss", "outside_loss", "exact_match")

Scores = Mapping[int, Mapping[str, float]]  # seed → numbers


def paired_difference(ours: Scores, theirs: Scores, number: str) -> dict[str, Any]:
    """Mean of ours minus theirs over the seeds that both have, with its t interval (`None` for one seed)."""
    seeds = sorted(seed for seed in ours.keys() & theirs.keys() if number in ours[seed] and number in theirs[seed])
    differences = np.array([ours[seed][number] - theirs[seed][number] for seed in seeds])
    told: dict[str, Any] = {"mean": None, "low": None, "high": None, "seeds": len(seeds)}
    if len(seeds):
        told["mean"] = float(differences.mean())
    if len(seeds) > 1:
        half = t.ppf((1 + CONFIDENCE) / 2, len(seeds) - 1) * differences.std(ddof=1) / math.sqrt(len(seeds))
        told |= {"low": told["mean"] - float(half), "high": told["mean"] + float(half)}
    return told


def summarise(scores: Scores) -> dict[str, dict[str, float]]:
    """Mean and spread (standard deviation over seeds) of every number that all seeds have."""
    common = set.intersection(*(set(numbers) for numbers in scores.values())) if scores else set()
    told = {}
    for name in sorted(common):
        values = [numbers[name] for numbers in scores.values()]
        told[name] = {"mean": float(np.mean(values)), "spread": float(np.std(values, ddof=len(values) > 1))}
    return told


def show(table: Mapping[str, Scores], judged: str) -> None:
    """A Markdown table of one regime: each arm's numbers, and what the judged arm has more or less of them."""
    numbers = [number for number in SHOWN if any(number in of for scores in table.values() for of in scores.values())]
    differences = [number for number in numbers if number.endswith("_loss") or number == "exact_match"]
    differences = differences if judged in table else []
    heads = ["arm", "seeds", *numbers, *(f"{judged} − arm, {number}" for number in differences)]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for name, scores in table.items():
        of = summarise(scores)
        cells = [name, str(len(scores)), *(_number(of.get(number), number) for number in numbers)]
        for number in differences:
            told = paired_difference(table[judged], scores, number)
            cells.append("" if name == judged or told["mean"] is None else _difference(told))
        print("| " + " | ".join(cells) + " |")


def _number(of: Mapping[str, float] | None, name: str) -> str:
    if of is None:
        return ""
    places = 4 if name.endswith("_loss") else 3 if name == "exact_match" else 0
    return f"{of['mean']:,.{places}f} ± {of['spread']:.{places}f}"


def _difference(told: Mapping[str, Any]) -> str:
    interval = "" if told["low"] is None else f" [{told['low']:+.4f}, {told['high']:+.4f}]"
    return f"{told['mean']:+.4f}{interval}"


def differences(table: Mapping[str, Scores], judged: str, numbers: Sequence[str]) -> dict[str, Any]:
    """For each number and other arm the judged arm's difference to it."""
    return {
        number: {name: paired_difference(table[judged], scores, number) for name, scores in table.items()}
        for number in numbers
        if judged in table
    }
