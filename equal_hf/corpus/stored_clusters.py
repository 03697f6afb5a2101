"""Documents and embeddings of clusters, read from disk or from the Hub when they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equal_hf.corpus.centroids import CENTROIDS_FILE, read_centroids
from equal_hf.corpus.parquet_reader import ClusterReader
from equal_hf.corpus.prefetcher import Prefetcher
from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.errors import CorpusError
from equal_hf.types import Document


class StoredClusters:
    """What a clustered corpus gives of its clusters; [`ClusteredCorpus`] makes, opens and copies one.

    Args:
        reader ([`ClusterReader`]): Reads documents and embeddings.
        profiles ([`ClusterProfiles`]): Mean, covariance and sample embeddings of each cluster.
        manifest (`dict[str, Any]`): How the corpus was made.
        source (`str`): The folder, or the Hub repository with its commit.
        folder (`Path`, *optional*): Where all of it is on this disk.
    """

    def __init__(
        self,
        reader: ClusterReader,
        profiles: ClusterProfiles,
        manifest: dict[str, Any],
        source: str,
        folder: Path | None,
    ):
        counts = (len(reader.sizes), len(profiles.count), manifest["n_clusters"])
        if len(set(counts)) > 1 or int(reader.sizes.sum()) != manifest["documents"]:
            raise CorpusError(
                f"The corpus {source} is damaged: index, profiles and manifest speak of {counts[0]}, {counts[1]} and "
                f"{counts[2]} clusters, index and manifest of {int(reader.sizes.sum())} and {manifest['documents']} "
                "documents. Build or download it again."
            )
        self._reader = reader
        self._folder = self._summary = folder
        self._token: str | bool | None = None
        self._cache_dir: str | Path | None = None
        self._max_cache_bytes = 0
        self._prefetcher = Prefetcher()
        self.profiles = profiles
        self.manifest = manifest
        self.source = source
        self.sizes: np.ndarray = reader.sizes
        self.n_clusters: int = len(reader.sizes)
        self.fingerprint: str = manifest["fingerprint"]
        self.embedder_name: str = manifest["embedder"].get("name", "")

    def draw(self, cluster: int, n: int, start: int = 0, order: np.ndarray | None = None) -> list[Document]:
        """Documents `start` … `start + n - 1` of a cluster.

        Reads the row groups that hold them and nothing else.

        Args:
            cluster (`int`): Cluster, from 0.
            n (`int`): Documents wanted; fewer come back at the end of the cluster.
            start (`int`, *optional*, defaults to `0`): Position of the first.
            order (`np.ndarray` of shape `(size,)`, *optional*): Positions in stored order to draw by; by default
                stored order itself, which is random.

        Returns:
            `list[Document]`

        Raises:
            CorpusError: No such cluster, a negative number, an order of positions that the cluster does not have, or a
                file that cannot be read.
        """
        self._check_cluster(cluster)
        size = int(self.sizes[cluster])
        if n < 0 or start < 0:
            raise CorpusError(f"`n` is {n} and `start` is {start}; neither may be negative.")
        positions = np.arange(start, min(start + n, size)) if order is None else np.asarray(order)[start : start + n]
        if len(positions) and not 0 <= positions.min() <= positions.max() < size:
            raise CorpusError(f"`order` holds positions outside 0 … {size - 1}, the documents of cluster {cluster}.")
        return self._reader.documents(int(cluster), positions)

    def embeddings(self, cluster: int) -> np.ndarray:
        """Embeddings of a cluster's documents in stored order; reads only that cluster's.

        Args:
            cluster (`int`): Cluster, from 0.

        Returns:
            `np.ndarray` of shape `(sizes[cluster], d)`, float32: Unit vectors, stored to float16 precision.

        Raises:
            CorpusError: No such cluster, or the file cannot be read.
        """
        self._check_cluster(cluster)
        return self._reader.embeddings(int(cluster))

    @property
    def has_terms(self) -> bool:
        """Whether sketches of the documents' terms are stored; corpora of earlier versions have none."""
        return self.profiles.sample_terms is not None

    def terms(self, cluster: int) -> np.ndarray:
        """Sketches of the terms of a cluster's documents in stored order; reads only that cluster's.

        Args:
            cluster (`int`): Cluster, from 0.

        Returns:
            `np.ndarray` of shape `(sizes[cluster], t)`, float32: What [`TermSketch`] makes of each.

        Raises:
            CorpusError: No such cluster, the corpus has none, or the file cannot be read.
        """
        self._check_cluster(cluster)
        if not self.has_terms:
            raise CorpusError(f"The corpus {self.source} was written without sketches of terms. Build it again.")
        return self._reader.terms(int(cluster))

    @property
    def centroids(self) -> np.ndarray:
        """The centroid of each cluster: shape `(n_clusters, d)`, float32, unit vectors.

        Raises:
            CorpusError: The corpus has none, or they cannot be read.
        """
        vectors, numbers = self._centroids
        return np.asarray(vectors[numbers])

    @property
    def centroid_numbers(self) -> np.ndarray:
        """For each cluster the number of its centroid, shape `(n_clusters,)`, ascending.

        Clusters are numbered without gaps, so in a later revision of an index their numbers may shift; those of the
        centroids stay until they are trained anew.

        Raises:
            CorpusError: As for `centroids`.
        """
        return self._centroids[1]

    @functools.cached_property
    def _centroids(self) -> tuple[np.ndarray, np.ndarray]:
        if self._summary is None or CENTROIDS_FILE not in self.manifest["files"]:
            raise CorpusError(f"The corpus {self.source} was written without its centroids. Build it again.")
        return read_centroids(self._summary / CENTROIDS_FILE, self.n_clusters, self.manifest["dimension"])

    @property
    def prefetches(self) -> bool:
        """Whether it is read from the Hub and has a cache, so that fetching ahead pays."""
        return self._folder is None and self._max_cache_bytes > 0

    def prefetch(
        self, wanted: Sequence[tuple[int, int, int]], order: Callable[[int], np.ndarray | None] | None = None
    ) -> None:
        """Fetch in the background what is likely to be drawn next.

        On a corpus in a folder, or without a cache, this does nothing. A later call replaces what an earlier one has
        not come to yet.

        Args:
            wanted (`Sequence[tuple[int, int, int]]`): Cluster, documents and start of each draw, the likeliest first.
            order (`Callable`, *optional*): The order that each cluster will be drawn by, as for `draw`; it is called
                in the background and may read embeddings.
        """
        if not self.prefetches:
            return

        def wish(cluster: int, n: int, start: int) -> Callable[[], None]:
            def fetch() -> None:
                self._check_cluster(cluster)
                places = None if order is None else order(cluster)
                places = np.arange(self.sizes[cluster]) if places is None else np.asarray(places)
                self._reader.fetch(cluster, places[start : start + n])

            return fetch

        self._prefetcher.want([wish(*draw) for draw in wanted])

    def _check_cluster(self, cluster: int) -> None:
        if not 0 <= cluster < self.n_clusters:
            raise CorpusError(f"There is no cluster {cluster}; the corpus has clusters 0 … {self.n_clusters - 1}.")
