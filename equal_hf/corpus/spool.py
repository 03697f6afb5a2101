"""Documents and their embeddings on disk, in reading order: what clustering and sorting work from.

Texts are written as they are read, in chunks, and mapped back into memory; so a build needs memory for one chunk, not
for the corpus. A chunk is complete in itself: several processes can each write their own and one can open them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from equal_hf.corpus.embed import Embedder
from equal_hf.corpus.read import ReadReport
from equal_hf.errors import CorpusError
from equal_hf.types import Document

CHUNK_DOCUMENTS = 4096
CHUNK_CHARACTERS = 1 << 25


def write_spool(
    documents: Iterable[Document],
    folder: Path,
    embedder: Embedder,
    report: ReadReport,
    *,
    total_rows: int | None = None,
    show_progress: bool = False,
) -> None:
    """Embed documents and write both to `folder`, chunk by chunk.

    A document without a direction (its embedding is zero or not finite) cannot be clustered: it is dropped and counted
    under `no_embedding`.

    Args:
        documents (`Iterable[Document]`): In any order.
        folder (`Path`): Existing folder; gets `documents-XXXXX.arrow` and `embeddings-XXXXX.npy`.
        embedder (`Embedder`): Gives the embeddings.
        report (`ReadReport`): The one that fills while `documents` are read; counts what is dropped here too.
        total_rows (`int`, *optional*): Rows there are, for the progress bar.
        show_progress (`bool`, *optional*, defaults to `False`): Show a progress bar of rows on a terminal.
    """
    from tqdm.auto import tqdm

    with tqdm(total=total_rows, desc="embedding", unit="row", disable=None if show_progress else True) as progress:
        for number, chunk in enumerate(_chunks(documents)):
            vectors = embedder.encode([document.text for document in chunk])
            usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
            for _ in range(int((~usable).sum())):
                report.drop("no_embedding")
            kept = [document for document, keep in zip(chunk, usable, strict=True) if keep]
            progress.update(report.rows - progress.n)
            if not kept:
                continue
            table = _table(kept)
            with (
                pa.OSFile(str(folder / f"documents-{number:05d}.arrow"), "wb") as sink,
                pa.ipc.new_file(sink, table.schema) as writer,
            ):
                writer.write_table(table)
            np.save(folder / f"embeddings-{number:05d}.npy", vectors[usable])


def open_spool(folder: Path) -> tuple[pa.Table, np.ndarray]:
    """Map the chunks of a folder back into memory.

    Args:
        folder (`Path`): What `write_spool` wrote to.

    Returns:
        `tuple[pa.Table, np.ndarray]`: The documents (columns `id`, `text`, then metadata) and their embeddings, shape
        `(n, d)`, float32; `n` is 0 where no chunk was written.

    Raises:
        CorpusError: A metadata column holds values of different kinds in different chunks.
    """
    paths = sorted(folder.glob("documents-*.arrow"))
    if not paths:
        return pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), np.zeros((0, 0), "f4")
    tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise CorpusError(
            f"A metadata column changes its type from row to row: {error}. Leave it out with `metadata_columns`."
        ) from error
    chunks = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("embeddings-*.npy"))]
    if len(chunks) == 1:
        return table, chunks[0]
    # k-means wants one array: it is laid out in a file too, so the system may page it out.
    total, dimension = table.num_rows, chunks[0].shape[1]
    embeddings = np.lib.format.open_memmap(folder / "embeddings.npy", "w+", np.float32, (total, dimension))
    np.concatenate(chunks, out=embeddings)
    return table, embeddings


def _chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    chunk: list[Document] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += len(document.text)
        if len(chunk) == CHUNK_DOCUMENTS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _table(documents: list[Document]) -> pa.Table:
    columns = {
        "id": pa.array([document.id for document in documents], pa.string()),
        "text": pa.array([document.text for document in documents], pa.string()),
    }
    for name in dict.fromkeys(name for document in documents for name in document.metadata):
        try:
            columns[name] = pa.array([document.metadata.get(name) for document in documents])
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            raise CorpusError(
                f"The metadata column {name!r} mixes values of different types: {error}. Leave it out with "
                "`metadata_columns`."
            ) from error
    return pa.table(columns)
