"""Build a corpus folder from document shards, piece by piece: embed → train centroids → sort into runs → merge.

Each function does one piece of one step, whoever calls it: `build_corpus` goes through them in one process, and
`equal_hf.corpus.indexing` shares them out over many.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from equal_hf.corpus.dataset import ReadReport
from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.indexing.embedding_store import EmbeddingStore, is_among, unit, usable
from equal_hf.corpus.indexing.finish import corpus_facts, finish_corpus
from equal_hf.corpus.indexing.hash_order import TRAINING, lowest_keys, seeded_keys
from equal_hf.corpus.indexing.parquet_writer import FilePlan, cluster_totals, plan_files, write_file
from equal_hf.corpus.indexing.shards import (
    DIGEST,
    SHARD_DOCUMENTS,
    Shard,
    common_schema,
    digests_of,
    read_shard,
    write_shards,
)
from equal_hf.corpus.indexing.sorted_runs import Run, write_run
from equal_hf.corpus.kmeans import (
    MAX_POINTS_PER_CENTROID,
    Centroids,
    auto_clusters,
    nearest_centroids,
    train_centroids,
)
from equal_hf.corpus.profiles import principal_directions, samples_per_cluster
from equal_hf.errors import CorpusError
from equal_hf.types import Document

logger = logging.getLogger(__name__)


def build_corpus(
    documents: Iterable[Document],
    folder: Path,
    *,
    embedder: Embedder,
    report: ReadReport,
    n_clusters: int | Literal["auto"],
    seed: int,
    iterations: int,
    threads: int,
    gpu: bool | Literal["auto"],
    giant_factor: float,
    max_shard_bytes: int,
    read_settings: dict[str, Any],
    total_rows: int | None,
    show_progress: bool,
) -> None:
    """Fill a folder with the files of a corpus; the arguments are those of `ClusteredCorpus.build`.

    Args:
        documents (`Iterable[Document]`): What `read_documents` yields.
        folder (`Path`): Existing, empty folder.
        report (`ReadReport`): The one that `read_documents` fills.
        read_settings (`dict[str, Any]`): How the documents were read, for the manifest.
        total_rows (`int`, *optional*): Rows there are, for the progress bar.
    """
    from tqdm.auto import tqdm

    work = folder / "work"
    store = EmbeddingStore(work / "embeddings", embedder.fingerprint(), embedder.dimension)
    shards: list[Shard] = []
    found = sampled = 0
    with tqdm(total=total_rows, desc="embedding", unit="row", disable=None if show_progress else True) as progress:
        for shard in write_shards(documents, work / "documents", max_documents=SHARD_DOCUMENTS):
            shards.append(shard)
            told = embed_shard(shard, work / "documents", None, embedder, store)
            found, sampled = found + told["embedded"], sampled + told["sampled"]
            progress.update(report.rows - progress.n)
    for _ in range(sum(shard.documents for shard in shards) - found):
        report.drop("no_embedding")
    logger.info("Read %d rows, kept %d; dropped: %s", report.rows, report.documents, report.dropped or "none")
    warn_of_sampled(sampled, embedder.max_windows)
    if not found:
        raise CorpusError(nothing_usable(report.rows, report.dropped, read_settings))
    wanted = auto_clusters(found) if n_clusters == "auto" else n_clusters
    keys = [shard.key for shard in shards]
    sample = training_sample(store, keys, found, wanted, seed)
    centroids = train_centroids(
        sample, wanted, seed=seed, iterations=iterations, threads=threads, gpu=gpu, giant_factor=giant_factor
    )
    components = principal_directions(sample)
    del sample
    runs = [work / "runs" / f"{number:05d}" for number in range(len(shards))]
    for shard, run in zip(shards, runs, strict=True):
        assign_shard(shard, work / "documents", store, shard.key, centroids, seed, run, gpu=gpu)
    schema = common_schema([shard.path(work / "documents") for shard in shards])
    plans, samples = plan_corpus(runs, centroids, embedder.dimension, max_shard_bytes)
    with opened(runs) as readers:
        parts = [write_file(plan, readers, schema, components, samples, folder) for plan in plans]
    facts = corpus_facts(
        embedder=embedder,
        centroids=centroids,
        seed=seed,
        read={
            "rows": report.rows,
            "dropped": report.dropped,
            **read_settings,
            "metadata_columns": [name for name in schema.names if name not in ("id", "text")],
        },
        sampled=sampled,
    )
    shutil.rmtree(work)
    finish_corpus(folder, parts, centroids, embedder, facts, {})


def embed_shard(
    shard: Shard, documents: Path, kept: np.ndarray | None, embedder: Embedder, store: EmbeddingStore, key: str = ""
) -> dict[str, int]:
    """Embed a document shard into the store.

    Args:
        shard ([`Shard`]): The shard.
        documents (`Path`): Folder of document shards.
        kept (`np.ndarray` of shape `(n,)`, bool, *optional*): Documents that are not duplicates; all by default.
        embedder ([`Embedder`]): Gives the embeddings.
        store ([`EmbeddingStore`]): Where they go, and where those made earlier are.
        key (`str`, *optional*): Name in the store; the shard's by default.

    Returns:
        `dict[str, int]`: `embedded` documents that have a direction, `made` of them now, and `sampled`, those longer
        than all windows.
    """
    table = read_shard(shard.path(documents)).select(["text", DIGEST])
    digests, texts = digests_of(table[DIGEST]), table["text"]
    if kept is not None:
        digests, texts = digests[kept], texts.filter(pa.array(kept))
    vectors, beyond, made = store.embed(digests, texts.to_pylist(), embedder.encode_told)
    store.save(key or shard.key, digests, vectors, beyond)
    return {"embedded": int(usable(vectors).sum()), "made": made, "sampled": int(beyond.sum())}


def training_sample(store: EmbeddingStore, keys: Sequence[str], total: int, clusters: int, seed: int) -> np.ndarray:
    """Unit vectors, float32, of a seeded sample of 256 documents a cluster: what k-means trains on."""

    def read() -> Iterator[np.ndarray]:
        for key in keys:
            digests, vectors = store.load(key)
            found = seeded_keys(digests, seed, TRAINING)
            # What cannot be clustered gets a key that is never chosen.
            yield np.where(usable(vectors), found, np.uint64(2**64 - 1))

    chosen = lowest_keys(read, total, min(total, MAX_POINTS_PER_CENTROID * clusters))
    # Filled shard by shard: parts that are then joined would take the memory twice.
    sample = np.empty((sum(map(len, chosen)), store.dimension), np.float32)
    held = 0
    for key, rows in zip(keys, chosen, strict=True):
        vectors = store.load(key)[1][rows]
        vectors = unit(vectors[usable(vectors)])
        sample[held : held + len(vectors)] = vectors
        held += len(vectors)
    return sample[:held]


def assign_shard(
    shard: Shard,
    documents: Path,
    store: EmbeddingStore,
    key: str,
    centroids: Centroids,
    seed: int,
    prefix: Path,
    *,
    gpu: bool | Literal["auto"],
    kept: np.ndarray | None = None,
    known: np.ndarray | None = None,
) -> tuple[list[Path], dict[str, float]]:
    """Assign a shard's documents to their nearest centroids and write them as a sorted run.

    Args:
        known (`np.ndarray`, *optional*): Digests of texts that the centroids were trained on, as
            `EmbeddingStore.digests` gives them; all of the shard where left out.

    Returns:
        `tuple[list[Path], dict[str, float]]`: The run's files; `documents` in it, how many of them are `new` to the
        centroids, and the similarity of those to theirs added up.
    """
    digests, vectors = store.load(key)
    table = read_shard(shard.path(documents)).drop_columns([DIGEST])
    if kept is not None:
        table = table.filter(pa.array(kept))
    rows = np.flatnonzero(usable(vectors))
    if not len(rows):
        labels, cosines = np.zeros(0, np.int32), np.zeros(0, np.float32)
    else:
        labels, cosines = nearest_centroids(unit(vectors[rows]), centroids.vectors, threads=centroids.threads, gpu=gpu)
    files = write_run(prefix, table.take(pa.array(rows)), seeded_keys(digests[rows], seed), labels, vectors[rows])
    new = np.zeros(len(rows), bool) if known is None else ~is_among(digests[rows], known)
    similarity = float(cosines[new].sum(dtype=np.float64))
    return files, {"documents": len(rows), "new": int(new.sum()), "new_similarity": similarity}


def plan_corpus(
    runs: Sequence[Path], centroids: Centroids, dimension: int, max_shard_bytes: int
) -> tuple[list[FilePlan], int]:
    """The files to write, and how many embeddings each profile keeps; empty clusters are left out and said."""
    rows, stored = cluster_totals(runs, len(centroids.vectors))
    if empty := int((rows == 0).sum()):
        logger.warning(
            "%d of %d clusters stayed empty and were left out; `n_clusters` may be too high for %d documents.",
            empty,
            len(rows),
            rows.sum(),
        )
    alive = rows[rows > 0]
    if int(alive.max()) > centroids.giant_factor * alive.mean():
        logger.warning(
            "The largest cluster has %d of %d documents, more than %g times the mean: its documents are too alike to "
            "be split. A larger `n_clusters` or another embedder may tell them apart.",
            alive.max(),
            alive.sum(),
            centroids.giant_factor,
        )
    return plan_files(rows, stored, max_shard_bytes=max_shard_bytes), samples_per_cluster(len(alive), dimension)


@contextmanager
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


def warn_of_sampled(sampled: int, max_windows: int) -> None:
    """Say that some documents were too long to be embedded whole."""
    if sampled:
        logger.warning(
            "%d documents are longer than %d windows of the embedder: windows spread evenly over them stand for them. "
            "`max_windows` of `Embedder` raises that.",
            sampled,
            max_windows,
        )


def nothing_usable(rows: int, dropped: dict[str, int], read_settings: dict[str, Any]) -> str:
    """What to tell where a corpus has no document left."""
    return (
        f"No document is usable: of {rows} rows, dropped were {dropped or 'none'}. Check `corpus`, `text_column` "
        f"({read_settings['text_column']!r}) and `min_characters` ({read_settings['min_characters']})."
    )


def _allow_open_files(wanted: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
