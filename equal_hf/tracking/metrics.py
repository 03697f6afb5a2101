"""The numbers of a round, under names that do not change.

| Name | What it is |
| --- | --- |
| `equal/round` | index of the round, from 0 |
| `equal/arms_pulled` | arms (clusters) pulled |
| `equal/documents`, `equal/pairs` | documents extracted, pairs kept |
| `equal/prompt_tokens`, `equal/completion_tokens`, `equal/requests` | what extraction used |
| `equal/cached_tokens`, `equal/reasoning_tokens` | of these, tokens that were cached, or thoughts |
| `equal/rejected` | what extraction and the quality filters rejected |
| `equal/dropped/<reason>` | the same, by reason |
| `equal/reward/<name>/mean`, `…/min`, `…/max` | a reward over the arms that have it, by reward function |
| `equal/reward/mixed/mean`, `…/min`, `…/max` | the mixture that the bandit was given |
| `equal/transport/distance` | optimal-transport cost, mean over arms: 1 - 0.12 - transport reward |
| `equal/eval_loss` | the evaluation loss that paid the round; the same way, any other number of its metrics |
| `equal/rows_cut`, `equal/rows_lost` | rows whose answer `max_length` cut short, or took whole |
| `equal/useful_pairs` | pairs of at least half the value that a pair can have, and no near-copies |
| `equal/forecast/next_10/useful`, `…/low`, `…/high` | useful pairs that the next 10 % of the rest of the budget buys |
| `equal/forecast/next_50/…`, `equal/forecast/next_100/…` | the same, of the next 50 % and of all of it |
| `equal/forecast/found_share` | useful pairs found, of all that the budget is expected to find |
| `equal/forecast/cost_per_useful_pair` | of the next 10 %, where tokens have prices |
| `equal/<name>_total` | `documents`, `pairs`, `prompt_tokens`, … of the run so far, by the names in `totals` |
| `equal/cost_paid_total` | money paid so far, in the currency of the prices |
| `equal/cost_paid/<endpoint>_total`, `equal/cost_paid/<day>_total` | the same by endpoint and day, if several |
| `equal/lost_…_total` | requests that brought no reply, and tokens that they may have used |

A trainer's own numbers have transformers' names (`train/loss`, `eval/loss`, … over `train/global_step`). Of the final
training on all pairs they are `pool/loss`, `pool/eval_loss`, … over `pool/global_step`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equal_hf.selection.rewards import TRANSPORT_OFFSET
from equal_hf.types import Round


def round_metrics(
    round: Round, reward_record: Mapping[str, Any] | None = None, totals: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The numbers of one round, by the names in this module's table.

    Args:
        round ([`Round`]): The round.
        reward_record (`Mapping[str, Any]`, *optional*): Its recorded rewards: `rewards`, `mixed` and `metrics`.
            Without it, the rewards known at extraction are logged.
        totals (`Mapping[str, float]`, *optional*): Totals of the run so far, by name.

    >>> from equal_hf.types import Decision, Round
    >>> round = Round(3, (Decision(7, 0.5, ("d1", "d2")),), (), rewards={"transport": [0.38]})
    >>> metrics = round_metrics(round, totals={"documents": 40})
    >>> metrics["equal/reward/transport/mean"], metrics["equal/transport/distance"], metrics["equal/documents_total"]
    (0.38, 0.5, 40)
    """
    metrics: dict[str, float] = {
        "equal/round": round.index,
        "equal/arms_pulled": len(round.decisions),
        "equal/documents": round.documents,
        "equal/pairs": len(round.pairs),
        "equal/prompt_tokens": round.usage.prompt_tokens,
        "equal/completion_tokens": round.usage.completion_tokens,
        "equal/requests": round.usage.requests,
        "equal/cached_tokens": round.usage.cached_tokens,
        "equal/reasoning_tokens": round.usage.reasoning_tokens,
        "equal/rejected": len(round.rejected),
    }
    metrics |= {f"equal/dropped/{reason}": count for reason, count in round.dropped.items()}
    rewards = dict(reward_record["rewards"] if reward_record else round.rewards)
    if reward_record:
        rewards["mixed"] = reward_record["mixed"]
    for name, values in rewards.items():
        metrics |= _spread(f"equal/reward/{name}", values)
    if (transport := metrics.get("equal/reward/transport/mean")) is not None:
        metrics["equal/transport/distance"] = 1.0 - TRANSPORT_OFFSET - transport
    for name, value in (reward_record or {}).get("metrics", {}).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            metrics[f"equal/{name}"] = value
    return (
        metrics
        | _forecast(reward_record or {})
        | {f"equal/{name}_total": value for name, value in (totals or {}).items()}
    )


def _forecast(record: Mapping[str, Any]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if "useful_pairs" in record:
        metrics["equal/useful_pairs"] = record["useful_pairs"]
    if (known := record.get("forecast")) is None:
        return metrics
    for part in known["ahead"]:
        of = f"equal/forecast/next_{100 * part['share']:.0f}"
        metrics |= {f"{of}/{name}": part[name] for name in ("useful", "low", "high")}
    for name in ("found_share", "cost_per_useful_pair"):
        if known[name] is not None:
            metrics[f"equal/forecast/{name}"] = known[name]
    return metrics


def _spread(name: str, values: Sequence[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    if not known:
        return {}
    return {f"{name}/mean": sum(known) / len(known), f"{name}/min": min(known), f"{name}/max": max(known)}
