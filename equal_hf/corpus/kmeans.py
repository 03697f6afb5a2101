"""Spherical k-means over unit vectors: each cluster becomes an arm of the bandit (arXiv 2505.12250, section 3)."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from equal_hf.errors import ConfigError, CorpusError, MissingDependencyError

logger = logging.getLogger(__name__)

MAX_POINTS_PER_CENTROID = 256
LEAST_DOCUMENTS = 40  # documents a cluster holds on average at least, where their number is chosen here
MOST_CLUSTERS = 65_536


@dataclass(frozen=True, slots=True)
class Centroids:
    """What k-means found, and what the result depends on.

    Args:
        vectors (`np.ndarray` of shape `(k, d)`, float32): Unit vectors.
        requested (`int`): Clusters asked for.
        seed (`int`): Seed of the sample and of the first centroids.
        iterations (`int`): Iterations run.
        threads (`int`): OpenMP threads; another number may move a document that lies between two clusters.
        device (`str`): `"cpu"` or `"gpu"`.
        points (`int`): Embeddings they were trained on.
        giant_factor (`float`): Clusters of more than so many times the mean size were split.
        split (`int`): How many were; each adds one cluster or more.
        similarity (`float`): Mean cosine of a training point and its centroid; drift is measured against it.
    """

    vectors: np.ndarray
    requested: int
    seed: int
    iterations: int
    threads: int
    device: str
    points: int
    giant_factor: float
    split: int
    similarity: float

    def settings(self) -> dict[str, Any]:
        """What the result depends on besides the embeddings, for the manifest."""
        return {
            "method": "spherical_kmeans",
            "n_clusters_requested": self.requested,
            "seed": self.seed,
            "iterations": self.iterations,
            "threads": self.threads,
            "device": self.device,
            "max_points_per_centroid": MAX_POINTS_PER_CENTROID,
            "training_points": self.points,
            "giant_factor": self.giant_factor,
            "giant_clusters_split": self.split,
            "training_similarity": self.similarity,
        }


def auto_clusters(documents: int) -> int:
    """How many clusters a corpus gets where nobody says: the square root of its documents.

    Clusters and documents a cluster then grow alike, so that neither a first look at all arms nor an arm found good is
    soon used up (AutoMathText: 1,208 clusters of 1,208 documents; the paper took some 1,000). A cluster averages 40
    documents at least, and there are 65,536 at most.

    >>> [auto_clusters(documents) for documents in (30, 1_000, 20_000, 1_459_288, 1_000_000_000)]
    [1, 25, 141, 1208, 31623]
    """
    return max(1, min(round(math.sqrt(documents)), documents // LEAST_DOCUMENTS, MOST_CLUSTERS))


def check_count(n_clusters: int, documents: int) -> None:
    """Raise [`CorpusError`] where more clusters are wanted than there are documents."""
    if n_clusters > documents:
        raise CorpusError(
            f"`n_clusters` is {n_clusters}, but only {documents} documents are usable. Ask for {documents} clusters "
            "or fewer, set it to auto, or read more documents."
        )


def train_centroids(
    sample: np.ndarray,
    n_clusters: int,
    *,
    seed: int = 42,
    iterations: int = 25,
    threads: int | None = None,
    gpu: bool | Literal["auto"] = "auto",
    giant_factor: float = 10.0,
) -> Centroids:
    """Train centroids with FAISS.

    FAISS refills clusters that stay empty while it trains. A cluster that then holds more than `giant_factor` times
    its share of the sample is split by k-means of its own, into as many parts as that takes, where its points differ.

    Args:
        sample (`np.ndarray` of shape `(n, d)`, float32): Unit vectors, a random sample of the corpus; 256 a cluster
            are enough.
        n_clusters (`int`): Clusters wanted, at most `n`.
        seed (`int`, *optional*, defaults to `42`): Seed, from 0 to 2³¹ - 1.
        iterations (`int`, *optional*, defaults to `25`): Iterations of k-means.
        threads (`int`, *optional*): OpenMP threads, `min(8, os.cpu_count())` by default. The result is a function of
            the input, the seed and this number.
        gpu (`bool` or `"auto"`, *optional*, defaults to `"auto"`): Whether FAISS runs on the GPUs; `"auto"`: where
            this FAISS sees one.
        giant_factor (`float`, *optional*, defaults to `10.0`): See above.

    Returns:
        `Centroids`

    Raises:
        CorpusError: More clusters than embeddings.
        ConfigError: A setting is out of its range, or a GPU is asked for that FAISS does not see.
        MissingDependencyError: FAISS is not installed.
    """
    threads = threads if threads is not None else default_threads()
    faiss, use_gpu = prepare_clustering(n_clusters, seed=seed, iterations=iterations, threads=threads, gpu=gpu)
    check_count(n_clusters, len(sample))
    with _threads(faiss, threads):
        vectors = _kmeans(faiss, sample, n_clusters, seed, iterations, use_gpu)
        labels, similarities = _nearest(faiss, sample, vectors, use_gpu)
        counts = np.bincount(labels, minlength=n_clusters)
        share = len(sample) / n_clusters
        split = 0
        parts = [vectors]
        for cluster in np.flatnonzero(counts > giant_factor * share).tolist():
            members = sample[labels == cluster]
            pieces = min(math.ceil(counts[cluster] / share), len(np.unique(members, axis=0)))
            if pieces > 1:
                halves = _kmeans(faiss, members, pieces, seed, iterations, use_gpu)
                vectors[cluster] = halves[0]
                parts.append(halves[1:])
                split += 1
        if split:
            vectors = np.concatenate(parts)
            _, similarities = _nearest(faiss, sample, vectors, use_gpu)
    return Centroids(
        vectors=vectors,
        requested=int(n_clusters),
        seed=int(seed),
        iterations=int(iterations),
        threads=int(threads),
        device="gpu" if use_gpu else "cpu",
        points=len(sample),
        giant_factor=float(giant_factor),
        split=split,
        similarity=round(float(similarities.mean(dtype=np.float64)), 6),
    )


def nearest_centroids(
    embeddings: np.ndarray, centroids: np.ndarray, *, threads: int, gpu: bool | Literal["auto"] = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each unit vector, and the cosine to it.

    Args:
        embeddings (`np.ndarray` of shape `(n, d)`, float32): Unit vectors.
        centroids (`np.ndarray` of shape `(k, d)`, float32): Unit vectors.
        threads (`int`): OpenMP threads.
        gpu (`bool` or `"auto"`, *optional*, defaults to `"auto"`): Whether FAISS runs on the GPUs.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Labels, int32, and cosines, float32, each of shape `(n,)`.
    """
    faiss, use_gpu = prepare_clustering(1, seed=0, iterations=1, threads=threads, gpu=gpu)
    with _threads(faiss, threads):
        return _nearest(faiss, embeddings, centroids, use_gpu)


