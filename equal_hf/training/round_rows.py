"""Which rows a round trains on, and the dataset that holds them.

A round trains on a sample of its own pairs, stratified by arm, topped up by replay of earlier rounds.

>>> rng = np.random.default_rng(0)
>>> 4 in sample_own([[0, 1, 2, 3], [4]], rng)[:2]
True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class RoundDataset:
    """A map-style dataset of fixed length whose rows are replaced before each epoch.

    The length never changes, so step counts, schedules and samplers are exact. The dataloader is iterated anew each
    epoch, so it always serves the current round, with worker processes too.

    Args:
        length (`int`): Rows of a round.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self.rows: Sequence[dict[str, Any]] = []

    def replace(self, rows: Sequence[dict[str, Any]]) -> None:
        """Set the rows of a round.

        Raises:
            `ValueError`: If there are not exactly as many as a round has.
        """
        if len(rows) != self._length:
            raise ValueError(f"a round has {self._length} rows, got {len(rows)}")
        self.rows = rows

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def sample_own(pairs_by_arm: Sequence[Sequence[int]], rng: np.random.Generator) -> list[int]:
    """Positions of the round's own pairs in the order they are taken: any prefix is a stratified sample.

    The first index goes to each arm in turn, so that no arm's evidence is lost while there are places; after that
    every arm has its share in proportion to its pairs.

    Args:
        pairs_by_arm (`Sequence[Sequence[int]]`): Positions of each arm's pairs.
        rng (`np.random.Generator`): Seeded by run and round.

    Returns:
        `list[int]`: All positions.
    """
    shuffled = [rng.permutation(np.asarray(arm, dtype=np.int64)) for arm in pairs_by_arm if len(arm)]
    # The j-th of an arm's m pairs stands (j + ½) / m of the way along; in that order any prefix is proportional.
    ranks = [(j > 0, (j + 0.5) / len(arm), index, j) for index, arm in enumerate(shuffled) for j in range(len(arm))]
    return [int(shuffled[index][j]) for _, _, index, j in sorted(ranks)]


def sample_replay(pair_counts: Sequence[int], n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of earlier rounds to fill a round up with, as `(round, position)`.

    Drawn without replacement over all earlier pairs; where there are fewer than `n`, they are gone through again.

    Args:
        pair_counts (`Sequence[int]`): Pairs of every earlier round.
        n (`int`): Rows wanted.
        rng (`np.random.Generator`): Seeded by run and round.

    >>> sample_replay([0, 2], 3, np.random.default_rng(0))[0][0]
    1
    """
    total = sum(pair_counts)
    if not total or n <= 0:
        return []
    passes = -(-n // total)
    drawn = np.concatenate([rng.permutation(total) for _ in range(passes)])[:n]
    ends = np.cumsum(pair_counts)
    rounds = np.searchsorted(ends, drawn, side="right")
    starts = ends - np.asarray(pair_counts)
    return [(int(r), int(position - starts[r])) for r, position in zip(rounds, drawn, strict=True)]
