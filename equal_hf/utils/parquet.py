"""Parquet as the Hub likes it: pages that stay the same where the rows do, and an index by which they are found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_ROWS, MAX_BYTES = 10_000, 32 << 20  # of a row group: what a viewer reads for one page of rows
# Those of `datasets`: a page ends where the content says, so rows added or removed elsewhere leave it as it is.
CHUNKING = {"min_chunk_size": 256 << 10, "max_chunk_size": 1 << 20, "norm_level": 0}


@contextmanager
def hub_writer(sink: Any, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """A writer with content-defined chunks, a page index, and the mark by which the Hub knows such files.

    Args:
        sink (path or file): Where to.
        schema (`pa.Schema`): The columns.
        options: Others of `pyarrow.parquet.ParquetWriter`.
    """
    import pyarrow.parquet as pq

    with pq.ParquetWriter(
        sink, schema, compression="zstd", use_content_defined_chunking=CHUNKING, write_page_index=True, **options
    ) as writer:
        writer.add_key_value_metadata({"content_defined_chunking": json.dumps(CHUNKING)})
        yield writer


def row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """Parts of a table that are each fit for a row group: 10,000 rows and 32 MiB at most, but one row at least.

    >>> import pyarrow as pa
    >>> [len(part) for part in row_groups(pa.table({"n": range(25_000)}))]
    [6250, 6250, 6250, 6250]
    """
    rows = table.num_rows
    if rows <= 1 or (rows <= MAX_ROWS and table.nbytes <= MAX_BYTES):
        if rows:  # `datasets` cannot read a row group without rows
            yield table
        return
    yield from row_groups(table.slice(0, rows // 2))
    yield from row_groups(table.slice(rows // 2))
