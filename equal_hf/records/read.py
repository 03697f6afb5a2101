"""What a report says about a run, read from its records round by round; works while the run is going on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.statistics import RoundFacts, Totals, mean
from equal_hf.types import QAPair, Round
from equal_hf.utils.hashing import digest

SHOWN_PAIRS = 6  # best and worst ones shown
ARM_SAMPLES = 2  # pairs shown of each cluster
ARM_CHARACTERS = 4_000  # of each cluster's pairs, for its terms


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull of an arm: what it drew, gave, cost, and was worth.

    Args:
        round (`int`), arm (`int`): Which.
        documents (`int`), pairs (`int`), rejected (`int`): What was drawn, kept, turned down.
        tokens (`int`): Prompt and completion tokens that its documents used.
        reward (`float`, *optional*): The mixed reward; `None` while it is not known, or where no reward applies.
    """

    round: int
    arm: int
    documents: int
    pairs: int
    rejected: int
    tokens: int
    reward: float | None


@dataclass(frozen=True, slots=True)
class ShownPair:
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


@dataclass(slots=True)
class ArmReport:
    """What came of one cluster, over all its pulls.

    >>> arm = ArmReport(3)
    >>> arm.add(Pull(0, 3, 10, 5, 1, 2000, 0.5)); arm.add(Pull(1, 3, 10, 7, 0, 1000, None))
    >>> arm.pulls, arm.documents, arm.pairs_per_document, arm.tokens_per_document, arm.reward
    (2, 20, 0.6, 150.0, 0.5)
    """

    arm: int
    pulls: int = 0
    documents: int = 0
    pairs: int = 0
    rejected: int = 0
    tokens: int = 0
    rewards: list[float] = field(default_factory=list)
    samples: list[QAPair] = field(default_factory=list)
    text: str = ""

    def add(self, pull: Pull) -> None:
        """Take in one pull."""
        self.pulls += 1
        self.documents += pull.documents
        self.pairs += pull.pairs
        self.rejected += pull.rejected
        self.tokens += pull.tokens
        if pull.reward is not None:
            self.rewards.append(pull.reward)

    @property
    def reward(self) -> float | None:
        """Mean mixed reward of the pulls that have one."""
        return mean(self.rewards)

    @property
    def uncertainty(self) -> float | None:
        """Standard error of that mean; `None` with fewer than two rewards."""
        n = len(self.rewards)
        if n < 2:
            return None
        average = sum(self.rewards) / n
        return (sum((value - average) ** 2 for value in self.rewards) / (n - 1) / n) ** 0.5

    @property
    def pairs_per_document(self) -> float:
        """Pairs kept per document."""
        return self.pairs / self.documents if self.documents else 0.0

    @property
    def tokens_per_document(self) -> float:
        """Tokens used per document."""
        return self.tokens / self.documents if self.documents else 0.0


@dataclass(slots=True)
class RunReport(Totals):
    """A run as its report shows it.

    Args:
        folder (`Path`): The run folder.
        run (`dict[str, Any]`): What `run.json` says.
        rounds (`list[RoundFacts]`): By index.
        pulls (`list[Pull]`): In the order they were made.
        arms (`dict[int, ArmReport]`): By cluster.
        dropped (`Counter[str]`): What was turned down, by reason.
        best (`list[ShownPair]`), worst (`list[ShownPair]`): One pair of each of the pulls that paid most and least.
    """

    folder: Path
    run: dict[str, Any]
    rounds: list[RoundFacts] = field(default_factory=list)
    pulls: list[Pull] = field(default_factory=list)
    arms: dict[int, ArmReport] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    best: list[ShownPair] = field(default_factory=list)
    worst: list[ShownPair] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens used."""
        return self.usage.prompt_tokens + self.usage.completion_tokens

    def spent(self, kind: str) -> list[int]:
        """What was spent up to and with each round: `"documents"` or `"tokens"`."""
        total, sums = 0, []
        for round in self.rounds:
            usage = round.usage
            total += round.documents if kind == "documents" else usage.prompt_tokens + usage.completion_tokens
            sums.append(total)
        return sums

    def reward_names(self) -> list[str]:
        """Rewards that any round has, in the order they first appear."""
        seen = (name for round in self.rounds for name, value in round.rewards.items() if value is not None)
        return list(dict.fromkeys(seen))


def read_run(run_dir: str | Path) -> RunReport:
    """Read a run folder, one round at a time.

    Args:
        run_dir (`str` or `Path`): The run folder.

    Raises:
        [`RecordError`]: If the folder holds no run, or damaged records.
    """
    records = RoundRecords(run_dir)
    report = RunReport(Path(run_dir), records.run())
    for index in records.indices():
        take_round(report, records, index)
    known = [place for place, pull in enumerate(report.pulls) if pull.reward is not None and pull.pairs]
    ranked = sorted(known, key=lambda place: (-(report.pulls[place].reward or 0.0), place))
    half = min(SHOWN_PAIRS, len(ranked) // 2) or len(ranked)
    report.best = [_shown(records, report.pulls[place]) for place in ranked[:half]]
    report.worst = [_shown(records, report.pulls[place]) for place in reversed(ranked[half:][-half:])]
    return report


def take_round(report: RunReport, records: RoundRecords, index: int) -> None:
    """Add one recorded round to a report; rounds are added in order."""
    round, reward_record = records.load(index), records.reward_record(index)
    nothing: list[float | None] = [None] * len(round.decisions)
    mixed = reward_record["mixed"] if reward_record else nothing
    facts = RoundFacts.of(round, reward_record)
    if reward_record:
        facts.rewards["mixed"] = mean(mixed)
    report.rounds.append(facts)
    report.dropped.update(round.dropped)
    arm_of = {document: decision.arm for decision in round.decisions for document in decision.documents}
    rejected = Counter(arm_of.get(rejection.document_id) for rejection in round.rejected)
    used = records.usage_by_arm(index)
    for place, (decision, pairs) in enumerate(zip(round.decisions, round.pairs_by_arm(), strict=True)):
        number = decision.arm
        tokens = used[place].prompt_tokens + used[place].completion_tokens
        pull = Pull(index, number, len(decision.documents), len(pairs), rejected[number], tokens, mixed[place])
        report.pulls.append(pull)
        arm = report.arms.setdefault(number, ArmReport(number))
        arm.add(pull)
        arm.samples += [round.pairs[pair] for pair in pairs[: ARM_SAMPLES - len(arm.samples)]]
        room = ARM_CHARACTERS - len(arm.text)
        arm.text += " ".join(round.pairs[pair].text() for pair in pairs)[:room] + " " if room > 0 else ""


def _shown(records: RoundRecords, pull: Pull) -> ShownPair:
    """One pair of a pull, chosen by the hash of what it says."""
    round = records.load(pull.round)
    pair = min(
        (pair for pair in round.pairs if pair.cluster == pull.arm),
        key=lambda pair: digest(pair.text(), 8),
    )
    return ShownPair(pair, pull.round, pull.reward or 0.0, _row(round, pair))


def _row(round: Round, pair: QAPair) -> int | None:
    for decision in round.decisions:
        if decision.arm == pair.cluster and pair.document_id in decision.documents and decision.rows:
            return decision.rows[decision.documents.index(pair.document_id)]
    return None
