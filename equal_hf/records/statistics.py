"""Statistics of a run, added up from its records round by round: what cards, reports and trackers say of it.

Memory is bounded by one round's pairs, a number or two a pull, and a few sample pairs a cluster.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equal_hf.records.kept_tokens import kept_tokens
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.types import QAPair, Round, Usage

SAMPLES_PER_ARM = 2
CHARACTERS_PER_ARM = 4_000  # of each cluster's pairs, for its terms
SAMPLE_CHARACTERS = 600


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are known.

    >>> mean([1.0, None, 2.0]), mean([None])
    (1.5, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class RoundStatistics:
    """One row of the table of rounds.

    Args:
        index (`int`), documents (`int`), pairs (`int`): Which round, documents extracted, pairs kept.
        usage ([`Usage`]): Tokens and requests.
        rewards (`dict[str, float | None]`): Mean over the arms that each reward was paid to, by reward function.
        eval_loss (`float`, *optional*): Evaluation loss after the round.
        target_losses (`Mapping[str, float]`): Evaluation losses of several targets, by name.
        useful_pairs (`int`, *optional*): Useful pairs; `None` where an earlier version recorded the round.
        forecast (`Mapping`, *optional*): What the rest of the budget was expected to buy, as it is recorded.
        loss_before (`float`, *optional*): Evaluation loss before the round: of the first, of the untrained model.
    """

    index: int
    documents: int
    pairs: int
    usage: Usage
    rewards: dict[str, float | None]
    eval_loss: float | None = None
    target_losses: Mapping[str, float] = field(default_factory=dict)
    useful_pairs: int | None = None
    forecast: Mapping[str, Any] | None = None
    loss_before: float | None = None

    @classmethod
    def of(cls, round: Round, reward_record: Mapping[str, Any] | None) -> RoundStatistics:
        """Statistics of a round.

        Args:
            round ([`Round`]): The round as it was extracted.
            reward_record (`Mapping[str, Any]`, *optional*): Its rewards, where they are recorded.
        """
        record = reward_record or {"rewards": round.rewards}
        means = {name: mean(values) for name, values in record["rewards"].items()}
        metrics = record.get("metrics", {})
        losses = metrics.get("eval_loss"), metrics.get("target_losses") or {}
        found = record.get("useful_pairs"), record.get("forecast"), metrics.get("previous_eval_loss")
        return cls(round.index, round.documents, len(round.pairs), round.usage, means, *losses, *found)


@dataclass(frozen=True, slots=True)
class PullStatistics:
    """One pull of an arm: what it drew, gave, used, and was paid.

    Args:
        round (`int`), arm (`int`): Which.
        documents (`int`), pairs (`int`), rejected (`int`): Documents drawn, pairs kept, pairs rejected.
        tokens (`int`): Prompt and completion tokens that its documents used.
        reward (`float`, *optional*): The mixed reward; `None` while it is not known, or where none was paid.
    """

    round: int
    arm: int
    documents: int
    pairs: int
    rejected: int
    tokens: int
    reward: float | None


@dataclass(slots=True)
class ClusterStatistics:
    """Sums over all pulls of one cluster, and a few of its pairs.

    >>> cluster = ClusterStatistics(3)
    >>> cluster.add(PullStatistics(0, 3, 10, 5, 1, 2000, 0.5))
    >>> cluster.add(PullStatistics(1, 3, 10, 7, 0, 1000, None))
    >>> cluster.pulls, cluster.documents, cluster.pairs_per_document, cluster.tokens_per_document, cluster.reward
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

    def add(self, pull: PullStatistics) -> None:
        """Add one pull."""
        self.pulls += 1
        self.documents += pull.documents
        self.pairs += pull.pairs
        self.rejected += pull.rejected
        self.tokens += pull.tokens
        if pull.reward is not None:
            self.rewards.append(pull.reward)

    def add_pairs(self, pairs: Sequence[QAPair]) -> None:
        """Keep the first pairs as samples, and the first characters for the cluster's terms."""
        self.samples += pairs[: SAMPLES_PER_ARM - len(self.samples)]
        if (room := CHARACTERS_PER_ARM - len(self.text)) > 0:
            self.text += " ".join(pair.text() for pair in pairs)[:room] + " "

    @property
    def reward(self) -> float | None:
        """Mean mixed reward of the pulls that were paid."""
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
class RunStatistics:
    """Statistics of the rounds of a run.

    Args:
        folder (`Path`): The run folder.
        run (`Mapping[str, Any]`): What `run.json` holds: `fingerprint` and sanitised `config` among others.
        rounds (`list[RoundStatistics]`): By index.
        pulls (`list[PullStatistics]`): In the order they were made.
        arms (`dict[int, ClusterStatistics]`): By cluster.
        rejected (`Counter[str]`): What was rejected, by reason.
        kept ([`Usage`]): Tokens of kept pairs ([`kept_tokens`]).
        methods, models, languages (`Counter[str]`): Of the pairs.
        samples (`list[dict[str, Any]]`): The first pair of every round.
        contents (`dict[str, str]`): Hash of the published files by kind, set by the export.
        money (`list[tuple[str, float]]`): Money paid by the ledger of the run's response store, for what and how much,
            set by the export.
    """

    folder: Path = Path()
    run: Mapping[str, Any] = field(default_factory=dict)
    rounds: list[RoundStatistics] = field(default_factory=list)
    pulls: list[PullStatistics] = field(default_factory=list)
    arms: dict[int, ClusterStatistics] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    kept: Usage = Usage()  # noqa: RUF009
    methods: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    money: list[tuple[str, float]] = field(default_factory=list)

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's configuration."""
        return self.run.get("config", {})

    @property
    def corpus(self) -> Mapping[str, Any]:
        """What was noted of the corpus when the run began: `documents`, and its `hub_id` if it has one."""
        return self.run.get("corpus", {})

    @property
    def documents(self) -> int:
        """Documents extracted."""
        return sum(round.documents for round in self.rounds)

    @property
    def pairs(self) -> int:
        """Pairs kept."""
        return sum(round.pairs for round in self.rounds)

    @property
    def usage(self) -> Usage:
        """Tokens and requests of all rounds."""
        return sum((round.usage for round in self.rounds), Usage())

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens used."""
        return self.usage.prompt_tokens + self.usage.completion_tokens

    @property
    def kept_shares(self) -> list[tuple[str, float]]:
        """Of the tokens used, those of kept pairs, by the name that reports and cards use; empty without tokens."""
        used = self.usage
        parts = (
            ("completion tokens in kept pairs", self.kept.completion_tokens, used.completion_tokens),
            ("prompt tokens of documents with kept pairs", self.kept.prompt_tokens, used.prompt_tokens),
        )
        return [(f"share of {name}", part / whole) for name, part, whole in parts if whole]

    def spent(self, kind: str) -> list[int]:
        """What was spent up to and with each round: `"documents"` or `"tokens"`."""
        total, sums = 0, []
        for round in self.rounds:
            usage = round.usage
            total += round.documents if kind == "documents" else usage.prompt_tokens + usage.completion_tokens
            sums.append(total)
        return sums

    def reward_names(self) -> list[str]:
        """Rewards that were paid to any arm, in the order they first appear."""
        known = (name for round in self.rounds for name, value in round.rewards.items() if value is not None)
        return list(dict.fromkeys(known))

    def add(
        self, records: RoundRecords, index: int, round: Round, metadata: Mapping[str, list[str | None]] | None = None
    ) -> None:
        """Add one recorded round; rounds are added in order.

        Args:
            records ([`RoundRecords`]): The run's records.
            index (`int`), round ([`Round`]): Which round, and what its record holds.
            metadata (`Mapping[str, list]`, *optional*): By corpus column, the value of each pair's document.
        """
        reward_record, usage = records.reward_record(index), records.usage_by_arm(index)
        self.rounds.append(RoundStatistics.of(round, reward_record))
        self.rejected.update(round.dropped)
        self.kept += kept_tokens(round.pairs, round.rejected, [pull.documents for pull in round.decisions], usage)
        mixed: list[float | None] = reward_record["mixed"] if reward_record else [None] * len(round.decisions)
        arm_of = {document: decision.arm for decision in round.decisions for document in decision.documents}
        rejected = Counter(arm_of.get(rejection.document_id) for rejection in round.rejected)
        by_arm = zip(round.decisions, usage, mixed, round.pairs_by_arm(), strict=True)
        for decision, used, reward, positions in by_arm:
            arm, tokens = decision.arm, used.prompt_tokens + used.completion_tokens
            pull = PullStatistics(index, arm, len(decision.documents), len(positions), rejected[arm], tokens, reward)
            self.pulls.append(pull)
            cluster = self.arms.setdefault(arm, ClusterStatistics(arm))
            cluster.add(pull)
            cluster.add_pairs([round.pairs[position] for position in positions])
        self._add_provenance(round, metadata or {})

    def _add_provenance(self, round: Round, metadata: Mapping[str, list[str | None]]) -> None:
        self.methods.update(pair.method for pair in round.pairs)
        self.models.update(f"{pair.model} @ {pair.model_revision}" for pair in round.pairs if pair.model)
        for name in ("language", "lang"):
            codes = (value.strip().lower() for value in metadata.get(name, []) if value)
            self.languages.update(code for code in codes if re.fullmatch(r"[a-z]{2,3}", code))
        if round.pairs:
            pair = round.pairs[0]
            sample = {"question": pair.question[:SAMPLE_CHARACTERS], "answer": pair.answer[:SAMPLE_CHARACTERS]}
            self.samples.append(
                {**sample, "document_id": pair.document_id, "cluster": pair.cluster, "round": round.index}
            )


def read_run(run_dir: str | Path) -> RunStatistics:
    """Read a run folder, one round at a time; the run may be going on.

    Args:
        run_dir (`str` or `Path`): The run folder.

    Raises:
        [`RecordError`]: If the folder holds no run, or damaged records.
    """
    records = RoundRecords(run_dir)
    statistics = RunStatistics(Path(run_dir), RunFile(run_dir).read())
    for index in records.indices():
        statistics.add(records, index, records.load(index))
    return statistics
