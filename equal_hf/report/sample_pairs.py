"""The pairs a report shows: one of each of the pulls that were paid most and least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.statistics import PullStatistics, RunStatistics
from equal_hf.types import QAPair
from equal_hf.utils.hashing import digest

SHOWN_PAIRS = 6  # best and worst ones


@dataclass(frozen=True, slots=True)
class RewardedPair:
    """A pair with the reward of the pull that it came from.

    Args:
        pair ([`QAPair`]): The pair.
        round (`int`): Its round.
        reward (`float`): The pull's mixed reward.
        row (`int`, *optional*): The document's position in its cluster's stored order.
    """

    pair: QAPair
    round: int
    reward: float
    row: int | None


def best_and_worst(statistics: RunStatistics) -> tuple[list[RewardedPair], list[RewardedPair]]:
    """One pair of each of the pulls that were paid most, and of those that were paid least; each best or worst first.

    Args:
        statistics ([`RunStatistics`]): The run.
    """
    paid = [pull for pull in statistics.pulls if pull.reward is not None and pull.pairs]
    ranked = sorted(paid, key=lambda pull: -(pull.reward or 0.0))
    half = min(SHOWN_PAIRS, len(ranked) // 2) or len(ranked)
    records = RoundRecords(statistics.folder)

    def shown(pulls: Sequence[PullStatistics]) -> list[RewardedPair]:
        return [_sample_pair(records, pull) for pull in pulls]

    return shown(ranked[:half]), shown(ranked[half:][-half:][::-1])


def _sample_pair(records: RoundRecords, pull: PullStatistics) -> RewardedPair:
    """One pair of a pull, chosen by the hash of what it says."""
    round = records.load(pull.round)
    pair = min(
        (pair for pair in round.pairs if pair.cluster == pull.arm),
        key=lambda pair: digest(pair.text(), 8),
    )
    decision = next(decision for decision in round.decisions if decision.arm == pull.arm)
    rows = dict(zip(decision.documents, decision.rows, strict=False))  # records may lack rows
    return RewardedPair(pair, pull.round, pull.reward or 0.0, rows.get(pair.document_id))
