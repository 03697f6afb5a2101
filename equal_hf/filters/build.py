"""From settings to the filters of a run.

>>> [filter.name for filter in build_filters(FilterConfig(filters=["duplicate", "lengths"]))]
['lengths', 'duplicate']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from equal_hf.filters.base import Filter
from equal_hf.filters.benchmarks import benchmark_texts
from equal_hf.filters.config import FilterConfig
from equal_hf.filters.contaminated import ContaminationFilter
from equal_hf.filters.duplicate import DuplicateFilter
from equal_hf.filters.exercise import ExerciseFilter
from equal_hf.filters.grounding import GroundingFilter
from equal_hf.filters.language import LanguageFilter
from equal_hf.filters.lengths import LengthFilter
from equal_hf.filters.near_duplicate import NearDuplicateFilter
from equal_hf.filters.number_family import NumberFamilyFilter
from equal_hf.filters.prompt_echo import PromptEchoFilter
from equal_hf.filters.reasons import FILTERS
from equal_hf.filters.restated import RestatedFilter
from equal_hf.filters.self_contained import SelfContainedFilter
from equal_hf.filters.statement import StatementFilter

if TYPE_CHECKING:
    from equal_hf.target.items import TargetItem


def build_filters(config: FilterConfig, protected: Sequence[TargetItem] = (), prompt: str = "") -> list[Filter]:
    """The filters that `config.filters` names, in the one order they run in.

    Args:
        config ([`FilterConfig`]): Names and thresholds.
        protected (`Sequence[TargetItem]`, *optional*): Items of the target task that no pair may repeat.
        prompt (`str`, *optional*): What the extracting model was told, without the document.

    Raises:
        [`ConfigError`]: If a benchmark in `decontaminate_against` has no such column.
        [`CorpusError`]: If a benchmark cannot be opened.
    """

    def contamination() -> Filter:
        questions, answers = ([getattr(item, part) for item in protected] for part in ("question", "answer"))
        benchmarks = benchmark_texts(config.decontaminate_against or ())
        return ContaminationFilter(questions, answers, benchmarks, n=config.decontamination_ngram)

    makers: dict[str, Callable[[], Filter]] = {
        "lengths": lambda: LengthFilter(config.max_question_characters, config.max_answer_characters),
        "exercise": ExerciseFilter,
        "statement": StatementFilter,
        "restated": RestatedFilter,
        "self_contained": SelfContainedFilter,
        "prompt_echo": lambda: PromptEchoFilter(prompt),
        "grounding": lambda: GroundingFilter(config.min_grounding),
        "contaminated": contamination,
        "language": LanguageFilter,
        "duplicate": DuplicateFilter,
        "number_family": NumberFamilyFilter,
        "near_duplicate": lambda: NearDuplicateFilter(config.near_duplicate_similarity),
    }
    return [makers[name]() for name in FILTERS if name in config.filters]
