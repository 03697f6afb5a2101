"""Exact match: does greedy generation end in the right result?

>>> final_answer("So she pays 3 * 4 = 12 dollars. #### 1,200")
'1200'
>>> final_answer("x = -3.50.")
'-3.5'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from equal_hf.target import TargetItem

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


def final_answer(text: str) -> str:
    """The result an answer ends in: what follows `####`, else its last number, else its last line; numbers without
    thousands separators and trailing zeros."""
    tail = text.rsplit("####", 1)[-1].strip()
    numbers = _NUMBER.findall(tail)
    if not numbers:
        return tail.splitlines()[-1].strip().rstrip(".") if tail else ""
    number = numbers[-1].replace(",", "")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return number or "0"


def exact_match(
    model: Any, tokenizer: Any, items: Sequence[TargetItem], *, max_new_tokens: int = 256, batch_size: int = 16
) -> float:
    """Share of items whose greedy generation ends in the item's `final` result.

    Args:
        model (`PreTrainedModel`): The model, on its device.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer, with a chat template.
        items (`Sequence[TargetItem]`): Items that have a `final`.
        max_new_tokens (`int`, *optional*, defaults to `256`): Longest generation.
        batch_size (`int`, *optional*, defaults to `16`): Items generated at once.

    Returns:
        `float`: Between 0 and 1.
    """
    import torch
    from tqdm.auto import tqdm

    right = 0
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    training = model.training
    model.eval()
    try:
        for start in tqdm(range(0, len(items), batch_size), desc="Exact match", disable=None):
            batch = items[start : start + batch_size]
            prompts = [[{"role": "user", "content": item.question}] for item in batch]
            inputs = tokenizer.apply_chat_template(
                prompts, add_generation_prompt=True, return_tensors="pt", padding=True, return_dict=True
            ).to(model.device)
            with torch.inference_mode():
                output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
            replies = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            right += sum(
                final_answer(reply) == final_answer(str(item.final))
                for reply, item in zip(replies, batch, strict=True)
            )
    finally:
        tokenizer.padding_side = side
        model.train(training)
    return right / len(items) if items else 0.0
