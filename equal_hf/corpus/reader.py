"""Reads a stored corpus cluster by cluster, from a local folder or over the Hub, and no more of it than it must."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from equal_hf.corpus.writer import EMBEDDINGS_FILE, INDEX_FILE
from equal_hf.errors import CorpusError
from equal_hf.types import Document

if TYPE_CHECKING:
    import fsspec

_DATA_FILE = re.compile(r"data/clusters-\d{5}-of-\d{5}\.parquet")
_HEADER_BYTES = 1 << 16


def read_index(folder: Path) -> pa.Table:
    """Read the index of a corpus folder.

    Raises:
        CorpusError: It is missing or damaged.
    """
    try:
        return pq.read_table(folder / INDEX_FILE)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(
            f"The corpus index {folder / INDEX_FILE} cannot be read: {error}. Build or download the corpus again."
        ) from error


class ClusterReader:
    """Reads documents and embeddings by cluster.

    Args:
        filesystem (`fsspec.AbstractFileSystem`): Local files, or `huggingface_hub.HfFileSystem`.
        root (`str`): The corpus folder on that file system.
        index (`pa.Table`): The corpus index: one row a row group, in stored order.
        errors (`tuple[type[Exception], ...]`, *optional*): What else than `OSError` the file system raises.

    Raises:
        CorpusError: The index is not one of a corpus.
    """

    def __init__(
        self,
        filesystem: fsspec.AbstractFileSystem,
        root: str,
        index: pa.Table,
        errors: tuple[type[Exception], ...] = (),
    ):
        self._filesystem = filesystem
        self._root = root
        self._errors = (OSError, ValueError, pa.ArrowException, *errors)
        self._footers: dict[str, pq.FileMetaData] = {}
        self._embeddings_start: int | None = None
        try:
            clusters = index["cluster"].to_numpy()
            self._files: list[str] = index["file"].to_pylist()
            self._row_groups: list[int] = index["row_group"].to_pylist()
            rows = index["rows"].to_numpy().astype(np.int64)
        except KeyError as error:
            raise CorpusError(f"The index of the corpus {root} lacks the column {error}. Build it again.") from error
        if strange := [file for file in self._files if not _DATA_FILE.fullmatch(file)]:
            raise CorpusError(f"The index of the corpus {root} names the file {strange[0]!r}. Build it again.")
        numbers = np.unique(clusters)
        if not np.array_equal(numbers, np.arange(len(numbers))) or (np.diff(clusters) < 0).any():
            raise CorpusError(f"The index of the corpus {root} does not number its clusters from 0. Build it again.")
        # Row groups are in stored order: those of cluster c are first[c] … first[c + 1] - 1.
        self._first = np.searchsorted(clusters, np.arange(len(numbers) + 1))
        self._starts = np.concatenate([[0], np.cumsum(rows)])
        self.sizes = np.diff(self._starts[self._first])

    def documents(self, cluster: int, positions: np.ndarray) -> list[Document]:
        """The documents at some positions of a cluster's stored order, in the order asked for.

        Reads the row groups that hold them and no others.
        """
        if not len(positions):
            return []
        first, last = self._first[cluster], self._first[cluster + 1]
        starts = self._starts[first:last] - self._starts[first]
        groups = np.searchsorted(starts, positions, side="right") - 1
        found: dict[int, Document] = {}
        for group in np.unique(groups):
            inside = positions[groups == group]
            table = self._row_group(self._files[first + group], self._row_groups[first + group])
            rows = table.take(pa.array(inside - starts[group])).to_pylist()
            for position, row in zip(inside.tolist(), rows, strict=True):
                id_, text, _ = row.pop("id"), row.pop("text"), row.pop("cluster")
                found[position] = Document(id_, text, cluster, row)
        return [found[position] for position in positions.tolist()]

    def embeddings(self, cluster: int) -> np.ndarray:
        """Unit vectors of a cluster's documents in stored order, shape `(size, d)`, float32."""
        size = int(self.sizes[cluster])
        try:
            with self._open(EMBEDDINGS_FILE) as file:
                if self._embeddings_start is None:
                    (length,) = struct.unpack("<Q", file.read(8))
                    if length > _HEADER_BYTES:
                        raise ValueError("its header is too long")
                    self._dimension = json.loads(file.read(length))["embeddings"]["shape"][1]
                    self._embeddings_start = 8 + length
                row_bytes = 2 * self._dimension
                file.seek(self._embeddings_start + int(self._starts[self._first[cluster]]) * row_bytes)
                data = file.read(size * row_bytes)
            vectors = np.frombuffer(data, "<f2").reshape(size, self._dimension).astype(np.float32)
        except (*self._errors, struct.error, KeyError, TypeError, IndexError) as error:
            raise self._unreadable(EMBEDDINGS_FILE, error) from error
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # float16 rounded the lengths

    def _row_group(self, file: str, row_group: int) -> pa.Table:
        try:
            with self._open(file) as handle:
                parquet = pq.ParquetFile(
                    handle,
                    metadata=self._footers.get(file),
                    # One request for the whole row group instead of one a column.
                    pre_buffer=True,
                    page_checksum_verification=True,
                )
                self._footers.setdefault(file, parquet.metadata)
                return parquet.read_row_group(row_group)
        except self._errors as error:
            raise self._unreadable(file, error) from error

    def _open(self, file: str) -> fsspec.spec.AbstractBufferedFile:
        # Ranges are exactly what is needed; reading ahead would fetch the neighbours' row groups.
        return self._filesystem.open(f"{self._root}/{file}", "rb", cache_type="none")

    def _unreadable(self, file: str, error: BaseException) -> CorpusError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return CorpusError(
            f"{file} of the corpus {self._root} cannot be read: {reason}. If it is local, build or download the "
            "corpus again; if it is on the Hub, check the connection and the token."
        )