def default_threads(processes: int = 1) -> int:
    """Threads of each of `processes` on this machine: its processors shared out, 8 at most."""
    return max(1, min(8, (os.cpu_count() or 1) // processes))


def _kmeans(faiss: Any, points: np.ndarray, clusters: int, seed: int, iterations: int, gpu: bool) -> np.ndarray:
    kmeans = faiss.Kmeans(
        points.shape[1],
        int(clusters),
        niter=int(iterations),
        seed=int(seed),
        spherical=True,
        gpu=gpu,
        min_points_per_centroid=1,
        max_points_per_centroid=MAX_POINTS_PER_CENTROID,
    )
    kmeans.train(np.ascontiguousarray(points, dtype=np.float32))
    return np.array(kmeans.centroids, dtype=np.float32)


def _nearest(faiss: Any, points: np.ndarray, centroids: np.ndarray, gpu: bool) -> tuple[np.ndarray, np.ndarray]:
    index = faiss.IndexFlatIP(centroids.shape[1])
    if gpu:
        index = faiss.index_cpu_to_all_gpus(index)
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    similarities, labels = index.search(np.ascontiguousarray(points, dtype=np.float32), 1)
    return labels[:, 0].astype(np.int32), similarities[:, 0]


@contextmanager
def _threads(faiss: Any, threads: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(int(threads))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def prepare_clustering(
    n_clusters: int, *, seed: int, iterations: int, threads: int | None, gpu: bool | Literal["auto"]
) -> tuple[Any, bool]:
    """Find out before the long work whether `train_centroids` could start with these settings.

    Returns:
        `tuple[module, bool]`: FAISS, and whether it will run on the GPUs.

    Raises:
        ConfigError: A setting is out of its range, or a GPU is asked for that FAISS does not see.
        MissingDependencyError: FAISS is not installed.
    """
    for setting, value, low, high in (
        ("n_clusters", n_clusters, 1, 2**31 - 1),
        ("iterations", iterations, 1, 2**31 - 1),
        ("threads", 1 if threads is None else threads, 1, 1024),
        ("seed", seed, 0, 2**31 - 1),
    ):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"`{setting}` is {value!r}; it must be a whole number from {low} to {high}.")
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            'Clustering needs FAISS. Install one of the two: pip install "equal-hf[cpu]" (no GPU), or '
            'pip install "equal-hf[gpu]" (CUDA).'
        ) from error
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    if gpu is True and not gpus:
        raise ConfigError(
            '`gpu` is true, but this FAISS sees no GPU. Set it to false or "auto", or replace faiss-cpu: '
            'pip uninstall faiss-cpu && pip install "equal-hf[gpu]".'
        )
    return faiss, bool(gpus) if gpu == "auto" else gpu
