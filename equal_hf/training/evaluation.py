r"""Exact match: does greedy generation end in the right result?

>>> final_answer("So she pays 3 * 4 = 12 dollars. #### 1,200")
'1200'
>>> final_answer(r"Half of it, \boxed{\frac{1}{2}}, is in 3 boxes.")
'\\frac{1}{2}'
>>> final_answer("x = -3.50.")
'-3.5'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from equal_hf.target import TargetItem, marked_result

_SPACING = re.compile(r"\s|\$|\\[,;:! ]|\\(?:left|right)(?![A-Za-z])")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


def final_answer(text: str) -> str:
    """The result an answer ends in: what [`marked_result`] reads, else its last number, else its last line.

    Numbers are written without thousands separators and trailing zeros. It is empty for an answer without a result.
    """
    marked = marked_result(text)
    return _last_number(text.strip()) if marked is None else _canonical(marked)


def _canonical(result: str) -> str:
    # In LaTeX the last number is not the result: 1/2 and 3/2 both end in 2.
    return _SPACING.sub("", result).rstrip(".") if "\\" in result else _last_number(result.strip())


def _last_number(tail: str) -> str:
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
        items (`Sequence[TargetItem]`): Items; those without a `final` are left out.
        max_new_tokens (`int`, *optional*, defaults to `256`): Longest generation.
        batch_size (`int`, *optional*, defaults to `16`): Items generated at once.

    Returns:
        `float`: Between 0 and 1; 0 without an item to score. A generation without a result is wrong.
    """
    import torch
    from tqdm.auto import tqdm

    items = [item for item in items if item.final]
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
                final_answer(reply) == result != ""
                for reply, result in zip(replies, (_canonical(str(item.final)) for item in batch), strict=True)
            )
    finally:
        tokenizer.padding_side = side
        model.train(training)
    return right / len(items) if items else 0.0
