"""What a run has done so far, as a fold over its records: budget used, pairs seen, whether it is over.

Feeding the same rounds in the same order gives the same state, whether they come from this process or from the disk;
so there is nothing else to save, and nothing that could disagree with the records.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from equal_hf.types import Round, Usage


@dataclass
class History:
    """State of a run between rounds.

    Args:
        document_counts (`list[int]`): Documents of every round.
        usages (`list[Usage]`): What every round used.
        pair_counts (`list[int]`): Pairs of every round.
        finished (`bool`): The last round said that budget or corpus had come to an end.
    """

    document_counts: list[int] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)
    pair_counts: list[int] = field(default_factory=list)
    finished: bool = False

    @property
    def rounds(self) -> int:
        """How many rounds were extracted."""
        return len(self.pair_counts)

    @property
    def documents(self) -> int:
        """How many documents were drawn."""
        return sum(self.document_counts)

    @property
    def usage(self) -> Usage:
        """What all rounds used."""
        return sum(self.usages, Usage())

    @property
    def pairs(self) -> int:
        """How many pairs were kept."""
        return sum(self.pair_counts)

    def totals(self, through: int) -> dict[str, float]:
        """Sums over rounds 0 to `through`, by the names that trackers use."""
        usage = sum(self.usages[: through + 1], Usage())
        return {
            "documents": sum(self.document_counts[: through + 1]),
            "pairs": sum(self.pair_counts[: through + 1]),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "requests": usage.requests,
            "cached_tokens": usage.cached_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        }

    def extracted(self, round: Round) -> None:
        """Take in a round's record of extraction."""
        if round.index != self.rounds:
            raise ValueError(f"round {round.index} cannot follow {self.rounds} rounds")
        self.document_counts.append(round.documents)
        self.usages.append(round.usage)
        self.pair_counts.append(len(round.pairs))
        self.finished = round.last
