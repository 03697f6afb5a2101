"""The corpus files: sorted runs merged into Parquet of contiguous cluster ranges, with an index of its row groups."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from equal_hf.corpus.indexing.embedding_store import unit
from equal_hf.corpus.indexing.file_plan import FilePlan, embeddings_name, terms_name
from equal_hf.corpus.indexing.sorted_runs import Run
from equal_hf.corpus.keywords import ClusterWords, cluster_words
from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.corpus.provenance import Provenance
from equal_hf.utils.dataset_info import DataFacts
from equal_hf.utils.files import replacing
from equal_hf.utils.parquet import hub_writer

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.layout import Layout

ROW_GROUP_ROWS = 1000
ROW_GROUP_BYTES = 1 << 19
INDEX_FILE = "index.parquet"


@dataclass(frozen=True, slots=True)
class FilePart:
    """What is to be known of a range of clusters once its files are written.

    Args:
        centroids (`tuple[int, ...]`): The numbers of its clusters' centroids.
        index (`list[dict[str, Any]]`): Its rows of the corpus index.
        profiles ([`ClusterProfiles`]): Of its clusters.
        words (`list[ClusterWords]`): Of its clusters.
        names (`list[str]`): Its files.
        arrow_bytes (`int`): What its documents take in memory as `datasets` reads them.
        provenance ([`Provenance`]): Of its documents.
    """

    centroids: tuple[int, ...]
    index: list[dict[str, Any]]
    profiles: ClusterProfiles
    words: list[ClusterWords]
    names: list[str]
    arrow_bytes: int
    provenance: Provenance


def write_files(
    plan: FilePlan,
    runs: Sequence[Run],
    schema: pa.Schema,
    components: np.ndarray,
    samples: int,
    folder: Path,
    layout: Layout,
) -> FilePart:
    """Merge a range of clusters from all runs and write, for every generation of the documents, a Parquet file, one of
    embeddings and one of sketches of terms.

    A row group holds documents of one cluster, at most 1,000 and at most about 512 KiB of text (one document at
    least), since it is the least that a draw has to read.

    Args:
        plan ([`FilePlan`]): The file.
        runs (`Sequence[Run]`): All of them.
        schema (`pa.Schema`): What [`common_schema`] gives.
        components (`np.ndarray` of shape `(d, p)`): Principal directions, for the profiles.
        samples (`int`): Embeddings kept of a cluster.
        folder (`Path`): The corpus folder.
        layout ([`Layout`]): Which documents are of which generation.

    Returns:
        [`FilePart`]
    """
    names = [field.name for field in schema if field.name not in ("id", "text")]
    fields = [schema.field("id"), pa.field("text", pa.string()), pa.field("cluster", pa.int32())]
    stored = pa.schema([*fields, *(schema.field(name) for name in names)])
    words: list[ClusterWords] = []
    vectors: list[np.ndarray] = []
    terms: list[np.ndarray] = []
    provenance = Provenance()
    with contextlib.ExitStack() as stack:
        files: dict[int, _File] = {}
        for number, cluster in enumerate(plan.clusters, plan.first):
            table, halves, generations = _merge(cluster, runs, schema, layout)
            sketches = layout.sketch.transform(table["text"].to_pylist())
            words.append(cluster_words(number, len(table), table))
            provenance.add_table(table, names)
            order = np.argsort(generations, kind="stable")
            vectors.append(halves[order])
            terms.append(sketches[order])
            table = table.append_column("cluster", pa.array(np.full(len(table), number, dtype=np.int32)))
            table = table.select(stored.names).cast(stored)
            for generation in np.unique(generations).tolist():
                if generation not in files:
                    files[generation] = stack.enter_context(_File.open(folder, plan.data(generation), stored, names))
                rows = np.flatnonzero(generations == generation)
                files[generation].add(number, table.take(pa.array(rows)), halves[rows], sketches[rows])
    index = [row for _, file in sorted(files.items()) for row in file.finish(folder)]
    index.sort(key=lambda row: row["cluster"])  # stable: the older generation of a cluster first
    profiles = ClusterProfiles.compute(map(unit, vectors), components, samples, terms)
    written = [
        name for file in files.values() for name in (file.data, embeddings_name(file.data), terms_name(file.data))
    ]
    size = 0
    for file in files.values():
        with pa.OSFile(str(folder / file.data)) as source:
            size += DataFacts.of_file(source, 0).arrow_bytes
    return FilePart(plan.clusters, index, profiles, words, written, size, provenance)


@dataclass
class _File:
    """A data file in the making, and what goes beside it."""

    data: str
    writer: pq.ParquetWriter
    groups: list[tuple[int, int]] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    terms: list[np.ndarray] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, data: str, schema: pa.Schema, names: list[str]) -> Iterator[_File]:
        with (
            replacing(folder / data) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            # Statistics of a text column would repeat whole documents in the footer.
            hub_writer(sink, schema, use_dictionary=names, write_statistics=False, write_page_checksum=True) as writer,
        ):
            yield cls(data, writer)

    def add(self, cluster: int, table: pa.Table, vectors: np.ndarray, terms: np.ndarray) -> None:
        """Write documents of a cluster."""
        for start, end in _row_groups(pc.binary_length(table["text"]).to_numpy()):
            self.writer.write_table(table.slice(start, end - start), row_group_size=end - start)
            self.groups.append((cluster, end - start))
        self.vectors.append(vectors)
        self.terms.append(terms)

    def finish(self, folder: Path) -> list[dict[str, Any]]:
        """Write embeddings and sketches; the rows of the corpus index."""
        write_embeddings(self.vectors, folder / embeddings_name(self.data))
        write_embeddings(self.terms, folder / terms_name(self.data))
        return _index_rows(folder, self.data, self.groups, np.concatenate(self.vectors), np.concatenate(self.terms))


def _index_rows(
    folder: Path, data: str, groups: Sequence[tuple[int, int]], vectors: np.ndarray, terms: np.ndarray
) -> list[dict[str, Any]]:
    """Where the row groups of a file lie, with checksums of what is read of it: a draw reads no whole file."""
    metadata = pq.read_metadata(folder / data)
    extents = [_extent(metadata.row_group(number)) for number in range(len(groups))]
    index, first = [], 0
    with open(folder / data, "rb") as file:
        file.seek(max(offset + size for offset, size in extents))
        footer = zlib.crc32(file.read())
        for row_group, ((cluster, rows), (offset, size)) in enumerate(zip(groups, extents, strict=True)):
            file.seek(offset)
            index.append(
                {
                    "cluster": cluster,
                    "file": data,
                    "row_group": row_group,
                    "rows": rows,
                    "offset": offset,
                    "bytes": size,
                    "crc32": zlib.crc32(file.read(size)),
                    "embeddings_crc32": _crc32(vectors[first : first + rows]),
                    "terms_crc32": _crc32(terms[first : first + rows]),
                    "footer_crc32": footer,
                }
            )
            first += rows
    return index


def _crc32(vectors: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(vectors, "<f2").tobytes())


def write_index(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the corpus index: one row a row group, in stored order, with where in which file its pages lie."""
    schema = pa.schema(
        [
            ("cluster", pa.int32()),
            ("file", pa.string()),
            ("row_group", pa.int32()),
            ("rows", pa.int32()),
            ("offset", pa.int64()),
            ("bytes", pa.int64()),
            ("crc32", pa.int64()),
            ("embeddings_crc32", pa.int64()),
            ("terms_crc32", pa.int64()),
            ("footer_crc32", pa.int64()),
        ]
    )
    with replacing(path) as temporary:
        table = pa.Table.from_pylist(list(rows), schema=schema)
        pq.write_table(table, temporary, compression="zstd", write_statistics=False)


