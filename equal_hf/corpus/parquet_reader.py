"""Reads a stored corpus cluster by cluster, from a local folder or over the Hub, and no more of it than it must.

A range of bytes is verified before it is cached: by its checksum in the index, and by the checksums of its pages. One
that is damaged is fetched once more.
"""

from __future__ import annotations

import itertools
import json
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.spec import AbstractBufferedFile

from equal_hf.corpus.block_cache import BlockCache
from equal_hf.corpus.indexing.file_plan import embeddings_name, terms_name
from equal_hf.corpus.indexing.hash_order import interleaved
from equal_hf.corpus.indexing.parquet_writer import INDEX_FILE
from equal_hf.errors import CorpusError
from equal_hf.types import Document
from equal_hf.utils.printable import first_line

Parsed = TypeVar("Parsed")

_DATA_FILE = re.compile(r"data/clusters-\d{5}-of-\d{5}(?:-added-\d{2,})?\.parquet")
_NUMBERS = ("cluster", "row_group", "rows", "offset", "bytes")
# Of the pages, of the embeddings of their rows, and of the footer of the file; indexes of earlier versions have none.
_CHECKSUMS = ("crc32", "embeddings_crc32", "terms_crc32", "footer_crc32")
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


class FileSystem(Protocol):
    """What is used of an `fsspec.AbstractFileSystem`."""

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` … `end - 1` of a file."""
        ...


class ClusterReader:
    """Reads documents and embeddings by cluster.

    Args:
        filesystem (`fsspec.AbstractFileSystem` or [`HubFiles`]): Where the files are.
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
        filesystem: FileSystem,
        root: str,
        index: pa.Table,
        sizes: Mapping[str, int],
        errors: tuple[type[Exception], ...] = (),
        cache: BlockCache | None = None,
    ):
        self._filesystem = filesystem
        self._root = root
        self._errors = (OSError, ValueError, TypeError, LookupError, struct.error, pa.ArrowException, *errors)
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
            for name in _CHECKSUMS:
                known = index[name].combine_chunks().fill_null(-1).to_numpy() if name in index.column_names else None
                numbers_of[name] = np.full(len(index), -1) if known is None else known
        except KeyError as error:
            raise CorpusError(f"The index of the corpus {root} lacks the column {error}. Build it again.") from error
        clusters, rows = numbers_of["cluster"], numbers_of["rows"].astype(np.int64)
        self._file, self._row_groups = numbers_of["file"], numbers_of["row_group"]
        self._offsets, self._bytes = numbers_of["offset"], numbers_of["bytes"]
        self._checksums, self._vector_checksums = numbers_of["crc32"], numbers_of["embeddings_crc32"]
        self._term_checksums = numbers_of["terms_crc32"]
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
        files, firsts = np.unique(self._file, return_index=True)
        self._footer_checksums = {
            self._names[file]: int(numbers_of["footer_crc32"][at])
            for file, at in zip(files.tolist(), firsts.tolist(), strict=True)
        }
        # Rows of its file that come before each row group.
        by_file = np.argsort(self._file, kind="stable")
        before = np.cumsum(rows[by_file]) - rows[by_file]
        before -= np.repeat(before[np.searchsorted(self._file[by_file], files)], np.bincount(self._file)[files])
        self._rows_before = np.empty(len(rows), np.int32)
        self._rows_before[by_file] = before

    def documents(self, cluster: int, positions: np.ndarray) -> list[Document]:
        """The documents at some positions of a cluster's stored order, in the order asked for.

        Stored order is that of the file, and where a cluster lies in several, these shuffled together.

        Reads the row groups that hold them and no others.
        """
        if not len(positions):
            return []
        groups, inside = self._locate(cluster, positions)
        documents: dict[int, Document] = {}
        for group in np.unique(groups).tolist():
            mine = groups == group
            rows = self._row_group(group).take(pa.array(inside[mine])).to_pylist()
            for position, row in zip(positions[mine].tolist(), rows, strict=True):
                id_, text, _ = row.pop("id"), row.pop("text"), row.pop("cluster")
                documents[position] = Document(id_, text, cluster, row)
        return [documents[position] for position in positions.tolist()]

    def fetch(self, cluster: int, positions: np.ndarray) -> None:
        """Bring what `documents` would read into the cache."""
        for group in np.unique(self._locate(cluster, positions)[0]).tolist():
            self._row_group(group)

    def embeddings(self, cluster: int) -> np.ndarray:
        """Unit vectors of a cluster's documents in stored order, shape `(size, d)`, float32."""
        rows = self._vectors(cluster, embeddings_name, self._vector_checksums)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # float16 rounded the lengths

    def terms(self, cluster: int) -> np.ndarray:
        """Sketches of the terms of a cluster's documents in stored order, shape `(size, t)`, float32."""
        return self._vectors(cluster, terms_name, self._term_checksums)

    def _vectors(self, cluster: int, name_of: Callable[[str], str], checksums: np.ndarray) -> np.ndarray:
        cuts = self._cuts(cluster)
        parts = [self._stored_vectors(first, last, name_of, checksums) for first, last in itertools.pairwise(cuts)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)[self._places(cluster)]

    def _stored_vectors(
        self, first: int, last: int, name_of: Callable[[str], str], checksums: np.ndarray
    ) -> np.ndarray:
        """Vectors of consecutive row groups of one file."""
        size = int(self._starts[last] - self._starts[first])
        name = name_of(self._names[self._file[first]])
        ends = 2 * (self._starts[first + 1 : last + 1] - self._starts[first])  # bytes a dimension, by row group

        def header(block: bytes) -> tuple[int, int]:
            (length,) = struct.unpack_from("<Q", block)
            documents, dimension = json.loads(block[8 : 8 + length])["embeddings"]["shape"]
            if 8 + length + 2 * documents * dimension != self._file_sizes[name]:
                raise ValueError("its header does not fit its size")
            return 8 + length, dimension

        def vectors(block: bytes) -> np.ndarray:
            start = 0
            for end, checksum in zip((ends * dimension).tolist(), checksums[first:last], strict=True):
                _check(block[start:end], checksum)
                start = end
            return np.frombuffer(block, "<f2").reshape(size, dimension).astype(np.float32)

        try:
            start, dimension = self._parsed(name, 0, min(_HEADER_BYTES, self._file_sizes[name]), header)
            start += int(self._rows_before[first]) * 2 * dimension
            return self._parsed(name, start, size * 2 * dimension, vectors)
        except (*self._errors, RecursionError) as error:
            raise self._unreadable(name, error) from error

    def _locate(self, cluster: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row groups that hold some positions of a cluster, and the positions' places inside them."""
        if len(self._cuts(cluster)) > 2:
            positions = self._places(cluster)[positions]
        first, last = self._first[cluster], self._first[cluster + 1]
        starts = self._starts[first:last] - self._starts[first]
        groups = np.searchsorted(starts, positions, side="right") - 1
        return first + groups, positions - starts[groups]

    def _cuts(self, cluster: int) -> list[int]:
        """Where the row groups of a cluster begin that are of another file, and the end: a file a generation."""
        first, last = int(self._first[cluster]), int(self._first[cluster + 1])
        return [first, *(first + 1 + np.flatnonzero(np.diff(self._file[first:last]))).tolist(), last]

    def _places(self, cluster: int) -> np.ndarray:
        """Where the documents of a cluster lie, file after file, in the order in which they are drawn."""
        return interleaved(np.diff(self._starts[self._cuts(cluster)]).tolist(), cluster)

    def _row_group(self, group: int) -> pa.Table:
        file, offset, size = self._names[self._file[group]], int(self._offsets[group]), int(self._bytes[group])
        checksum = int(self._checksums[group])

        def table(pages: bytes) -> pa.Table:
            _check(pages, checksum)
            source = AbstractBufferedFile(
                None,
                file,
                size=self._file_sizes[file],
                cache_type="parts",  # what is not known is not there: `None` above has no more of it
                cache_options={"data": {(offset, offset + size): pages}, "strict": True},
            )
            parquet = pq.ParquetFile(
                pa.PythonFile(source, mode="r"), metadata=self._footer(file), page_checksum_verification=True
            )
            # One thread: a pool's would not be faster on so little, and may outlive the interpreter holding `source`.
            return parquet.read_row_group(int(self._row_groups[group]), use_threads=False)

        try:
            return self._parsed(file, offset, size, table)
        except self._errors:
            self._forget_footer(file)  # where the pages are sound, it is what they are read by
        try:
            return self._parsed(file, offset, size, table)
        except self._errors as error:
            raise self._unreadable(file, error) from error

    def _footer(self, file: str) -> pq.FileMetaData:
        if file not in self._footers:

            def metadata(footer: bytes) -> pq.FileMetaData:
                _check(footer, self._footer_checksums[file])
                # Its offsets are those of the whole file, but to be parsed it only has to be the end of one.
                return pq.read_metadata(pa.BufferReader(b"PAR1" + footer))

            try:
                start = self._footer_starts[file]
                self._footers[file] = self._parsed(file, start, self._file_sizes[file] - start, metadata)
            except self._errors as error:
                raise self._unreadable(file, error) from error
        return self._footers[file]

    def _forget_footer(self, file: str) -> None:
        self._footers.pop(file, None)
        if self._cache is not None and file in self._file_sizes:
            start = self._footer_starts[file]
            self._cache.remove(file, start, self._file_sizes[file] - start)

    def _parsed(self, file: str, start: int, length: int, parse: Callable[[bytes], Parsed]) -> Parsed:
        """One range of a file, parsed: from the cache, else by one read of exactly that, or two if it is damaged.

        It is cached when it could be parsed: what is in the cache is not asked for again.
        """
        if self._cache is not None and (block := self._cache.get(file, start, length)) is not None:
            try:
                return parse(block)
            except self._errors:
                self._cache.remove(file, start, length)
        try:
            block = self._read(file, start, length)
            parsed = parse(block)
        except self._errors:
            block = self._read(file, start, length)
            parsed = parse(block)
        if self._cache is not None:
            self._cache.put(file, start, length, block)
        return parsed

    def _read(self, file: str, start: int, length: int) -> bytes:
        block = bytes(self._filesystem.cat_file(f"{self._root}/{file}", start=start, end=start + length))
        if len(block) != length:
            raise OSError(f"{len(block)} bytes came where {length} were asked for")
        return block

    def _unreadable(self, file: str, error: BaseException) -> CorpusError:
        return CorpusError(
            f"{file} of the corpus {self._root} cannot be read: {first_line(error)}. If it is local, build or "
            "download the corpus again; if it is on the Hub, check the connection and the token."
        )


def _check(block: bytes, checksum: int) -> None:
    if checksum >= 0 and zlib.crc32(block) != checksum:
        raise ValueError("it does not have the content that the index says")
