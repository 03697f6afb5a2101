"""What is embedded of a shard that is not finished, kept on disk twice a minute: a stop costs seconds, not the shard.

Batches are kept as the embedder gave them, before texts are put together from their windows. Which texts make a batch
does not depend on when anything was kept, so a shard that was stopped gets the bytes of one that was not.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from equal_hf.corpus.indexing.workspace import read_record, write_record
from equal_hf.utils.files import write_file

SAVE_EVERY_S = 30.0


class UnfinishedShard:
    """The first rows of a shard that is being embedded.

    Args:
        folder (`Path`): Where they are kept, in numbered parts; the shard's own.
        inputs (`Mapping[str, Any]`): What they depend on; JSON-able. Parts of something else are removed.

    Attributes:
        found (`np.ndarray` of shape `(m, d)`, float32): Rows that an earlier start has left; `None` where there are
            none.
        share (`float`): Share of the shard that they are.
    """

    def __init__(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        self._folder, self._inputs = folder, inputs
        self.share, self._parts, self._rows = 0.0, 0, 0
        parts = []
        while (facts := read_record(self._record(), self._inputs_now())) is not None:
            parts.append(np.load(self._record().with_suffix(".npy"), allow_pickle=False))
            self.share = facts["share"]
            self._count(len(parts[-1]))
        if not parts:
            shutil.rmtree(folder, ignore_errors=True)
        self.found = np.concatenate(parts) if parts else None
        self._unsaved: list[np.ndarray] = []
        self._saved_s = time.monotonic()

    def add(self, rows: np.ndarray, share: float) -> None:
        """Take the next rows, by which that share of the shard is done; they are saved within half a minute."""
        self._unsaved.append(rows)
        self.share = share
        if time.monotonic() - self._saved_s >= SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Put what was added into a part of its own."""
        if not self._unsaved:
            return
        rows, content, record = np.concatenate(self._unsaved), io.BytesIO(), self._record()
        np.save(content, rows, allow_pickle=False)
        write_file(record.with_suffix(".npy"), content.getvalue())
        facts = {"embedded": len(rows), "share": self.share}
        write_record(record, self._inputs_now(), [record.with_suffix(".npy")], facts)
        self._count(len(rows))
        self._unsaved, self._saved_s = [], time.monotonic()

    def _count(self, rows: int) -> None:
        self._parts, self._rows = self._parts + 1, self._rows + rows

    def _record(self) -> Path:
        return self._folder / f"{self._parts:05d}.json"

    def _inputs_now(self) -> dict[str, Any]:
        # Parts that came after one that is damaged need not begin where it will end when it is made again.
        return {**self._inputs, "first": self._rows}
