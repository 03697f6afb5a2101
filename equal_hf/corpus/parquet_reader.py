"""Reads a stored corpus cluster by cluster, from a local folder or over the Hub, and no more of it than it must."""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from equal_hf.corpus.block_cache import BlockCache
from equal_hf.corpus.indexing.parquet_writer import INDEX_FILE, embeddings_name
from equal_hf.errors import CorpusError
from equal_hf.types import Document
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    import fsspec

_DATA_FILE = re.compile(r"data/clusters-\d{5}-of-\d{5}\.parquet")
_NUMBERS = ("cluster", "row_group", "rows", "offset", "bytes")
_HEADER_BYTES = 256  # what the header of an embeddings file is read by; it takes about 80


def read_index(folder: Path) -> pa.Table:
    """Read the index of a corpus folder.

    Raises:
        CorpusError: It is missing or damaged.
    """
    try:
        return pq.read_table(folder / INDEX_FILE, read_dictionary=["file"])  # a name repeats a thousand times
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
        sizes (`Mapping[str, int]`): Bytes of every data file.
        errors (`tuple[type[Exception], ...]`, *optional*): What else than `OSError` the file system raises.
        cache ([`BlockCache`], *optional*): Keeps what was read; for files that are far away.

    Raises:
        CorpusError: The index is not one of a corpus.
    """

    def __init__(
        self,
        filesystem: fsspec.AbstractFileSystem,
        root: str,
        index: pa.Table,
        sizes: Mapping[str, int],
        errors: tuple[type[Exception], ...] = (),
        cache: BlockCache | None = None,
    ):
        self._filesystem = filesystem
        self._root = root
        self._errors = (OSError, ValueError, pa.ArrowException, *errors)
        self._footers: dict[str, pq.FileMetaData] = {}
        self._file_sizes, self._cache = sizes, cache
        try:
            # Arrays of numbers: at Hub scale there are ten million row groups.
            names = index["file"].unify_dictionaries().combine_chunks()
            names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
            columns = {"file": names.indices, **{name: index[name].combine_chunks() for name in _NUMBERS}}
            if any(column.null_count or not pa.types.is_integer(column.type) for column in columns.values()):
                raise CorpusError(f"The index of the corpus {root} holds no numbers. Build it again.")
            numbers_of = {name: column.to_numpy() for name, column in columns.items()}
        except KeyError as error:
            raise CorpusError(f"The index of the corpus {root} lacks the column {error}. Build it again.") from error
        clusters, rows = numbers_of["cluster"], numbers_of["rows"].astype(np.int64)
        self._file, self._row_groups = numbers_of["file"], numbers_of["row_group"]
        self._offsets, self._bytes = numbers_of["offset"], numbers_of["bytes"]
        self._names: list[str] = names.dictionary.to_pylist()
        if strange := [name for name in self._names if not _DATA_FILE.fullmatch(str(name))]:
            raise CorpusError(f"The index of the corpus {root} names the file {strange[0]!r}. Build it again.")
        numbers = np.unique(clusters)
        if not np.array_equal(numbers, np.arange(len(numbers))) or (np.diff(clusters) < 0).any():
            raise CorpusError(f"The index of the corpus {root} does not number its clusters from 0. Build it again.")
        # Row groups are in stored order: those of cluster c are first[c] … first[c + 1] - 1.
        self._first = np.searchsorted(clusters, np.arange(len(numbers) + 1))
        self._starts = np.concatenate([[0], np.cumsum(rows)])
        self.sizes = np.diff(self._starts[self._first])
        # A file's footer begins where its last row group ends, and its embeddings are in the order of its rows.
        ends = np.zeros(len(self._names), np.int64)
        np.maximum.at(ends, self._file, self._offsets + self._bytes)
        self._footer_starts = dict(zip(self._names, ends.tolist(), strict=True))
        found, firsts = np.unique(self._file, return_index=True)
        self._first_rows = {self._names[file]: int(self._starts[at]) for file, at in zip(found, firsts, strict=True)}

    def documents(self, cluster: int, positions: np.ndarray) -> list[Document]:
        """The documents at some positions of a cluster's stored order, in the order asked for.

        Reads the row groups that hold them and no others.
        """
        if not len(positions):
            return []
        groups, inside = self._locate(cluster, positions)
        found: dict[int, Document] = {}
        for group in np.unique(groups).tolist():
            mine = groups == group
            rows = self._row_group(group).take(pa.array(inside[mine])).to_pylist()
            for position, row in zip(positions[mine].tolist(), rows, strict=True):
                id_, text, _ = row.pop("id"), row.pop("text"), row.pop("cluster")
                found[position] = Document(id_, text, cluster, row)
        return [found[position] for position in positions.tolist()]

    def fetch(self, cluster: int, positions: np.ndarray) -> None:
        """Bring what `documents` would read into the cache, without decoding it."""
        for group in np.unique(self._locate(cluster, positions)[0]).tolist():
            file = self._names[self._file[group]]
            self._footer(file)
            self._block(file, int(self._offsets[group]), int(self._bytes[group]))

    def embeddings(self, cluster: int) -> np.ndarray:
        """Unit vectors of a cluster's documents in stored order, shape `(size, d)`, float32."""
        size, first = int(self.sizes[cluster]), int(self._first[cluster])
        file = self._names[self._file[first]]
        name = embeddings_name(file)
        try:
            header = self._block(name, 0, _HEADER_BYTES)
            (length,) = struct.unpack_from("<Q", header)
            dimension = int(json.loads(header[8 : 8 + length])["embeddings"]["shape"][1])
            start = 8 + length + (int(self._starts[first]) - self._first_rows[file]) * 2 * dimension
            data = self._block(name, start, size * 2 * dimension)
            vectors = np.frombuffer(data, "<f2").reshape(size, dimension).astype(np.float32)
        except (*self._errors, struct.error, KeyError, TypeError, IndexError, RecursionError) as error:
            raise self._unreadable(name, error) from error
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # float16 rounded the lengths

    def _locate(self, cluster: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row groups that hold some positions of a cluster, and the positions' places inside them."""
        first, last = self._first[cluster], self._first[cluster + 1]
        starts = self._starts[first:last] - self._starts[first]
        groups = np.searchsorted(starts, positions, side="right") - 1
        return first + groups, positions - starts[groups]

    def _row_group(self, place: int) -> pa.Table:
        file, offset = self._names[self._file[place]], int(self._offsets[place])
        footer = self._footer(file)
        try:
            pages = self._block(file, offset, int(self._bytes[place]))
            source = pa.PythonFile(_Part(self._file_sizes[file], offset, pages), mode="r")
            parquet = pq.ParquetFile(source, metadata=footer, page_checksum_verification=True)
            # One thread: a pool's would not be faster on so little, and may outlive the interpreter holding `source`.
            return parquet.read_row_group(int(self._row_groups[place]), use_threads=False)
        except (*self._errors, KeyError) as error:
            raise self._unreadable(file, error) from error

    def _footer(self, file: str) -> pq.FileMetaData:
        if file not in self._footers:
            try:
                start = self._footer_starts[file]
                footer = self._block(file, start, self._file_sizes[file] - start)
                # Its offsets are those of the whole file, but to be parsed it only has to be the end of one.
                self._footers[file] = pq.read_metadata(pa.BufferReader(b"PAR1" + footer))
            except (*self._errors, KeyError) as error:
                raise self._unreadable(file, error) from error
        return self._footers[file]

    def _block(self, file: str, start: int, length: int) -> bytes:
        """One range of a file: from the cache, else by one read of exactly that."""
        if self._cache is not None and (kept := self._cache.get(file, start, length)) is not None:
            return kept
        with self._filesystem.open(f"{self._root}/{file}", "rb", cache_type="none") as handle:
            handle.seek(start)
            block = handle.read(length)
        if len(block) != length and not (length == _HEADER_BYTES and start == 0):
            # It must not be kept: what is in the cache is not asked for again.
            raise OSError(f"{len(block)} bytes came where {length} were asked for")
        if self._cache is not None:
            self._cache.put(file, start, length, block)
        return bytes(block)

    def _unreadable(self, file: str, error: BaseException) -> CorpusError:
        return CorpusError(
            f"{file} of the corpus {self._root} cannot be read: {first_line(error)}. If it is local, build or "
            "download the corpus again; if it is on the Hub, check the connection and the token."
        )


class _Part(io.RawIOBase):
    """A file of which only one range is there: what pyarrow reads a footer or one row group from.

    Args:
        size (`int`): Size of the whole file.
        start (`int`): Where the range begins.
        content (`bytes`): The range.
    """

    def __init__(self, size: int, start: int, content: bytes) -> None:
        self._size, self._start, self._content, self._at = size, start, content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def read(self, length: int = -1) -> bytes:
        end = self._size if length < 0 else min(self._at + length, self._size)
        low, high = self._at - self._start, end - self._start
        if low < 0 or high > len(self._content):
            raise OSError(f"bytes {self._at} to {end} are outside what its index says")
        self._at = end
        return self._content[low:high]
