"""The order of rows in which a batch holds rows of like length, so that little of it is padding.

Rows that are processed at the same time, one batch on each process, are neighbours in length: none waits for a longer
one. Which of them make an optimizer step together is chance, by seed and round.

>>> order = batches_by_length([9, 1, 8, 2], 2, np.random.default_rng(0))
>>> sorted(sorted(order[i : i + 2]) for i in (0, 2))
[[0, 2], [1, 3]]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler


def batches_by_length(lengths: Sequence[int], rows: int, rng: np.random.Generator) -> list[int]:
    """Positions of the rows in the order they are trained on.

    Args:
        lengths (`Sequence[int]`): Tokens of each row.
        rows (`int`): Rows that all processes take at a time.
        rng (`np.random.Generator`): Seeded by run and round.
    """
    shuffled = rng.permutation(len(lengths))  # so that rows of one length do not meet by where they came from
    ordered = shuffled[np.argsort(np.asarray(lengths)[shuffled], kind="stable")]
    # What fills no whole batch comes last, and is what costs least.
    rest = len(ordered) % rows
    blocks = ordered[rest:].reshape(-1, rows)
    blocks = blocks[rng.permutation(len(blocks))]
    blocks[1::2] = blocks[1::2, ::-1]  # the last process has the longer rows of one and the shorter ones of the next
    return np.concatenate([blocks.ravel(), ordered[:rest]]).tolist()


class InOrder(Sampler[int]):
    """Serves the rows of a round as they lie.

    `LengthGroupedSampler` of transformers does not fit: it reads all lengths when training begins, before there is a
    round, takes no account of how many processes there are, and goes from long rows to short ones.

    Args:
        rows (`Sized`): The rows, which are replaced before each epoch.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.rows)))


class ByLength(Sampler[int]):
    """Serves rows that are there from the beginning in batches by length, each epoch in another order.

    The order of an epoch follows from seed and epoch alone, so a training goes on in the middle of one.

    Args:
        lengths (`Sequence[int]`): Tokens of each row.
        rows (`int`): Rows that all processes take at a time.
        seed (`int`): Of the run.
    """

    def __init__(self, lengths: Sequence[int], rows: int, seed: int) -> None:
        self.lengths, self.rows, self.seed, self.epoch = lengths, rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(batches_by_length(self.lengths, self.rows, np.random.default_rng([self.seed, self.epoch, 3])))
