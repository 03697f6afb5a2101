"""Rows of a round as tokens, by SFTTrainer's own preparation, and what `max_length` cut of them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from trl import SFTTrainer

logger = logging.getLogger(__name__)


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
