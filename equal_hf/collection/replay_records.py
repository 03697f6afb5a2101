"""Runs a recorded selection again under another policy, without a single call, as far as the records reach.

A document that the records hold gives the pairs it gave then. One that they do not hold would have to be extracted: it
is named, teaches nothing, and the replay goes on. So a replay is exact up to the first round with such a document, and
from there on it is what the policy would do if those documents were lost on the way. Pairs are those that the recorded
run kept, its duplicates left out. Rewards that wait for an evaluation belong to a training that did not happen: they
give nobody a reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from itertools import pairwise

import numpy as np

from equal_hf.collection.fill_round import fill_round, those
from equal_hf.records.run_folder import RoundRecords
from equal_hf.selection.selector import Draw, Selector
from equal_hf.types import Decision, QAPair, Rejection, Round, Usage

NOT_RECORDED = "not_recorded"
RowKey = tuple[int, int]  # cluster, position in its stored order


@dataclass(frozen=True, slots=True)
class RecordedRows:
    """What a round extracted.

    Args:
        rows (`frozenset[RowKey]`): The documents.
        refused (`int`): Documents that were drawn and did not fit the budget.
    """

    rows: frozenset[RowKey]
    refused: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a document gave when it was extracted.

    Args:
        document_id (`str`): The document.
        pairs (`tuple[QAPair, ...]`): Its pairs.
        embeddings (`np.ndarray` of shape `(pairs, d)`): Their embeddings.
        rejected (`tuple[Rejection, ...]`): What was rejected.
        usage ([`Usage`]): Its part of what the documents of its pull used; records do not tell them apart.
    """

    document_id: str
    pairs: tuple[QAPair, ...]
    embeddings: np.ndarray
    rejected: tuple[Rejection, ...] = ()
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class ReplayedRound:
    """A round of a replay.

    Args:
        round ([`Round`]): Decisions, pairs and rewards, as a collector would have recorded them.
        missing (`tuple[RowKey, ...]`): Documents drawn that would need a new call: cluster, and position in its stored
            order.
        mixed (`list[float | None]`): Each arm's mixed reward.
    """

    round: Round
    missing: tuple[RowKey, ...]
    mixed: list[float | None]


def recorded_documents(runs: Iterable[RoundRecords]) -> dict[RowKey, Recorded]:
    """Every document that the runs, on the same corpus, have extracted; the first run that did counts."""
    documents: dict[RowKey, Recorded] = {}
    for records in runs:
        for index in records.indices():
            round, embeddings = records.load(index), records.embeddings(index)
            pairs: dict[str, list[int]] = {}
            for position, pair in enumerate(round.pairs):
                pairs.setdefault(pair.document_id, []).append(position)
            rejected: dict[str, list[Rejection]] = {}
            for rejection in round.rejected:
                rejected.setdefault(rejection.document_id, []).append(rejection)
            for decision, used in zip(round.decisions, records.usage_by_arm(index), strict=True):
                parts = _split(used, len(decision.rows))
                for document, row, usage in zip(decision.documents, decision.rows, parts, strict=True):
                    own = pairs.get(document, [])
                    given = tuple(round.pairs[position] for position in own)
                    rejections = tuple(rejected.get(document, ()))
                    key = (decision.arm, row)
                    documents.setdefault(key, Recorded(document, given, embeddings[own], rejections, usage))
    return documents


