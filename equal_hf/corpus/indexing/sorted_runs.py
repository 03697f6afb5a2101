"""Sorted runs: a document shard's rows in the order of the corpus, ready to be merged with the other shards'.

A run is three files: `rows.arrow` (documents, compressed in small batches), `order.npy` (cluster, key and text size of
each row) and `embeddings.npy`. The last two are mapped into memory, so a merge needs room for one batch a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from equal_hf.errors import CorpusError
from equal_hf.utils.files import replacing

BATCH_BYTES = 1 << 17
BATCH_ROWS = 256
ORDER_TYPE = np.dtype([("cluster", "<i4"), ("key", "<u8"), ("bytes", "<i8")])
_FILES = ("rows.arrow", "order.npy", "embeddings.npy")


def write_run(prefix: Path, table: pa.Table, keys: np.ndarray, labels: np.ndarray, vectors: np.ndarray) -> list[Path]:
    """Sort rows by cluster, then key, and write them.

    Args:
        prefix (`Path`): Where; the names of the three files are this with a suffix.
        table (`pa.Table`): `id`, `text` and metadata.
        keys (`np.ndarray` of shape `(n,)`, uint64): Places inside a cluster.
        labels (`np.ndarray` of shape `(n,)`, int32): Clusters.
        vectors (`np.ndarray` of shape `(n, d)`, float16): Embeddings.

    Returns:
        `list[Path]`: The files.
    """
    order = np.lexsort((keys, labels))
    table = table.take(pa.array(order)).combine_chunks()
    described = np.zeros(len(order), ORDER_TYPE)
    described["cluster"], described["key"] = labels[order], keys[order]
    described["bytes"] = pc.binary_length(table["text"]).to_numpy()
    rows, order_file, embeddings = run_files(prefix)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        replacing(rows) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema, options=options) as writer,
    ):
        for start, end in _batches(described["bytes"]):
            for batch in table.slice(start, end - start).to_batches():
                writer.write_batch(batch)
    for path, array in ((order_file, described), (embeddings, np.ascontiguousarray(vectors[order], "<f2"))):
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, array, allow_pickle=False)
    return [rows, order_file, embeddings]


def run_files(prefix: Path) -> list[Path]:
    """The three files of a run."""
    return [prefix.with_name(f"{prefix.name}-{name}") for name in _FILES]


class Run:
    """A run that is read, front to back, by slices of rows.

    Args:
        prefix (`Path`): What `write_run` was given.

    Raises:
        CorpusError: It cannot be read.
    """

    def __init__(self, prefix: Path) -> None:
        rows, order, embeddings = run_files(prefix)
        self._prefix = prefix
        try:
            self.order: np.ndarray = np.load(order, mmap_mode="r")
            self.embeddings: np.ndarray = np.load(embeddings, mmap_mode="r")
            self._source = pa.memory_map(str(rows))
            self._reader = pa.ipc.open_file(self._source)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(error) from error
        self._starts = np.array([start for start, _ in _batches(self.order["bytes"])] + [len(self.order)])
        self._held: tuple[int, pa.RecordBatch] | None = None

    @property
    def text_bytes(self) -> int:
        """Text it holds."""
        return int(self.order["bytes"].sum())

    def span(self, cluster: int) -> tuple[int, int]:
        """First row of a cluster, and the row after its last."""
        start, end = np.searchsorted(self.order["cluster"], [cluster, cluster + 1])
        return int(start), int(end)

    def take(self, start: int, end: int, schema: pa.Schema) -> pa.Table:
        """Rows `start` … `end - 1`, in the columns of a schema; columns that this run lacks are null."""
        parts = []
        for number in range(int(np.searchsorted(self._starts, start, side="right")) - 1, len(self._starts) - 1):
            first = int(self._starts[number])
            if first >= end:
                break
            low = max(start - first, 0)
            parts.append(self._batch(number).slice(low, end - first - low))
        table = pa.Table.from_batches(parts, self._reader.schema)
        columns = [
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in schema
        ]
        return pa.table(columns, schema=schema)

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def _batch(self, number: int) -> pa.RecordBatch:
        if self._held is None or self._held[0] != number:
            try:
                self._held = (number, self._reader.get_batch(number))
            except (OSError, pa.ArrowException) as error:
                raise self._unreadable(error) from error
        return self._held[1]

    def _unreadable(self, error: Exception) -> CorpusError:
        return CorpusError(f"The sorted run {self._prefix} cannot be read: {error}. Remove it and start again.")


@contextlib.contextmanager
def opened(prefixes: Sequence[Path]) -> Iterator[list[Run]]:
    """Runs, open for as long as the block lasts."""
    _allow_open_files(4 * len(prefixes) + 256)
    runs: list[Run] = []
    try:
        for prefix in prefixes:
            runs.append(Run(prefix))
        yield runs
    finally:
        for run in runs:
            run.close()


def _allow_open_files(wanted: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _batches(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Cut rows into batches of at most 256 rows and, where a row is not longer, 128 KiB of text."""
    cuts, start, held = [], 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and (row - start == BATCH_ROWS or held + size > BATCH_BYTES):
            cuts.append((start, row))
            start, held = row, 0
        held += size
    if len(sizes):
        cuts.append((start, len(sizes)))
    return cuts
