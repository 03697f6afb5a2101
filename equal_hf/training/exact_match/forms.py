"""How test items are asked and read: as a chat, and as lm-evaluation-harness asks GSM8K.

The second is the form of the harness' task `gsm8k` (github.com/EleutherAI/lm-evaluation-harness,
lm_eval/tasks/gsm8k/gsm8k.yaml): `Question: …\\nAnswer:` after five answered examples with a blank line between them,
greedy, ended by another `Question:`; read by `strict-match`, the number behind `####`, and by `flexible-extract`, the
last number. The harness takes its examples from the train split; here they are the first of the reference items, with
their answers as they are and `#### result` behind those that lack it.

>>> from equal_hf.target.items import TargetItem
>>> print(few_shot_text(TargetItem("2 + 3?", "5"), [TargetItem("1 + 1?", "It is 2.", "2")]))
Question: 1 + 1?
Answer: It is 2.
#### 2
<BLANKLINE>
Question: 2 + 3?
Answer:
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from equal_hf.target.items import TargetItem, marked_result
from equal_hf.training.exact_match.results import flexible_result, reply_result, same_result, same_text, strict_result

# What ends a reply besides the model's own end.
STOP: dict[str, tuple[str, ...]] = {"chat": (), "few_shot": ("Question:",)}
# Names of what is measured in each form.
MEASURES = {"chat": ("exact_match",), "few_shot": ("exact_match_strict", "exact_match_flexible")}

Verify = Callable[[str, str], bool]


def chat_messages(item: TargetItem) -> list[dict[str, str]]:
    """An item as a conversation: its question is the user's message."""
    return [{"role": "user", "content": item.question}]


def few_shot_text(item: TargetItem, examples: Sequence[TargetItem]) -> str:
    """An item as the text to go on with, after answered examples.

    Args:
        item ([`TargetItem`]): The item.
        examples (`Sequence[TargetItem]`): Items with their answers.
    """
    shown = [f"Question: {one.question}\nAnswer: {_worked(one)}" for one in examples]
    return "\n\n".join([*shown, f"Question: {item.question}\nAnswer:"])


def _worked(item: TargetItem) -> str:
    marked = "####" in item.answer and marked_result(item.answer) is not None
    return item.answer if marked or item.final is None else f"{item.answer}\n#### {item.final}"


def prompts(form: str, tokenizer: Any, items: Sequence[TargetItem], examples: Sequence[TargetItem]) -> list[list[int]]:
    """The prompts of items as token ids.

    Args:
        form (`str`): `"chat"` or `"few_shot"`.
        tokenizer (`PreTrainedTokenizerBase`): The model's, with a chat template for the chat form.
        items (`Sequence[TargetItem]`): The items.
        examples (`Sequence[TargetItem]`): Of the form `few_shot`.
    """
    if not items:
        return []
    if form == "few_shot":
        return list(tokenizer([few_shot_text(item, examples) for item in items])["input_ids"])
    conversations = [chat_messages(item) for item in items]
    encoded = tokenizer.apply_chat_template(conversations, add_generation_prompt=True, return_dict=True)
    return list(encoded["input_ids"])


def read(form: str, reply: str, wanted: str, verify: Verify) -> list[tuple[str, bool]]:
    """The result found in a reply and whether it is right, for each measure of the form.

    Args:
        form (`str`): `"chat"` or `"few_shot"`.
        reply (`str`): What the model wrote.
        wanted (`str`): The item's result.
        verify (`Callable[[str, str], bool]`): Whether two formulas are equal: the wanted one and the one found.
    """
    for stop in STOP[form]:
        reply = reply.partition(stop)[0]
    if form == "few_shot":
        return [(found, same_text(wanted, found)) for found in (strict_result(reply), flexible_result(reply))]
    found = reply_result(reply, wanted)
    same = same_result(wanted, found)
    return [(found, verify(wanted, found) if same is None else same)]