def _split(usage: Usage, parts: int) -> list[Usage]:
    """Usage in equal parts that add up to it.

    >>> [astuple(part) for part in _split(Usage(10, 3, 2, 4), 2)]
    [(5, 1, 1, 2, 0), (5, 2, 1, 2, 0)]
    """
    counts = astuple(usage)
    ends = [[count * part // parts for count in counts] for part in range(parts + 1)]
    return [Usage(*(b - a for a, b in zip(start, end, strict=True))) for start, end in pairwise(ends)]


def replay(
    selector: Selector,
    recorded: Mapping[RowKey, Recorded],
    *,
    rounds: int,
    arms_per_round: int,
    documents_per_arm: int,
    seed: int,
    max_documents: int | Sequence[int | None] | None = None,
    feedback_lag: int = 0,
    extracted: Mapping[int, RecordedRows] | None = None,
) -> Iterator[ReplayedRound]:
    """Select round by round, from the records instead of an extractor.

    Args:
        selector ([`Selector`]): The policy to try, before its first round.
        recorded (`Mapping[RowKey, Recorded]`): What is known, by [`recorded_documents`].
        rounds (`int`): Rounds at most.
        arms_per_round, documents_per_arm, seed, feedback_lag: As in [`CollectorConfig`].
        max_documents (`int` or `Sequence[int | None]`, *optional*): As there; where it was changed in the run, one
            for each round.
        extracted (`Mapping[int, RecordedRows]`, *optional*): What each round of the run extracted, by
            [`rows_by_round`]: where the same ones and more are drawn, its budget had no room for the others.

    Yields:
        [`ReplayedRound`]: Ends early where documents or budget run out, or after a round of which nothing is recorded.
    """
    drawn = 0
    for index in range(rounds):
        limit = max_documents if max_documents is None or isinstance(max_documents, int) else max_documents[index]
        selector.advance(index - 1 - feedback_lag)
        budget = None if limit is None else limit - drawn
        sizes = (arms_per_round, documents_per_arm, seed, index, budget)
        draws = _draw(selector, sizes, (extracted or {}).get(index))
        if not draws:
            return
        round, embeddings, missing, usage = _round(index, draws, recorded)
        vectors = [draw.embeddings for draw in draws if draw.embeddings is not None]
        known = selector.take(round, embeddings, np.concatenate(vectors) if vectors else None, usage)
        rewards = selector.rewards("extracted", round, **known)
        mixed = selector.record_rewards(round, rewards)
        yield ReplayedRound(_rewarded(round, rewards), missing, mixed)
        if len(missing) == round.documents:
            return
        drawn += round.documents


def rows_by_round(records: RoundRecords) -> dict[int, RecordedRows]:
    """What each round of a run extracted, by its index."""
    rounds = {index: records.load(index) for index in records.indices()}
    return {
        index: RecordedRows(
            frozenset((decision.arm, row) for decision in round.decisions for row in decision.rows), round.refused
        )
        for index, round in rounds.items()
    }


def _draw(
    selector: Selector, sizes: tuple[int, int, int, int, int | None], recorded: RecordedRows | None
) -> list[Draw]:
    """The draws of a round; where the run's round is found so, less what a budget of tokens or money had no room for
    and with what took its place."""
    first: list[Draw] = []
    refused = 0

    def fits(draws: list[Draw]) -> list[list[bool]]:
        nonlocal refused
        first.extend(draws if not first else [])
        told = [[recorded is None or (draw.arm, row) in recorded.rows for row in draw.rows] for draw in draws]
        refused += sum(fitting.count(False) for fitting in told)
        if recorded is not None and refused > recorded.refused:  # these are not the run's draws
            return [[True] * len(fitting) for fitting in told]
        return told

    filled, _ = fill_round(selector, *sizes, fits)
    if recorded is not None:
        if {(draw.arm, row) for draw in filled for row in draw.rows} == recorded.rows:
            return filled
        if recorded.rows < {(draw.arm, row) for draw in first for row in draw.rows}:  # cut by an earlier version
            cut = [those(draw, [(draw.arm, row) in recorded.rows for row in draw.rows]) for draw in first]
            return [draw for draw in cut if draw.rows]
    return first


def _round(
    index: int, draws: list[Draw], recorded: Mapping[RowKey, Recorded]
) -> tuple[Round, np.ndarray, tuple[RowKey, ...], list[Usage]]:
    decisions: list[Decision] = []
    usage: list[Usage] = []
    pairs: list[QAPair] = []
    vectors: list[np.ndarray] = []
    missing: list[RowKey] = []
    rejected: list[Rejection] = []
    for draw in draws:
        ids = []
        used = Usage()
        for row in draw.rows:
            key = (draw.arm, row)
            if (document := recorded.get(key)) is None:
                ids.append(f"cluster {draw.arm}, row {row}")
                missing.append(key)
                rejected.append(Rejection(ids[-1], NOT_RECORDED))
                continue
            ids.append(document.document_id)
            used += document.usage
            pairs += document.pairs
            vectors.append(document.embeddings)
            rejected += document.rejected
        decisions.append(Decision(draw.arm, draw.score, tuple(ids), draw.rows, draw.expected_value))
        usage.append(used)
    width = next((document.embeddings.shape[1] for document in recorded.values()), 1)
    embeddings = np.concatenate([*vectors, np.zeros((0, width), dtype=np.float32)])
    round = Round(index, tuple(decisions), tuple(pairs), rejected=tuple(rejected))
    return round, embeddings, tuple(missing), usage


def _rewarded(round: Round, rewards: Mapping[str, list[float | None]]) -> Round:
    return Round(round.index, round.decisions, round.pairs, rewards=rewards, rejected=round.rejected)
