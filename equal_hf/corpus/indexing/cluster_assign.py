"""The stages between embedding and writing: centroids are trained, and documents assigned to them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from equal_hf.corpus.indexing.embedding_store import EmbeddingStore, is_among, unit, usable
from equal_hf.corpus.indexing.hash_order import TRAINING, lowest_keys, seeded_keys
from equal_hf.corpus.indexing.shards import DIGEST, read_shard
from equal_hf.corpus.indexing.sorted_runs import write_run
from equal_hf.corpus.kmeans import (
    MAX_POINTS_PER_CENTROID,
    Centroids,
    auto_clusters,
    nearest_centroids,
    train_centroids,
)
from equal_hf.corpus.profiles import principal_directions
from equal_hf.errors import CorpusError
from equal_hf.utils.files import write_file
from equal_hf.utils.hashing import content_hash, fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.state import IndexState

logger = logging.getLogger(__name__)

CENTROID_FACTS = "requested seed iterations threads device points giant_factor split similarity".split()


def cluster(state: IndexState) -> dict[str, Any]:
    """Train centroids on rank 0 and give them to all.

    A later revision keeps them and their numbers: what was nearest to one stays there, though clusters are counted
    anew where one has lost its last document or got its first.
    """
    config, path = state.config, state.work.folder / "centroids.safetensors"
    inputs = {
        "embedder": state.embedder.fingerprint(),
        "n_clusters": config.clusters,
        "seed": state.seed,
        "iterations": config.kmeans_iterations,
        "threads": state.threads,
        "giant_factor": config.giant_factor,
    }

    def make() -> tuple[list[Path], dict[str, Any]]:
        count = auto_clusters(state.usable) if config.clusters == "auto" else config.clusters
        logger.info("clustering %s documents into %s clusters", f"{state.usable:,}", f"{count:,}")
        points = training_sample(state.store, state.keys, state.usable, count, state.seed)
        centroids = train_centroids(
            points,
            count,
            seed=state.seed,
            iterations=config.kmeans_iterations,
            threads=state.threads,
            gpu=state.gpu,
            giant_factor=config.giant_factor,
        )
        save_centroids(centroids, principal_directions(points), path)
        settings = {name: getattr(centroids, name) for name in CENTROID_FACTS}
        return [path], {"settings": settings, "trained_on": state.keys}

    def load() -> tuple[Centroids, np.ndarray, list[str]]:
        facts = state.work.piece(
            "cluster",
            state.work.folder / "centroids.json",
            inputs,
            make,
            stale=lambda facts: state.recluster and facts["trained_on"] != state.keys,
        )
        return (*load_centroids(path, facts["settings"]), facts["trained_on"])

    state.centroids, state.components, state.trained_on = state.ranks.once(load)
    return {"n_clusters": len(state.centroids.vectors)}


def training_sample(store: EmbeddingStore, keys: Sequence[str], total: int, clusters: int, seed: int) -> np.ndarray:
    """Unit vectors, float32, of a seeded sample of 256 documents a cluster: what k-means trains on."""

    def read() -> Iterator[np.ndarray]:
        for key in keys:
            digests, vectors = store.load(key)
            ranks = seeded_keys(digests, seed, TRAINING)
            # What cannot be clustered gets a key that is never chosen.
            yield np.where(usable(vectors), ranks, np.uint64(2**64 - 1))

    chosen = lowest_keys(read, total, min(total, MAX_POINTS_PER_CENTROID * clusters))
    # Filled shard by shard: parts that are then joined would take the memory twice.
    sample = np.empty((sum(map(len, chosen)), store.dimension), np.float32)
    filled = 0
    for key, rows in zip(keys, chosen, strict=True):
        vectors = store.load(key)[1][rows]
        vectors = unit(vectors[usable(vectors)])
        sample[filled : filled + len(vectors)] = vectors
        filled += len(vectors)
    return sample[:filled]


def save_centroids(centroids: Centroids, components: np.ndarray, path: Path) -> None:
    """Write centroids and principal directions."""
    from safetensors.numpy import save

    write_file(path, save({"centroids": centroids.vectors, "components": np.ascontiguousarray(components)}))


def load_centroids(path: Path, settings: dict[str, Any]) -> tuple[Centroids, np.ndarray]:
    """Read what `save_centroids` wrote."""
    from safetensors.numpy import load_file

    tensors = load_file(path)
    return Centroids(vectors=tensors["centroids"], **settings), tensors["components"]


def assign(state: IndexState) -> None:
    """Assign the documents to their nearest centroids, each rank its own shards, and write sorted runs."""
    centroids = [state.centroids.settings(), content_hash(state.centroids.vectors.tobytes(), 64)]
    state.runs = [
        state.work.folder / "runs" / fingerprint([shard.key, key, centroids, state.seed, state.threads])
        for shard, key in zip(state.shards, state.keys, strict=True)
    ]
    # A text of a shard that is new since the centroids were trained was known to them if one gone since had it.
    before = set(state.trained_on)
    known = functools.cache(lambda: _digests(state.store, sorted(before - set(state.keys))))

    def assign_piece(number: int) -> dict[str, Any]:
        run, key = state.runs[number], state.keys[number]
        return state.work.piece(
            "assign",
            run.with_suffix(".json"),
            {"run": run.name, "all_known": key in before},
            lambda: _assign_shard(state, number, None if key in before else known()),
        )

    def work() -> dict[int, dict[str, Any]]:
        return {number: assign_piece(number) for number in state.ranks.mine(range(len(state.shards)))}

    by_shard = {number: facts for part in state.ranks.together(work) for number, facts in part.items()}
    state.assigned = [by_shard[number] for number in range(len(state.shards))]


def _assign_shard(state: IndexState, number: int, known: np.ndarray | None) -> tuple[list[Path], dict[str, float]]:
    """Write a shard's sorted run.

    Args:
        known (`np.ndarray`, *optional*): Digests of texts that the centroids were trained on, as
            `EmbeddingStore.digests` gives them; all of the shard where left out.

    Returns:
        `tuple[list[Path], dict[str, float]]`: The run's files; `documents` in it, how many of them are `new` to the
        centroids, and the similarity of those to theirs added up.
    """
    centroids = state.centroids
    digests, vectors = state.store.load(state.keys[number])
    table = read_shard(state.shards[number].path(state.documents)).drop_columns([DIGEST])
    table = table.filter(pa.array(state.unique[number]))
    rows = np.flatnonzero(usable(vectors))
    labels, cosines = np.zeros(0, np.int32), np.zeros(0, np.float32)
    if len(rows):
        labels, cosines = nearest_centroids(
            unit(vectors[rows]), centroids.vectors, threads=centroids.threads, gpu=state.gpu
        )
    keys = seeded_keys(digests[rows], state.seed)
    files = write_run(state.runs[number], table.take(pa.array(rows)), keys, labels, vectors[rows])
    new = np.zeros(len(rows), bool) if known is None else ~is_among(digests[rows], known)
    similarity = float(cosines[new].sum(dtype=np.float64))
    return files, {"documents": len(rows), "new": int(new.sum()), "new_similarity": similarity}


def _digests(store: EmbeddingStore, keys: Sequence[str]) -> np.ndarray:
    if gone := [key for key in keys if not store.path(key).is_file()]:
        raise CorpusError(
            f"{store.path(gone[0])} is gone, so it cannot be told which documents came since the clusters were "
            "trained. Put the embeddings of earlier revisions back, or set `recluster` to true."
        )
    return store.digests(keys)
