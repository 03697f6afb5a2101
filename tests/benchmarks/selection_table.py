"""Numbers of a comparison as tables: means and spreads, and ratios with paired intervals over seeds."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

CONFIDENCE = 0.95
FORMATS = {
    "target_like": ".0f",
    "pairs": ".0f",
    "documents": ".0f",
    "tokens_share": ".3f",
    "money_share": ".3f",
    "transport": ".4f",
    "test_loss": ".3f",
}

Runs = Sequence[Mapping[str, float]]  # the numbers of one policy in one setting, seed by seed


@dataclass(frozen=True)
class Ratio:
    """A ratio of two policies with its interval.

    Args:
        mean (`float`): Geometric mean.
        low, high (`float`, *optional*): 95 % t interval of the logarithms over seeds; `None` for one seed.
    """

    mean: float
    low: float | None
    high: float | None

    def verdict(self) -> str:
        if self.low is not None and self.low > 1:
            return "more"
        return "less" if self.high is not None and self.high < 1 else "level"

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.mean:.3f}{interval}"


def paired_ratio(ours: Sequence[Runs], theirs: Sequence[Runs], number: str) -> Ratio:
    """Ratio of two policies over one setting or several; seeds are paired, settings weigh the same.

    Args:
        ours, theirs (`Sequence[Runs]`): One item a setting, in the same order, of the same seeds.
        number (`str`): What is compared. A count of 0 is taken for a half.
    """
    logs = [
        [math.log(max(a[number], 0.5) / max(b[number], 0.5)) for a, b in zip(mine, other, strict=True)]
        for mine, other in zip(ours, theirs, strict=True)
    ]
    by_seed = np.mean(logs, axis=0)
    mean, n = float(by_seed.mean()), len(by_seed)
    if n < 2:
        return Ratio(math.exp(mean), None, None)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * by_seed.std(ddof=1) / math.sqrt(n))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def summarise(runs: Runs) -> dict[str, dict[str, float]]:
    """Mean and spread (standard deviation) over seeds of every number."""
    spread = 1 if len(runs) > 1 else 0
    return {
        name: {
            "mean": float(np.mean([run[name] for run in runs])),
            "spread": float(np.std([run[name] for run in runs], ddof=spread)),
        }
        for name in runs[0]
    }


def show(table: Mapping[str, Runs], out=None) -> None:
    """Means and spreads of every policy."""
    out = out or sys.stdout
    shown = [number for number in FORMATS if number in next(iter(table.values()))[0]]
    print(f"{'':18}" + "".join(f"{number:>18}" for number in shown), file=out)
    for name, runs in table.items():
        of = summarise(runs)
        cells = [f"{of[n]['mean']:{FORMATS[n]}} ± {of[n]['spread']:{FORMATS[n]}}" for n in shown]
        print(f"{name:18}" + "".join(f"{cell:>18}" for cell in cells), file=out)


def compare_policies(tables: Mapping[str, Mapping[str, Runs]], policy: str, number: str = "target_like") -> dict:
    """A policy against every other: in each setting, and over all of them.

    Args:
        tables (`Mapping`): Setting → policy → runs.
        policy (`str`): The one.
        number (`str`): What is compared.

    Returns:
        `dict`: Other policy → setting (and `all`) → [`Ratio`] as a dict with its `verdict`.
    """
    others = [name for name in next(iter(tables.values())) if name != policy]
    found: dict[str, dict[str, dict]] = {}
    for other in others:
        ratios = {name: paired_ratio([of[policy]], [of[other]], number) for name, of in tables.items()}
        ratios["all"] = paired_ratio(
            [of[policy] for of in tables.values()], [of[other] for of in tables.values()], number
        )
        found[other] = {name: asdict(ratio) | {"verdict": ratio.verdict()} for name, ratio in ratios.items()}
    return found


def show_ratios(policy: str, compared: Mapping[str, Mapping[str, Mapping]], out=None) -> None:
    """Ratios of a policy to every other, one line each setting, and the settings in which it finds less."""
    out = out or sys.stdout
    for other, ratios in compared.items():
        print(f"\n{policy} / {other}", file=out)
        for name, of in ratios.items():
            ratio = Ratio(of["mean"], of["low"], of["high"])
            print(f"  {name:40} {ratio!s:24} {of['verdict']}", file=out)
