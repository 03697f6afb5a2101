"""What the rest of a run's budget buys, from its records: the forecast of each round, and when a run ends by itself.

The budget is counted in what runs out first at the pace of the later half of the rounds: documents (also those of the
corpus, and of the rounds planned), prompt tokens, completion tokens or money. Money is what the tokens cost at the
run's prices, whether a reply came from the store or not: so the same records give the same forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from equal_hf.extraction.budget import NANO, Prices
from equal_hf.selection.forecast import Ahead, forecast, found_share

if TYPE_CHECKING:
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.types import Usage

UNITS = ("documents", "prompt_tokens", "completion_tokens", "cost")


@dataclass(frozen=True, slots=True)
class RunForecast:
    """What is known of a run's budget after a round.

    Args:
        useful (`int`): Useful pairs so far; `selection.forecast` says what counts as one.
        unit (`str`): What the budget is counted in: what runs out first.
        spent, left (`float`): In that unit.
        ahead (`tuple[Ahead, ...]`): What the next 10 %, 50 % and 100 % of what is left are expected to give.
        found_share (`float`): Useful pairs found of those that the whole budget is expected to find.
        cost_per_useful_pair (`float`, *optional*): Of the next 10 %, in the currency of the prices; `None` without.
    """

    useful: int
    unit: str
    spent: float
    left: float
    ahead: tuple[Ahead, ...]
    found_share: float
    cost_per_useful_pair: float | None = None

    def record(self) -> dict[str, Any]:
        """As it is recorded, in JSON."""
        return asdict(self) | {"ahead": [asdict(part) for part in self.ahead]}

    def ends_run(self, args: CollectorConfig) -> str | None:
        """Why the run ends by itself; `None` where it goes on.

        Args:
            args ([`CollectorConfig`]): `stop_when` and `max_cost_per_useful_pair`.
        """
        if args.stop_when is not None and self.found_share >= args.stop_when:
            return (
                f"{self.found_share:.0%} of the useful pairs that the budget is expected to find are found, and "
                f"`stop_when` is {args.stop_when:g}"
            )
        most, cost = args.max_cost_per_useful_pair, self.cost_per_useful_pair
        if most is not None and cost is not None and cost > most:
            return f"the next useful pairs cost {cost:.4g} each, and `max_cost_per_useful_pair` is {most:g}"
        return None


def forecast_run(
    documents: Sequence[int],
    usages: Sequence[Usage],
    useful: Sequence[int],
    args: CollectorConfig,
    prices: Prices,
    corpus: int,
) -> RunForecast | None:
    """Forecast a run after its last round so far.

    Args:
        documents (`Sequence[int]`): Documents of each round.
        usages (`Sequence[Usage]`): What each used.
        useful (`Sequence[int]`): Useful pairs of each.
        args ([`CollectorConfig`]): The limits.
        prices ([`Prices`]): Of tokens.
        corpus (`int`): Documents of the corpus.

    Returns:
        [`RunForecast`] or `None`: `None` in the first rounds, when too little is known, and where nothing is left.
    """
    rounds = len(documents)
    if not rounds:
        return None
    used: dict[str, list[float]] = {
        "documents": [float(count) for count in documents],
        "prompt_tokens": [float(usage.prompt_tokens) for usage in usages],
        "completion_tokens": [float(usage.completion_tokens) for usage in usages],
        "cost": [prices.cost(usage) / NANO for usage in usages],
    }
    planned = sum(documents) + (args.planned_rounds - rounds) * args.arms_per_round * args.documents_per_arm
    limits = {unit: getattr(args, f"max_{unit}") for unit in UNITS[1:]}
    limits["documents"] = min(corpus, planned, planned if args.max_documents is None else args.max_documents)
    paces = {unit: sum(used[unit][rounds // 2 :]) for unit in UNITS}
    left = {unit: limit - sum(used[unit]) for unit, limit in limits.items() if limit is not None}
    unit = min((unit for unit in UNITS if unit in left and paces[unit]), key=lambda unit: left[unit] / paces[unit])
    ahead = forecast(used[unit], useful, left[unit])
    found = sum(useful)
    if (share := found_share(found, ahead)) is None:
        return None
    cost = None
    if not prices.free:
        cost = ahead[0].budget * paces["cost"] / paces[unit] / ahead[0].useful
    return RunForecast(found, unit, sum(used[unit]), left[unit], ahead, share, cost)
