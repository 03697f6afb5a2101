"""Which clusters lie in which file of a corpus, and what the files are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA_FOLDER = "data"
EMBEDDINGS_FOLDER = "embeddings"
TERMS_FOLDER = "terms"


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One published file, and those that hold what came later to its clusters: which these are, and its name.

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

    def data(self, generation: int = 0) -> str:
        """Name of the Parquet file of a generation of its documents, below the corpus folder.

        >>> FilePlan(1, 3, (), 0).data(), FilePlan(1, 3, (), 0).data(2)
        ('data/clusters-00001-of-00003.parquet', 'data/clusters-00001-of-00003-added-02.parquet')
        """
        added = f"-added-{generation:02d}" if generation else ""
        return f"{DATA_FOLDER}/clusters-{self.number:05d}-of-{self.files:05d}{added}.parquet"


def embeddings_name(data: str) -> str:
    """Name of the embeddings that belong to a data file.

    >>> embeddings_name("data/clusters-00000-of-00002.parquet")
    'embeddings/clusters-00000-of-00002.safetensors'
    """
    return data.replace(f"{DATA_FOLDER}/", f"{EMBEDDINGS_FOLDER}/").replace(".parquet", ".safetensors")


def terms_name(data: str) -> str:
    """Name of the sketches of terms that belong to a data file."""
    return embeddings_name(data).replace(f"{EMBEDDINGS_FOLDER}/", f"{TERMS_FOLDER}/")


def share_out(rows: np.ndarray, stored_bytes: np.ndarray, *, max_shard_bytes: int) -> list[tuple[int, ...]]:
    """Share clusters out to files: contiguous ranges, each of about `max_shard_bytes`. Empty clusters are left out.

    Args:
        rows (`np.ndarray` of shape `(k,)`): Documents of each cluster.
        stored_bytes (`np.ndarray` of shape `(k,)`): About how many bytes each will take.
        max_shard_bytes (`int`): Size at which a file is closed.

    >>> share_out(np.array([2, 0, 1, 1]), np.array([60, 0, 50, 10]), max_shard_bytes=100)
    [(0, 2), (3,)]
    """
    ranges: list[list[int]] = []
    held = 0.0
    for cluster in np.flatnonzero(rows).tolist():
        if not ranges or held >= max_shard_bytes:
            ranges.append([])
            held = 0.0
        ranges[-1].append(cluster)
        held += float(stored_bytes[cluster])
    return [tuple(clusters) for clusters in ranges]


def plan_files(rows: np.ndarray, starts: Sequence[int]) -> list[FilePlan]:
    """The files of a corpus, of those clusters that hold documents.

    Args:
        rows (`np.ndarray` of shape `(k,)`): Documents of each cluster.
        starts (`Sequence[int]`): The first cluster of each file, ascending. What comes before belongs to the first.

    >>> [(plan.clusters, plan.first) for plan in plan_files(np.array([2, 0, 1, 1]), [0, 3])]
    [((0, 2), 0), ((3,), 2)]
    """
    alive = np.flatnonzero(rows)
    ranges = np.split(alive, np.searchsorted(alive, starts[1:]))
    ranges = [clusters for clusters in ranges if len(clusters)]
    firsts = np.cumsum([0, *map(len, ranges)]).tolist()
    return [
        FilePlan(number, len(ranges), tuple(clusters.tolist()), firsts[number])
        for number, clusters in enumerate(ranges)
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
