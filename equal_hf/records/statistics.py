"""What a card says about a run, added up round by round, so that memory is bounded by one round."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from equal_hf.types import Round, Usage

SAMPLE_CHARACTERS = 600

Rewards = Mapping[str, Sequence[float | None]]


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are there.

    >>> mean([1.0, None, 2.0]), mean([None])
    (1.5, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """One line of the table of rounds; `rewards` are means over the arms that have one, `target_losses` the
    evaluation losses of several targets by name."""

    index: int
    documents: int
    pairs: int
    usage: Usage
    rewards: dict[str, float | None]
    eval_loss: float | None
    target_losses: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, round: Round, reward_record: Mapping[str, Any] | None) -> RoundFacts:
        """A round by its records.

        Args:
            round ([`Round`]): The round as it was extracted.
            reward_record (`Mapping[str, Any]`, *optional*): Its rewards, where they are recorded.
        """
        rewards: Rewards = reward_record["rewards"] if reward_record else round.rewards
        means = {name: mean(values) for name, values in rewards.items()}
        metrics = (reward_record or {}).get("metrics", {})
        losses = metrics.get("eval_loss"), metrics.get("target_losses") or {}
        return cls(round.index, round.documents, len(round.pairs), round.usage, means, *losses)


@dataclass(slots=True)
class ArmFacts:
    """What one cluster was pulled for, and what came of it."""

    arm: int
    pulls: int = 0
    documents: int = 0
    pairs: int = 0
    rewards: list[float | None] = field(default_factory=list)


class Totals:
    """Sums over the rounds of a run."""

    __slots__ = ()
    rounds: list[RoundFacts]

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


@dataclass(slots=True)
class RunFacts(Totals):
    """The run so far.

    Args:
        run (`Mapping[str, Any]`): What `run.json` says: `fingerprint` and sanitised `config`.

    `samples` holds the first pair of every round, `contents` a hash of the published files by kind, `paid` what the
    run paid by the ledger of its response store, where it has one.
    """

    run: Mapping[str, Any]
    rounds: list[RoundFacts] = field(default_factory=list)
    arms: dict[int, ArmFacts] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str | None] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    paid: float | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's configuration."""
        return self.run.get("config", {})

    @property
    def corpus(self) -> Mapping[str, Any]:
        """What was found out about the corpus when the run began: `documents`, and its `hub_id` if it has one."""
        return self.run.get("corpus", {})

    def add(
        self, round: Round, reward_record: Mapping[str, Any] | None, metadata: Mapping[str, list[str | None]]
    ) -> None:
        """Take in one round.

        Args:
            round ([`Round`]): The round as it was extracted.
            reward_record (`Mapping[str, Any]`, *optional*): Its rewards, where they are recorded.
            metadata (`Mapping[str, list]`): By corpus column, the value of each pair's document.
        """
        mixed = reward_record["mixed"] if reward_record else [None] * len(round.decisions)
        self.rounds.append(RoundFacts.of(round, reward_record))
        for decision, reward, pairs in zip(round.decisions, mixed, round.pairs_by_arm(), strict=True):
            arm = self.arms.setdefault(decision.arm, ArmFacts(decision.arm))
            arm.pulls += 1
            arm.documents += len(decision.documents)
            arm.pairs += len(pairs)
            arm.rewards.append(reward)
        self.dropped.update(round.dropped)
        self.methods.update(pair.method for pair in round.pairs)
        self.models.update(f"{pair.model} @ {pair.model_revision}" for pair in round.pairs if pair.model)
        self.licenses.update(metadata.get("license", [None] * len(round.pairs)))
        for name in ("language", "lang"):
            codes = (value.strip().lower() for value in metadata.get(name, []) if value)
            self.languages.update(code for code in codes if re.fullmatch(r"[a-z]{2,3}", code))
        if round.pairs:
            pair = round.pairs[0]
            sample = {"question": pair.question[:SAMPLE_CHARACTERS], "answer": pair.answer[:SAMPLE_CHARACTERS]}
            self.samples.append(
                {**sample, "document_id": pair.document_id, "cluster": pair.cluster, "round": round.index}
            )
