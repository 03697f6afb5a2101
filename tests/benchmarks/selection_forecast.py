"""Does the forecast of a run hold? The forecasts of replayed runs against what they found then.

    python -m tests.benchmarks.selection_forecast --documents docs.parquet --pairs pairs.parquet \\
        --targets target.parquet --labels labels.parquet --budget-in money --budget 0.05 0.1 --embedder marks words

Files, budgets, settings and grader are those of `tests.benchmarks.selection`. The default policy selects; after each
of its rounds from the fourth on, the forecast of useful pairs in the next 10 %, 50 % and 100 % of what is left of the
budget is held against what came: the share of 80 % intervals that hold it, and the forecast over the truth. Useful is
what the run itself takes for useful. Rounds of a replay count together as one, so that long replays weigh no more.

`stop` is the share of what the whole budget finds that is found where `stop_when: 0.9` ends a run, in useful pairs
and, with labels, in target-like ones; `spent` is the share of the budget it spends. `labels` feeds the forecast with
the true numbers of target-like pairs: what it would be with a perfect judge.

The last line is JSON; it ends with 1 if intervals of the next half hold less than 75 % or more than 85 %, or runs stop
outside 0.85 to 0.95 on average.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equal_hf.selection.forecast import LEAST_ROUNDS, SHARES, forecast, found_share
from tests.benchmarks.report import conclude
from tests.benchmarks.selection_policies import GRADED, POLICIES
from tests.benchmarks.selection_replay import Replay, Setting
from tests.benchmarks.selection_settings import SHARED, add_arguments, check_arguments, read_targets, settings

STOP_WHEN, HELD, STOPPED = 0.9, (0.75, 0.85), (0.85, 0.95)


@dataclass(frozen=True)
class Played:
    """A replay: what each round spent, its useful pairs, and its target-like ones (0 without labels)."""

    spent: np.ndarray
    useful: np.ndarray
    target_like: np.ndarray

    def until(self, budget: float) -> Played:
        """The rounds that a budget pays for whole."""
        count = int(np.searchsorted(np.cumsum(self.spent), budget * (1 + 1e-9), side="right"))
        return Played(self.spent[:count], self.useful[:count], self.target_like[:count])


def play(name: str, setting: Setting, budget: float) -> Played:
    replay = Replay((POLICIES | GRADED)[name], setting)
    replay.run(budget)
    labels = setting.inputs.labels
    return Played(
        np.array([setting.costs[drawn].sum() for drawn in replay.rounds]),
        np.array(replay.selector.useful, dtype=float),
        np.array([0 if labels is None else labels[drawn].sum() for drawn in replay.rounds], dtype=float),
    )


def judge(spent: np.ndarray, useful: np.ndarray, whole: Played, budget: float) -> dict[str, float]:
    """Every forecast of one replay under one budget; `useful` is what is counted."""
    ends, sums = np.concatenate([[0], np.cumsum(spent)]), np.concatenate([[0], np.cumsum(useful)])
    held: dict[float, list[bool]] = {share: [] for share in SHARES}
    errors: dict[float, list[float]] = {share: [] for share in SHARES}
    stop = len(spent)
    for now in range(LEAST_ROUNDS, len(spent)):
        ahead = forecast(spent[:now], useful[:now], budget - ends[now])
        for part in ahead:
            came = float(np.interp(ends[now] + part.budget, ends, sums) - sums[now])
            held[part.share].append(part.low <= came <= part.high)
            errors[part.share].append(float(np.log((part.useful + 1) / (came + 1))))
        if stop == len(spent) and (found_share(sums[now], ahead) or 0) >= STOP_WHEN:
            stop = now
    found = {f"held_{share:g}": float(np.mean(values)) for share, values in held.items()}
    found |= {f"bias_{share:g}": float(np.mean(values)) for share, values in errors.items()}
    found |= {"stop": float(sums[stop] / max(sums[-1], 1)), "spent": float(ends[stop] / budget)}
    if whole.target_like.any():
        found["stop_target_like"] = float(whole.target_like[:stop].sum() / whole.target_like.sum())
        found["useful_by_target_like"] = float(whole.useful.sum() / whole.target_like.sum())
    return found


def averages(rows: Sequence[dict]) -> dict[str, float]:
    numbers = [name for name in rows[0] if isinstance(rows[0][name], float)]
    of = {name: float(np.mean([row[name] for row in rows])) for name in numbers}
    return {name: float(np.exp(value)) if name.startswith("bias") else value for name, value in of.items()}


def show(title: str, rows: Sequence[dict]) -> dict[str, float]:
    of = averages(rows)
    print(f"{title:44}" + "".join(f"{name} {value:.3f}  " for name, value in of.items()))
    return of


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args(argv)
    check_arguments(parser, args)
    policies = ["ours", *(["ours-graded"] if args.grader else [])]
    rows: list[dict] = []
    for target, embedder, seeds in settings(args, read_targets(args)):
        for setting, policy in itertools.product(seeds, policies):
            whole = float(setting.costs.sum())
            played = play(policy, setting, max(args.budget) * whole)
            for budget in args.budget:
                part = played.until(budget * whole)
                if len(part.spent) <= LEAST_ROUNDS:
                    raise SystemExit(f"--budget {budget:g}: pays for {len(part.spent)} rounds; make it larger")
                measures = {policy: part.useful} | ({f"{policy}, labels": part.target_like} if args.labels else {})
                for measure, useful in measures.items():
                    where = {"measure": measure, "target": target, "embedder": embedder, "budget": f"{budget:g}"}
                    rows.append(where | judge(part.spent, useful, part, budget * whole))
    tables: dict[str, dict] = {}
    for measure in dict.fromkeys(row["measure"] for row in rows):
        of = [row for row in rows if row["measure"] == measure]
        print(f"\n-- {measure}: shares of intervals that hold, forecast / truth, and where runs stop")
        tables[measure] = {}
        for column in ("target", "embedder", "budget"):
            for value in dict.fromkeys(row[column] for row in of):
                name = f"{column} {value}"
                tables[measure][name] = show(name, [row for row in of if row[column] == value])
        tables[measure]["all"] = show("all", of)
    result = {"settings": {name: getattr(args, name) for name in SHARED}, "forecasts": tables}
    promises = {}
    for policy in policies:
        over_all = tables[policy]["all"]
        promises[f"{policy}: intervals of the next half hold 75 to 85 %"] = HELD[0] <= over_all["held_0.5"] <= HELD[1]
        promises[f"{policy}: stops at 0.85 to 0.95"] = STOPPED[0] <= over_all["stop"] <= STOPPED[1]
    conclude(result, promises)


if __name__ == "__main__":
    main()
