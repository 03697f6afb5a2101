"""Settings of exact match: [`ExactMatchConfig`]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from equal_hf.utils.effective import AllNeeds, Unless
from equal_hf.utils.settings import check_settings, setting
from equal_hf.utils.typed_values import Range

FORMS = ("chat", "few_shot")


@dataclass
class ExactMatchConfig:
    """How test items with a result are answered and read. Each field says what it is."""

    needs: ClassVar[AllNeeds] = {
        "exact_match_forms": {"exact_match_items": Unless((0,))},
        "exact_match_new_tokens": {"exact_match_items": Unless((0,))},
        "exact_match_shots": {"exact_match_items": Unless((0,)), "exact_match_forms": ["few_shot"]},
        "exact_match_batch_tokens": {"exact_match_items": Unless((0,))},
    }

    exact_match_forms: list[str] = setting(
        ["chat"],
        "How test items are asked: `chat` (the question as the user's message), `few_shot` (the form of "
        "lm-evaluation-harness for GSM8K).",
        FORMS,
    )
    exact_match_items: Annotated[int, Range(0)] | None = setting(
        None, "Test items of each target that are answered, evenly spread; all if unset, none if 0."
    )
    exact_match_new_tokens: Annotated[int, Range(1)] | None = setting(
        None, "Tokens of a reply at most; if unset 512, or `max_length` where that is less."
    )
    exact_match_shots: Annotated[int, Range(0)] = setting(
        5, "Reference items that stand before the question of the form `few_shot`."
    )
    exact_match_batch_tokens: Annotated[int, Range(1)] = setting(
        16_384, "Tokens of prompts, padding and replies that a process generates with at a time; one item at least."
    )
    measure_untouched: bool = setting(
        True, "Measure test loss and exact match before training too: the untouched model, beside the trained one."
    )

    def __post_init__(self) -> None:
        check_settings(self, only=ExactMatchConfig)

    def new_tokens(self, max_length: int | None) -> int:
        """Tokens of a reply at most.

        Args:
            max_length (`int`, *optional*): Longest row in training.
        """
        return self.exact_match_new_tokens or min(max_length or 512, 512)
