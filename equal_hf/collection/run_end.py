"""Why a run ended, and what is left of its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equal_hf.collection.config import CollectorConfig

# Limits of what is paid, with what they count.
PAID_LIMITS = {"max_prompt_tokens": "prompt tokens", "max_completion_tokens": "completion tokens", "max_cost": "money"}


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended.

    Args:
        by (`str`): The setting that ended it, or `"corpus"`.
        reason (`str`): In words.
        left (`dict[str, float]`): What is left of each limit that is set, by its name.
    """

    by: str
    reason: str
    left: dict[str, float]

    def told(self, args: CollectorConfig) -> str:
        """The end in a sentence or two, with what is left and how to spend it.

        Args:
            args ([`CollectorConfig`]): The limits.
        """
        left = [
            f"{amount:,.10g} of {getattr(args, name):,.10g} {PAID_LIMITS[name]} (`{name}`)"
            for name, amount in self.left.items()
        ]
        text = self.reason + (f". Left: {', '.join(left)}" if left else "")
        if self.by in ("num_rounds", "max_documents") and any(self.left.values()):
            return f"{text}. To spend it, raise `{self.by}` and start again"
        return text


def left_of(args: CollectorConfig, spent: Mapping[str, float]) -> dict[str, float]:
    """What is left of the limits on tokens and money that are set.

    Args:
        args ([`CollectorConfig`]): The limits.
        spent (`Mapping[str, float]`): What is spent, by the name of the limit.

    >>> from equal_hf.collection.config import CollectorConfig
    >>> left_of(CollectorConfig(num_rounds=1, max_cost=60), {"max_cost": 47.4, "max_prompt_tokens": 9})
    {'max_cost': 12.6}
    """
    limits: dict[str, float | None] = {name: getattr(args, name) for name in PAID_LIMITS}
    return {name: round(max(limit - spent[name], 0), 9) for name, limit in limits.items() if limit is not None}


def run_end(args: CollectorConfig, spent: Mapping[str, float], corpus_left: int, forecast: Any | None) -> RunEnd:
    """How a run ended that has ended.

    Args:
        args ([`CollectorConfig`]): The limits.
        spent (`Mapping[str, float]`): What is spent, by the name of the limit.
        corpus_left (`int`): Documents of the corpus that were not drawn.
        forecast ([`RunForecast`], *optional*): The last one, which may have ended it.
    """
    left = left_of(args, spent)
    by_forecast = None if forecast is None else forecast.ends_run(args)
    if not corpus_left:
        return RunEnd("corpus", "every document of the corpus was drawn", left)
    for name, unit in (("max_documents", "documents"), ("num_rounds", "rounds")):
        if (limit := getattr(args, name)) is not None and spent[name] >= limit:
            return RunEnd(name, f"its {limit:,} {unit} are done (`{name}`)", left)
    if by_forecast is not None:
        return RunEnd("stop_when" if "`stop_when`" in by_forecast else "max_cost_per_useful_pair", by_forecast, left)
    if not left:
        return RunEnd("num_rounds", "its rounds are done", left)
    scarcest = min(left, key=lambda name: left[name] / getattr(args, name))
    return RunEnd(scarcest, f"no document that was drawn is sure to fit into what is left of `{scarcest}`", left)
