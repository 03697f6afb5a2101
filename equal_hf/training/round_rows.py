"""The training set of a run: as many rows as a round has, replaced between rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset


class RoundDataset(Dataset):
    """A map-style dataset of fixed length whose rows are swapped before each epoch.

    The length never changes, so step counts, schedules and samplers are exact; the dataloader is iterated anew each
    epoch, so what it serves is always the round in place, with worker processes too.

    Args:
        length (`int`): Rows of a round.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self.rows: Sequence[dict[str, Any]] = []

    def replace(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put a round's rows in place.

        Raises:
            `ValueError`: If there are not exactly as many as a round has.
        """
        if len(rows) != self._length:
            raise ValueError(f"a round has {self._length} rows, got {len(rows)}")
        self.rows = rows

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.rows[position]
