"""Spherical k-means over unit vectors: each cluster becomes an arm of the bandit (arXiv 2505.12250, section 3)."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from equal_hf.errors import ConfigError, CorpusError, MissingDependencyError

logger = logging.getLogger(__name__)

MAX_POINTS_PER_CENTROID = 256


@dataclass(frozen=True, slots=True)
class Clustering:
    """What k-means found, and what the result depends on.

    Args:
        centroids (`np.ndarray` of shape `(k, d)`, float32): Unit vectors.
        labels (`np.ndarray` of shape `(n,)`, int32): The cluster of each embedding; every cluster has one at least.
        requested (`int`): Clusters asked for; `k` is less where some stayed empty.
        seed (`int`): Seed of the sample and of the first centroids.
        iterations (`int`): Iterations run.
        threads (`int`): OpenMP threads; another number may move a document that lies between two clusters.
        device (`str`): `"cpu"` or `"gpu"`.
    """

    centroids: np.ndarray
    labels: np.ndarray
    requested: int
    seed: int
    iterations: int
    threads: int
    device: str

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
        }


def spherical_kmeans(
    embeddings: np.ndarray,
    n_clusters: int,
    *,
    seed: int = 42,
    iterations: int = 25,
    threads: int | None = None,
    gpu: bool | Literal["auto"] = "auto",
) -> Clustering:
    """Cluster unit vectors by cosine similarity with FAISS.

    Centroids are trained on a seeded sample of at most 256 vectors a cluster; all vectors are then assigned to the
    nearest. FAISS splits large clusters to refill empty ones while it trains; a cluster that is empty after the
    assignment (fewer distinct embeddings than clusters, for instance) is left out and the others are renumbered.

    Args:
        embeddings (`np.ndarray` of shape `(n, d)`, float32): Unit vectors; may be memory-mapped.
        n_clusters (`int`): Clusters wanted, at most `n`.
        seed (`int`, *optional*, defaults to `42`): Seed, from 0 to 2³¹ - 1.
        iterations (`int`, *optional*, defaults to `25`): Iterations of k-means.
        threads (`int`, *optional*): OpenMP threads, `min(8, os.cpu_count())` by default. The result is a function of
            the input, the seed and this number.
        gpu (`bool` or `"auto"`, *optional*, defaults to `"auto"`): Whether FAISS runs on the GPUs; `"auto"`: where
            this FAISS sees one.

    Returns:
        `Clustering`

    Raises:
        CorpusError: More clusters than embeddings.
        ConfigError: A setting is out of its range, or a GPU is asked for that FAISS does not see.
        MissingDependencyError: FAISS is not installed.
    """
    documents, dimension = embeddings.shape
    threads = threads if threads is not None else min(8, os.cpu_count() or 1)
    faiss, use_gpu = prepare_clustering(n_clusters, seed=seed, iterations=iterations, threads=threads, gpu=gpu)
    if n_clusters > documents:
        raise CorpusError(
            f"`n_clusters` is {n_clusters}, but only {documents} documents are usable. Ask for {documents} clusters "
            "or fewer, or read more documents."
        )
    kmeans = faiss.Kmeans(
        dimension,
        int(n_clusters),
        niter=int(iterations),
        seed=int(seed),
        spherical=True,
        gpu=use_gpu,
        min_points_per_centroid=1,
        max_points_per_centroid=MAX_POINTS_PER_CENTROID,
    )
    threads_before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(int(threads))
    try:
        kmeans.train(embeddings)
        _, nearest = kmeans.assign(embeddings)
    finally:
        faiss.omp_set_num_threads(threads_before)
    kept, labels = np.unique(nearest, return_inverse=True)
    if len(kept) < n_clusters:
        logger.warning(
            "%d of %d clusters stayed empty and were left out; `n_clusters` may be too high for %d documents.",
            n_clusters - len(kept),
            n_clusters,
            documents,
        )
    return Clustering(
        centroids=np.array(kmeans.centroids[kept], dtype=np.float32),
        labels=labels.astype(np.int32),
        requested=int(n_clusters),
        seed=int(seed),
        iterations=int(iterations),
        threads=int(threads),
        device="gpu" if use_gpu else "cpu",
    )


def prepare_clustering(
    n_clusters: int, *, seed: int, iterations: int, threads: int | None, gpu: bool | Literal["auto"]
) -> tuple[Any, bool]:
    """Find out before the long work whether `spherical_kmeans` could start with these settings.

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
