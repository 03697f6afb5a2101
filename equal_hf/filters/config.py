"""Settings of the quality filters.

>>> FilterConfig(filters=["duplicate"], min_grounding=0.2).min_grounding
0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from equal_hf.errors import ConfigError
from equal_hf.filters.benchmarks import Benchmark
from equal_hf.filters.grounding import GroundingFilter
from equal_hf.filters.lengths import LengthFilter
from equal_hf.filters.near_duplicate import NearDuplicateFilter
from equal_hf.filters.reasons import FILTERS, check_filters
from equal_hf.utils.effective import AllNeeds
from equal_hf.utils.settings import check_settings, setting
from equal_hf.utils.typed_values import Range


@dataclass
class FilterConfig:
    """Which quality filters pairs have to pass, and their thresholds. Each field says what it is."""

    needs: ClassVar[AllNeeds] = {
        "max_question_characters": {"filters": ["lengths"]},
        "max_answer_characters": {"filters": ["lengths"]},
        "min_grounding": {"filters": ["grounding"]},
        "near_duplicate_similarity": {"filters": ["near_duplicate"]},
        "decontamination_ngram": {"filters": ["contaminated"]},
        "decontaminate_against": {"filters": ["contaminated"]},
    }

    filters: list[str] = setting(list(FILTERS), f"Quality filters that pairs have to pass: {', '.join(FILTERS)}.")
    max_question_characters: int = setting(4000, "Longest question that passes, in characters.")
    max_answer_characters: int = setting(8000, "Longest answer that passes, in characters.")
    min_grounding: float = setting(0.15, "Share of an answer's content words that its document has to hold, 0 to 1.")
    near_duplicate_similarity: float = setting(
        0.8, "Similarity to an earlier pair from which a pair is rejected, 0.7 to 1."
    )
    decontamination_ngram: Annotated[int, Range(1)] = setting(
        13, "A pair that shares this many words in a row with an item of the target or of a benchmark is rejected."
    )
    decontaminate_against: list[str] | None = setting(
        None,
        "Benchmarks that no pair may repeat, each `source[@configuration][:split][:column]`: a Hub dataset id, file "
        "or folder; by default the column `question` of the split `test`.",
    )

    def __post_init__(self) -> None:
        check_settings(self, only=FilterConfig)
        check_filters(self.filters)
        # Each filter checks its own settings.
        LengthFilter(self.max_question_characters, self.max_answer_characters)
        GroundingFilter(self.min_grounding)
        NearDuplicateFilter(self.near_duplicate_similarity)
        for name in self.decontaminate_against or ():
            Benchmark.parse(name)
        if self.decontaminate_against and "contaminated" not in self.filters:
            raise ConfigError(
                "`decontaminate_against` is set but `filters` leaves out `contaminated`: add it, or name none"
            )
