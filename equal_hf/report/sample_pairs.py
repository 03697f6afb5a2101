"""The pairs a report shows: one of each of the pulls that were paid most and least, and those of a review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equal_hf.records.json_files import read_json, reading
from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.statistics import PullStatistics, RunStatistics
from equal_hf.report.review_pairs import FILE
from equal_hf.types import QAPair, Round
from equal_hf.utils.hashing import digest

SHOWN_PAIRS = 6  # best and worst ones


@dataclass(frozen=True, slots=True)
class RewardedPair:
    """A pair with the reward of the pull that it came from.

    Args:
        pair ([`QAPair`]): The pair.
        round (`int`): Its round.
        reward (`float`): The pull's mixed reward; of a pair of a review, what it is worth.
        row (`int`, *optional*): The document's position in its cluster's stored order.
        measure (`str`, *optional*, defaults to `"reward"`): What `reward` is.
    """

    pair: QAPair
    round: int
    reward: float
    row: int | None
    measure: str = "reward"


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


def reviewed_pairs(statistics: RunStatistics) -> dict[str, list[RewardedPair]]:
    """The pairs that a person was shown when the run stopped for a review, by title; empty without one.

    Args:
        statistics ([`RunStatistics`]): The run.

    Raises:
        [`RecordError`]: If `review.json` is damaged.
    """
    path = statistics.folder / FILE
    if not path.exists():
        return {}
    records = RoundRecords(statistics.folder)
    lists: dict[str, list[RewardedPair]] = {}
    with reading(path):
        for shown in read_json(path)["pairs"]:
            round = records.load(shown["round"])
            pair = round.pairs[shown["position"]]
            one = RewardedPair(pair, round.index, shown["value"], _row(round, pair), "value")
            lists.setdefault(f"in the review: {shown['kind']}", []).append(one)
    return lists


def _row(round: Round, pair: QAPair) -> int | None:
    decision = next(decision for decision in round.decisions if decision.arm == pair.cluster)
    rows = dict(zip(decision.documents, decision.rows, strict=False))  # records may lack rows
    return rows.get(pair.document_id)


def _sample_pair(records: RoundRecords, pull: PullStatistics) -> RewardedPair:
    """One pair of a pull, chosen by the hash of what it says."""
    round = records.load(pull.round)
    pair = min(
        (pair for pair in round.pairs if pair.cluster == pull.arm),
        key=lambda pair: digest(pair.text(), 8),
    )
    return RewardedPair(pair, pull.round, pull.reward or 0.0, _row(round, pair))
