"""Rows of a round as tokens, as SFTTrainer prepares them, and what `max_length` cut of them.

SFTTrainer's own preparation takes rows one by one, in several passes, and on every process in turn. A round comes
again and again while all processes wait, so its rows are tokenized on one process, many at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, Features, List, Value, concatenate_datasets
from transformers import ProcessorMixin
from trl import SFTTrainer
from trl.data_utils import common_prefix_length

from equal_hf.types import Messages

logger = logging.getLogger(__name__)

AT_A_TIME = 1024  # rows, which bounds what is held as Python numbers
_IGNORED = -100
_FEATURES = Features({"input_ids": List(Value("int64")), "labels": List(Value("int64")), "row": Value("int64")})


@dataclass(frozen=True, slots=True)
class TokenizedRows:
    """Rows ready to train on.

    Args:
        dataset (`Dataset`): Those that have a token of their answer left: `input_ids`, `labels`, and `row`, their
            index among all.
        cut (`frozenset[int]`): Indices of rows that are longer than `max_length`, and so lost an end.
        lost (`frozenset[int]`): Indices of rows that lost their whole answer, which `dataset` leaves out.
        lengths (`list[int]`): Tokens of each row of `dataset`.
    """

    dataset: Dataset
    cut: frozenset[int]
    lost: frozenset[int]
    lengths: list[int]

    def warn(self, max_length: int | None, cut: int, of: str) -> None:
        """Say that rows lost something, if any did.

        Args:
            max_length (`int`, *optional*): The limit.
            cut (`int`): How many of those trained on were cut.
            of (`str`): What they are rows of.
        """
        if cut or self.lost:
            logger.warning(
                "`max_length` %s cuts off the end of %d rows of %s, and %d others lose their whole answer and are "
                "left out. Both are counted from here on (`equal/rows_cut`, `equal/rows_lost`). Raise it to train on "
                "whole answers.",
                max_length,
                cut,
                of,
                len(self.lost),
            )


def tokenize_rows(trainer: SFTTrainer, rows: Sequence[Mapping[str, Messages]]) -> TokenizedRows:
    """Tokenize rows as `SFTTrainer` would, by its arguments. Waits for no other process.

    Args:
        trainer (`SFTTrainer`): Its arguments, tokenizer and chat template are used.
        rows (`Sequence[Mapping[str, Messages]]`): Conversational prompt-completion rows.
    """
    args: Any = trainer.args
    parts, cut, lost, lengths = [], set(), set(), []
    for start in range(0, len(rows), AT_A_TIME):
        numbers, kept = [], []
        for number, row in enumerate(_encode(trainer, rows[start : start + AT_A_TIME]), start):
            whole = len(row[0])
            ids, labels = _truncate(args, *row)
            if args.max_length is not None and all(label == _IGNORED for label in labels):
                lost.add(number)
                continue
            if len(ids) < whole:
                cut.add(number)
            numbers.append(number)
            kept.append((ids, labels))
        columns = {"input_ids": [ids for ids, _ in kept], "labels": [labels for _, labels in kept], "row": numbers}
        lengths += [len(ids) for ids, _ in kept]
        parts.append(Dataset.from_dict(columns, _FEATURES))
    return TokenizedRows(concatenate_datasets(parts), frozenset(cut), frozenset(lost), lengths)


def _encode(trainer: SFTTrainer, rows: Sequence[Mapping[str, Messages]]) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels of each row; what bears no loss has the label -100."""
    args: Any = trainer.args
    whole = [row["prompt"] + row["completion"] for row in rows]
    prompts = _ids(trainer, [row["prompt"] for row in rows], add_generation_prompt=True)["input_ids"]
    masked = {"return_assistant_tokens_mask": True} if args.assistant_only_loss else {}
    encoded = _ids(trainer, whole, **masked)
    answers = encoded.get("assistant_masks", [None] * len(rows))
    encoded_rows = []
    for prompt, ids, answer in zip(prompts, encoded["input_ids"], answers, strict=True):
        begins = common_prefix_length(prompt, ids) if trainer.completion_only_loss else 0
        labels = [_IGNORED] * begins + ids[begins:]
        if answer is not None:
            labels = [label if bit else _IGNORED for label, bit in zip(labels, answer, strict=True)]
        encoded_rows.append((ids, labels))
    return encoded_rows


def _ids(trainer: SFTTrainer, conversations: Sequence[Messages], **settings: Any) -> Mapping[str, Any]:
    tokenizer: Any = trainer.processing_class
    settings |= {"chat_template": trainer.chat_template}
    if isinstance(tokenizer, ProcessorMixin):  # pads what it is given together
        from trl.data_utils import _tokenize

        single = [_tokenize(tokenizer, conversation, **settings) for conversation in conversations]
        return {name: [one[name] for one in single] for name in single[0]}
    return tokenizer.apply_chat_template(list(conversations), tokenize=True, return_dict=True, **settings)


def _truncate(args: Any, ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    if args.max_length is None:
        return ids, labels
    kept = slice(None, args.max_length) if args.truncation_mode == "keep_start" else slice(-args.max_length, None)
    return ids[kept], labels[kept]
