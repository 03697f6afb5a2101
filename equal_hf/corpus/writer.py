"""The corpus files: Parquet sorted by cluster, an index of its row groups, and the embeddings in the same order."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 1000
ROW_GROUP_BYTES = 1 << 20
EMBEDDINGS_FILE = "embeddings.safetensors"
INDEX_FILE = "index.parquet"
DATA_FOLDER = "data"


def stored_order(ids: pa.ChunkedArray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Positions of the rows as they are stored: by cluster, inside a cluster by a seeded hash of the document id.

    The hash makes the first n documents of a cluster a random sample of it, whatever order the corpus came in.

    >>> stored_order(pa.chunked_array([["a", "b", "c"]]), np.array([1, 0, 1]), seed=0).tolist()
    [1, 2, 0]
    """
    keys = np.fromiter(
        (
            int.from_bytes(hashlib.blake2b(f"{seed}:{id_.as_py()}".encode(), digest_size=8).digest(), "big")
            for id_ in ids
        ),
        dtype=np.uint64,
        count=len(ids),
    )
    return np.lexsort((keys, labels))


def write_documents(
    table: pa.Table, labels: np.ndarray, order: np.ndarray, folder: Path, *, max_shard_bytes: int
) -> pa.Table:
    """Write the documents to `folder/data/` and their index to `folder/index.parquet`.

    A row group holds documents of one cluster, at most 1,000 and at most about 1 MiB of text (one document at least),
    since it is the least that a draw has to read. A file is closed at the end of the cluster in which it passes
    `max_shard_bytes`, so it holds a contiguous range of clusters.

    Args:
        table (`pa.Table`): Columns `id`, `text` and metadata, in any order of rows.
        labels (`np.ndarray` of shape `(n,)`): Each row's cluster.
        order (`np.ndarray` of shape `(n,)`): Positions of the rows in stored order, clusters contiguous.
        folder (`Path`): Existing folder.
        max_shard_bytes (`int`): Size at which a file is closed.

    Returns:
        `pa.Table`: The index: one row a row group, in stored order, with columns `cluster`, `file`, `row_group`,
        `rows`, `offset` and `bytes` (where in the file the row group's pages lie).
    """
    sizes = pc.binary_length(table["text"]).to_numpy()[order]
    groups = list(_row_groups(labels[order], sizes))
    data = folder / DATA_FOLDER
    data.mkdir()
    schema = pa.schema([table.schema.field("id"), table.schema.field("text"), pa.field("cluster", pa.int32())])
    metadata_fields = [field for field in table.schema if field.name not in ("id", "text")]
    for field in metadata_fields:
        schema = schema.append(field)

    index: list[dict[str, int]] = []
    files = 0
    position = 0
    while position < len(groups):
        path = data / f"part-{files:05d}"
        first = position
        with (
            pa.OSFile(str(path), "wb") as sink,
            pq.ParquetWriter(
                sink,
                schema,
                compression="zstd",
                use_dictionary=[field.name for field in metadata_fields],
                # Statistics of a text column would repeat whole documents in the footer.
                write_statistics=False,
                write_page_checksum=True,
            ) as writer,
        ):
            while position < len(groups):
                cluster, start, end = groups[position]
                if position > first and sink.tell() >= max_shard_bytes and cluster != groups[position - 1][0]:
                    break
                rows = _take(table, order[start:end])
                rows = rows.append_column("cluster", pa.array(np.full(end - start, cluster, dtype=np.int32)))
                writer.write_table(rows.select(schema.names), row_group_size=end - start)
                position += 1
        metadata = pq.read_metadata(path)
        for number, (cluster, start, end) in enumerate(groups[first:position]):
            offset, size = _extent(metadata.row_group(number))
            index.append(
                {
                    "cluster": cluster,
                    "file": files,
                    "row_group": number,
                    "rows": end - start,
                    "offset": offset,
                    "bytes": size,
                }
            )
        files += 1

    names = [f"{DATA_FOLDER}/clusters-{number:05d}-of-{files:05d}.parquet" for number in range(files)]
    for number, name in enumerate(names):
        (data / f"part-{number:05d}").rename(folder / name)
    table = pa.table(
        {
            "cluster": pa.array([row["cluster"] for row in index], pa.int32()),
            "file": pa.array([names[row["file"]] for row in index], pa.string()),
            "row_group": pa.array([row["row_group"] for row in index], pa.int32()),
            "rows": pa.array([row["rows"] for row in index], pa.int32()),
            "offset": pa.array([row["offset"] for row in index], pa.int64()),
            "bytes": pa.array([row["bytes"] for row in index], pa.int64()),
        }
    )
    pq.write_table(table, folder / INDEX_FILE, compression="zstd", write_statistics=False)
    return table


def write_embeddings(embeddings: np.ndarray, order: np.ndarray, path: Path) -> None:
    """Write the embeddings in stored order as one float16 tensor, `embeddings`, of a safetensors file.

    Rows are streamed, which the safetensors package's own writer does not do.
    """
    shape = [len(order), embeddings.shape[1]]
    tensor = {"dtype": "F16", "shape": shape, "data_offsets": [0, 2 * shape[0] * shape[1]]}
    header = json.dumps({"embeddings": tensor}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for start in range(0, len(order), 4096):
            file.write(embeddings[order[start : start + 4096]].astype("<f2").tobytes())


def _row_groups(labels: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Cut rows in stored order into row groups: (cluster, first row, row after the last)."""
    start, size = 0, 0
    for row in range(len(labels)):
        if row > start and (
            labels[row] != labels[start] or row - start == ROW_GROUP_ROWS or size + sizes[row] > ROW_GROUP_BYTES
        ):
            yield int(labels[start]), start, row
            start, size = row, 0
        size += int(sizes[row])
    if len(labels):
        yield int(labels[start]), start, len(labels)


def _take(table: pa.Table, positions: np.ndarray) -> pa.Table:
    # `Table.take` would first copy all chunks into one array, which a string column of 2 GB overflows.
    return pa.concat_tables([table.slice(position, 1) for position in positions.tolist()]).combine_chunks()


def _extent(row_group: pq.RowGroupMetaData) -> tuple[int, int]:
    columns = [row_group.column(number) for number in range(row_group.num_columns)]
    offset = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    return offset, sum(column.total_compressed_size for column in columns)
