"""Rows of a round as tokens, by SFTTrainer's own preparation, and what `max_length` cut of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from trl import SFTTrainer


@dataclass(frozen=True, slots=True)
class TokenizedRows:
    """Rows ready to train on.

    Args:
        dataset (`Dataset`): Those that have a token of their answer left, with `row`, their index among all.
        cut (`frozenset[int]`): Indices of rows that are longer than `max_length`, and so lost an end.
        lost (`frozenset[int]`): Indices of rows that lost their whole answer, which `dataset` leaves out.
    """

    dataset: Dataset
    cut: frozenset[int]
    lost: frozenset[int]


def tokenize_rows(trainer: SFTTrainer, rows: list[dict[str, Any]]) -> TokenizedRows:
    """Tokenize rows as `SFTTrainer` does, quietly: it happens every round.

    Args:
        trainer (`SFTTrainer`): Its arguments, tokenizer and preparation are used.
        rows (`list[dict]`): Conversational prompt-completion rows.
    """
    tokenizer: Any = trainer.processing_class
    args: Any = trainer.args
    whole = copy.copy(args)
    whole.max_length = None
    numbered = Dataset.from_list([{**row, "row": index} for index, row in enumerate(rows)])
    with _quiet_datasets():
        dataset = trainer._prepare_dataset(numbered, tokenizer, whole, False, None, "round")
        if args.max_length is None:
            return TokenizedRows(dataset, frozenset(), frozenset())
        lengths = dict(zip(dataset["row"], map(len, dataset["input_ids"]), strict=True))
        dataset = trainer._prepare_dataset(dataset, tokenizer, args, False, None, "round")
    left = frozenset(dataset["row"])
    cut = frozenset(row for row, length in lengths.items() if length > args.max_length)
    return TokenizedRows(dataset, cut & left, frozenset(lengths) - left)


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