def write_embeddings(clusters: Sequence[np.ndarray], path: Path) -> None:
    """Write embeddings in stored order as one float16 tensor, `embeddings`, of a safetensors file."""
    shape = [sum(map(len, clusters)), clusters[0].shape[1]]
    tensor = {"dtype": "F16", "shape": shape, "data_offsets": [0, 2 * shape[0] * shape[1]]}
    header = json.dumps({"embeddings": tensor}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for vectors in clusters:
            file.write(np.ascontiguousarray(vectors, "<f2").tobytes())


def _merge(
    cluster: int, runs: Sequence[Run], schema: pa.Schema, layout: Layout
) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """A cluster's documents, embeddings and generations from all runs, by key. Memory: one cluster."""
    spans = [(run, *run.span(cluster)) for run in runs]
    spans = [(run, start, end) for run, start, end in spans if start < end]
    keys = np.concatenate([run.order["key"][start:end] for run, start, end in spans])
    order = np.argsort(keys, kind="stable")
    table = pa.concat_tables([run.take(start, end, schema) for run, start, end in spans])
    vectors = np.concatenate([run.embeddings[start:end] for run, start, end in spans])
    return table.combine_chunks().take(pa.array(order)), vectors[order], layout.of(keys[order])


def _row_groups(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut the rows of a cluster into row groups: first row, row after the last."""
    start, held = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and (row - start == ROW_GROUP_ROWS or held + size > ROW_GROUP_BYTES):
            yield start, row
            start, held = row, 0
        held += size
    if len(sizes):
        yield start, len(sizes)


def _extent(row_group: pq.RowGroupMetaData) -> tuple[int, int]:
    columns = [row_group.column(number) for number in range(row_group.num_columns)]
    offset = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    return offset, sum(column.total_compressed_size for column in columns)
