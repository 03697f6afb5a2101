"""The corpus files: sorted runs merged into Parquet of contiguous cluster ranges, with an index of its row groups."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from equal_hf.corpus.indexing.embedding_store import unit
from equal_hf.corpus.indexing.sorted_runs import Run
from equal_hf.corpus.keywords import ClusterWords, cluster_words
from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.corpus.term_sketch import TermSketch
from equal_hf.utils.files import replacing

ROW_GROUP_ROWS = 1000
ROW_GROUP_BYTES = 1 << 19
INDEX_FILE = "index.parquet"
DATA_FOLDER = "data"
EMBEDDINGS_FOLDER = "embeddings"
TERMS_FOLDER = "terms"


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One published file: which clusters it holds, and under which name.

    Args:
        number (`int`): From 0.
        files (`int`): How many there are.
        clusters (`tuple[int, ...]`): The clusters as the runs number them, by their centroids, ascending.
        first (`int`): The number that the first of them has in the corpus; the others follow it.
    """

    number: int
    files: int
    clusters: tuple[int, ...]
    first: int

    @property
    def data(self) -> str:
        """Name of the Parquet file below the corpus folder."""
        return f"{DATA_FOLDER}/clusters-{self.number:05d}-of-{self.files:05d}.parquet"

    @property
    def embeddings(self) -> str:
        """Name of the file of its documents' embeddings."""
        return embeddings_name(self.data)

    @property
    def terms(self) -> str:
        """Name of the file of its documents' sketches."""
        return terms_name(self.data)


@dataclass(frozen=True, slots=True)
class FilePart:
    """What is to be known of a published file once it is written.

    Args:
        centroids (`tuple[int, ...]`): The numbers of its clusters' centroids.
        index (`list[dict[str, Any]]`): Its rows of the corpus index.
        profiles ([`ClusterProfiles`]): Of its clusters.
        words (`list[ClusterWords]`): Of its clusters.
    """

    centroids: tuple[int, ...]
    index: list[dict[str, Any]]
    profiles: ClusterProfiles
    words: list[ClusterWords]


def embeddings_name(data: str) -> str:
    """Name of the embeddings that belong to a data file.

    >>> embeddings_name("data/clusters-00000-of-00002.parquet")
    'embeddings/clusters-00000-of-00002.safetensors'
    """
    return data.replace(f"{DATA_FOLDER}/", f"{EMBEDDINGS_FOLDER}/").replace(".parquet", ".safetensors")


def terms_name(data: str) -> str:
    """Name of the sketches of terms that belong to a data file."""
    return embeddings_name(data).replace(f"{EMBEDDINGS_FOLDER}/", f"{TERMS_FOLDER}/")


def plan_files(rows: np.ndarray, stored_bytes: np.ndarray, *, max_shard_bytes: int) -> list[FilePlan]:
    """Share clusters out to files: contiguous ranges, each of about `max_shard_bytes`. Empty clusters are left out.

    Args:
        rows (`np.ndarray` of shape `(k,)`): Documents of each cluster.
        stored_bytes (`np.ndarray` of shape `(k,)`): About how many bytes each will take.
        max_shard_bytes (`int`): Size at which a file is closed.

    >>> plans = plan_files(np.array([2, 0, 1, 1]), np.array([60, 0, 50, 10]), max_shard_bytes=100)
    >>> [(plan.clusters, plan.first) for plan in plans]
    [((0, 2), 0), ((3,), 2)]
    """
    ranges: list[list[int]] = []
    held = 0.0
    for cluster in np.flatnonzero(rows).tolist():
        if not ranges or held >= max_shard_bytes:
            ranges.append([])
            held = 0.0
        ranges[-1].append(cluster)
        held += float(stored_bytes[cluster])
    firsts = np.cumsum([0, *(len(clusters) for clusters in ranges)])
    return [
        FilePlan(number, len(ranges), tuple(clusters), int(firsts[number])) for number, clusters in enumerate(ranges)
    ]


