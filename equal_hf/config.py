"""Settings of a run that collects data; the trainer's settings (`EqualConfig`) are these and TRL's.

>>> CollectorConfig(arms_per_round=5, documents_per_arm=4, max_documents=50).planned_rounds
3
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from equal_hf.errors import ConfigError

DOCUMENT_ORDERS = ("nearest", "random")


@dataclass
class CollectorConfig:
    """What [`EqualDataCollector`] needs to know.

    Args:
        output_dir (`str`, *optional*, defaults to `"equal_output"`): The run folder: records, checkpoints, dataset.
        seed (`int`, *optional*, defaults to `42`): Seeds every choice of the run.
        num_rounds (`int`, *optional*): Rounds at most. Where it is left out, as many as the document budget is good
            for.
        arms_per_round (`int`, *optional*, defaults to `50`): Clusters pulled a round.
        documents_per_arm (`int`, *optional*, defaults to `10`): Documents drawn a pull.
        max_documents (`int`, *optional*): Budget in documents; never passed.
        max_prompt_tokens (`int`, *optional*): Budget in prompt tokens, cached replies included; never passed.
        max_completion_tokens (`int`, *optional*): Budget in completion tokens, cached replies included; never passed.
        feedback_lag (`int`, *optional*, defaults to `0`): Round r is selected from the rewards of rounds up to
            r - 1 - lag. With 1 the next round is extracted while this one trains.
        document_order (`str`, *optional*, defaults to `"nearest"`): In which order a cluster's documents are drawn:
            `"nearest"` to the reference first, or `"random"`.
        reward_weights (`list[float]`, *optional*): One weight a reward function; all 1 where it is left out.
        decontamination_ngram (`int`, *optional*, defaults to `13`): A pair that shares this many words in a row with
            an item of the reference, validation or test set is dropped.
    """

    output_dir: str = field(
        default="equal_output", metadata={"help": "The run folder: records, checkpoints and the dataset."}
    )
    seed: int = field(default=42, metadata={"help": "Seeds every choice of the run."})
    num_rounds: int | None = field(
        default=None, metadata={"help": "Rounds at most; left out, as many as the document budget is good for."}
    )
    arms_per_round: int = field(default=50, metadata={"help": "Clusters pulled a round."})
    documents_per_arm: int = field(default=10, metadata={"help": "Documents drawn a pull."})
    max_documents: int | None = field(default=None, metadata={"help": "Budget in documents; never passed."})
    max_prompt_tokens: int | None = field(default=None, metadata={"help": "Budget in prompt tokens; never passed."})
    max_completion_tokens: int | None = field(
        default=None, metadata={"help": "Budget in completion tokens; never passed."}
    )
    feedback_lag: int = field(
        default=0, metadata={"help": "Round r is selected from the rewards of rounds up to r - 1 - lag (0 or 1)."}
    )
    document_order: str = field(
        default="nearest",
        metadata={
            "help": "Order inside a cluster: nearest to the reference first, or random.",
            "choices": ["nearest", "random"],
        },
    )
    reward_weights: list[float] | None = field(
        default=None, metadata={"help": "One weight a reward function; all 1 where left out."}
    )
    decontamination_ngram: int = field(
        default=13, metadata={"help": "Pairs sharing this many words in a row with a target item are dropped."}
    )

    def __post_init__(self) -> None:
        for name in ("num_rounds", "arms_per_round", "documents_per_arm", "max_documents", "decontamination_ngram"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` is {value}, but a run needs at least 1: set `{name}` to 1 or more")
        for name in ("max_prompt_tokens", "max_completion_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` is {value}, which pays for nothing: raise it, or leave it out for no cap")
        if self.feedback_lag not in (0, 1):
            raise ConfigError(f"`feedback_lag` is {self.feedback_lag}: set it to 0, or to 1 to extract while training")
        if self.document_order not in DOCUMENT_ORDERS:
            raise ConfigError(
                f"`document_order` is {self.document_order!r}: set it to one of {', '.join(DOCUMENT_ORDERS)}"
            )
        if self.num_rounds is None and self.max_documents is None:
            raise ConfigError("nothing says when to stop: set `num_rounds`, or a budget in `max_documents`")

    @property
    def planned_rounds(self) -> int:
        """Rounds the run has at most."""
        if self.num_rounds is not None:
            return self.num_rounds
        assert self.max_documents is not None
        return math.ceil(self.max_documents / (self.arms_per_round * self.documents_per_arm))
