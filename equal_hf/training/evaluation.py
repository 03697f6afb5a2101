"""Exact match in one call: does greedy generation end in the right result?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equal_hf.target.items import TargetItem
from equal_hf.training.exact_match.measure import Question, measure_exact_match, with_result


def exact_match(
    model: Any, tokenizer: Any, items: Sequence[TargetItem], *, max_new_tokens: int = 256, batch_tokens: int = 16_384
) -> float:
    """Share of items whose greedy reply, asked as a chat, ends in the item's `final` result.

    With several processes all of them call it, and each generates its share.

    Args:
        model (`PreTrainedModel`): The model, on its device.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer, with a chat template.
        items (`Sequence[TargetItem]`): Items; those without a `final` are left out.
        max_new_tokens (`int`, *optional*, defaults to `256`): Longest reply.
        batch_tokens (`int`, *optional*, defaults to `16_384`): Tokens of prompts and replies generated at once.

    Returns:
        `float`: Between 0 and 1; 0 without an item to score. A reply without a result is wrong.
    """
    asked = Question(with_result(items), new_tokens=max_new_tokens, batch_tokens=batch_tokens)
    return measure_exact_match(model, tokenizer, asked).get("exact_match", 0.0)