def cluster_totals(prefixes: Sequence[Path], clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents of each cluster in all runs, and bytes its texts will take on disk, by the runs' own compression."""
    rows, raw = np.zeros(clusters, np.int64), np.zeros(clusters, np.float64)
    stored = 0
    for prefix in prefixes:
        order = np.load(prefix.with_name(f"{prefix.name}-order.npy"), mmap_mode="r")
        rows += np.bincount(order["cluster"], minlength=clusters)
        raw += np.bincount(order["cluster"], order["bytes"], minlength=clusters)
        stored += prefix.with_name(f"{prefix.name}-rows.arrow").stat().st_size
    return rows, raw * (stored / max(raw.sum(), 1.0))


def write_file(
    plan: FilePlan,
    runs: Sequence[Run],
    schema: pa.Schema,
    components: np.ndarray,
    samples: int,
    folder: Path,
    sketch: TermSketch,
) -> FilePart:
    """Merge a range of clusters from all runs and write its Parquet file, its embeddings and its sketches of terms.

    A row group holds documents of one cluster, at most 1,000 and at most about 512 KiB of text (one document at
    least), since it is the least that a draw has to read.

    Args:
        plan ([`FilePlan`]): The file.
        runs (`Sequence[Run]`): All of them.
        schema (`pa.Schema`): What [`common_schema`] gives.
        components (`np.ndarray` of shape `(d, p)`): Principal directions, for the profiles.
        samples (`int`): Embeddings kept of a cluster.
        folder (`Path`): The corpus folder.
        sketch ([`TermSketch`]): Makes sketches of terms.

    Returns:
        [`FilePart`]
    """
    names = [field.name for field in schema if field.name not in ("id", "text")]
    fields = [schema.field("id"), pa.field("text", pa.string()), pa.field("cluster", pa.int32())]
    stored = pa.schema([*fields, *(schema.field(name) for name in names)])
    groups: list[tuple[int, int]] = []
    words: list[ClusterWords] = []
    vectors: list[np.ndarray] = []
    terms: list[np.ndarray] = []
    with (
        replacing(folder / plan.data) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pq.ParquetWriter(
            sink,
            stored,
            compression="zstd",
            use_dictionary=names,
            # Statistics of a text column would repeat whole documents in the footer.
            write_statistics=False,
            write_page_checksum=True,
        ) as writer,
    ):
        for number, cluster in enumerate(plan.clusters, plan.first):
            table, halves = _merge(cluster, runs, schema)
            vectors.append(halves)
            terms.append(sketch.transform(table["text"].to_pylist()))
            words.append(cluster_words(number, len(table), table))
            for start, end in _row_groups(pc.binary_length(table["text"]).to_numpy()):
                part = table.slice(start, end - start)
                part = part.append_column("cluster", pa.array(np.full(end - start, number, dtype=np.int32)))
                writer.write_table(part.select(stored.names).cast(stored), row_group_size=end - start)
                groups.append((number, end - start))
    write_embeddings(vectors, folder / plan.embeddings)
    write_embeddings(terms, folder / plan.terms)
    index = _index_rows(folder, plan, groups, np.concatenate(vectors), np.concatenate(terms))
    profiles = ClusterProfiles.compute(map(unit, vectors), components, samples, terms)
    return FilePart(plan.clusters, index, profiles, words)


def _index_rows(
    folder: Path, plan: FilePlan, groups: Sequence[tuple[int, int]], vectors: np.ndarray, terms: np.ndarray
) -> list[dict[str, Any]]:
    """Where the row groups of a file lie, with checksums of what is read of it: a draw reads no whole file."""
    metadata = pq.read_metadata(folder / plan.data)
    extents = [_extent(metadata.row_group(number)) for number in range(len(groups))]
    index, first = [], 0
    with open(folder / plan.data, "rb") as file:
        file.seek(max(offset + size for offset, size in extents))
        footer = zlib.crc32(file.read())
        for row_group, ((cluster, rows), (offset, size)) in enumerate(zip(groups, extents, strict=True)):
            file.seek(offset)
            index.append(
                {
                    "cluster": cluster,
                    "file": plan.data,
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


def _merge(cluster: int, runs: Sequence[Run], schema: pa.Schema) -> tuple[pa.Table, np.ndarray]:
    """A cluster's documents and embeddings from all runs, by key. Memory: one cluster."""
    spans = [(run, *run.span(cluster)) for run in runs]
    spans = [(run, start, end) for run, start, end in spans if start < end]
    keys = np.concatenate([run.order["key"][start:end] for run, start, end in spans])
    order = np.argsort(keys, kind="stable")
    table = pa.concat_tables([run.take(start, end, schema) for run, start, end in spans])
    vectors = np.concatenate([run.embeddings[start:end] for run, start, end in spans])
    return table.combine_chunks().take(pa.array(order)), vectors[order]


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
