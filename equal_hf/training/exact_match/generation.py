"""Greedy replies of a model to prompts, batched by length.

The reply to a prompt is the one that it gets alone, up to rounding: prompts are padded on the left, where no row
attends, and positions count from a row's own first token. In float32 a sum differs in its last bit with the size of
the batch, which changes a token where two logits are as near as that; in bfloat16 that is often. Batches are made of
all prompts in one way, whoever generates them, so that replies do not hang on the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote.

    Args:
        text (`str`): The reply, without special tokens.
        tokens (`int`): How many it took, the end included.
        ended (`bool`): Whether it ended by itself, and not by the limit.
    """

    text: str
    tokens: int
    ended: bool


def batches_of(lengths: Sequence[int], new_tokens: int, batch_tokens: int) -> list[list[int]]:
    """Which prompts are answered together: those of like length, the longest first, so that memory runs out at once.

    Args:
        lengths (`Sequence[int]`): Tokens of each prompt.
        new_tokens (`int`): Tokens of a reply at most.
        batch_tokens (`int`): Tokens of a batch at most, padding and replies included; one prompt is one at least.

    >>> batches_of([5, 9, 6, 2], new_tokens=1, batch_tokens=20)
    [[1, 2], [0, 3]]
    """
    batches: list[list[int]] = []
    rows = 0
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        if not batches or len(batches[-1]) == rows:
            batches.append([])
            rows = max(1, batch_tokens // (lengths[place] + new_tokens))
        batches[-1].append(place)
    return batches


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, new_tokens: int, stop: Sequence[str] = ()
) -> list[Reply]:
    """Greedy replies to prompts, as one batch that ends with its last reply.

    Args:
        model (`PreTrainedModel`): The model, on its device, in evaluation mode.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
        prompts (`Sequence[Sequence[int]]`): Token ids.
        new_tokens (`int`): Tokens of a reply at most.
        stop (`Sequence[str]`, *optional*): Texts that end a reply.
    """
    import torch
    from transformers import GenerationConfig

    ends = _ends(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), pad)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    # What a model's own settings say of sampling and penalties is no part of greedy decoding, and training with
    # gradient checkpointing leaves its cache off.
    config = GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        use_cache=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad,
        stop_strings=list(stop) or None,
    )
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            tokenizer=tokenizer if stop else None,
        )
    return [_reply(row, ends, tokenizer, stop) for row in output[:, longest:].tolist()]


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end a reply: the model's, which may be several, and the tokenizer's."""
    own = model.generation_config.eos_token_id
    ends = {own} if isinstance(own, int) else set(own or ())
    return ends | ({tokenizer.eos_token_id} - {None})


def _reply(ids: list[int], ends: set[int], tokenizer: Any, stop: Sequence[str]) -> Reply:
    """A row of what was generated, up to its end; behind it stands padding."""
    length = next((place + 1 for place, token in enumerate(ids) if token in ends), None)
    text = tokenizer.decode(ids[:length], skip_special_tokens=True)
    ended = length is not None
    for end in stop:
        if end in text:
            text, ended = text.partition(end)[0], True
    if length is None:
        pad = tokenizer.pad_token_id
        length = len(ids)
        while ended and length and ids[length - 1] == pad:
            length -= 1
    return Reply(text, length, ended)
