"""Settings of `equal-hf align`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from equal_hf.utils.settings import check_settings, setting
from equal_hf.utils.typed_values import Range


@dataclass
class AlignConfig:
    """How an embedder is aligned. Each field says what it is."""

    holdout: Annotated[float, Range(above=0.05, max=0.95)] = setting(0.2, "Share of the documents that measures.")
    epochs: Annotated[int, Range(1)] = setting(2, "Number of passes over the training pairs.")
    learning_rate: Annotated[float, Range(above=0)] | None = setting(
        None,
        "Learning rate; if unset 1e-5 for transformers, and for static embedders a tenth of the root mean square of "
        "their table.",
    )
    batch_size: Annotated[int, Range(1)] = setting(64, "Number of pairs in a step, the in-batch negatives.")
    mini_batch_size: Annotated[int, Range(1)] | None = setting(
        None, "Number of pairs embedded at once, for a large batch in little memory (Gao et al. 2021)."
    )
    hard_negatives: Annotated[int, Range(0)] = setting(3, "Number of hard negatives mined for each pair.")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass
class SampleConfig:
    """The sample whose pairs an embedder is aligned with, and its budget. Each field says what it is."""

    sample_share: Annotated[float, Range(above=0, max=1)] = setting(
        0.005, "Share of the documents whose pairs are extracted to align with."
    )
    index_max_documents: Annotated[int, Range(1)] | None = setting(
        None, "Hard limit on documents of that extraction; responses in the store count."
    )
    index_max_prompt_tokens: Annotated[int, Range(1)] | None = setting(
        None, "Hard limit on prompt tokens of that extraction."
    )
    index_max_completion_tokens: Annotated[int, Range(1)] | None = setting(
        None, "Hard limit on completion tokens of that extraction."
    )
    index_max_cost: Annotated[float, Range(0)] | None = setting(None, "Hard limit on the cost of that extraction.")

    def __post_init__(self) -> None:
        check_settings(self, only=SampleConfig)
