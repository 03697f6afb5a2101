"""The centroids of a corpus as they are published: all that were trained, and which of them each cluster is of.

A cluster's number closes up where a centroid has no document, so another revision may number its clusters otherwise;
a centroid keeps its number for as long as the same centroids are used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equal_hf.errors import CorpusError
from equal_hf.utils.files import replacing

CENTROIDS_FILE = "centroids.safetensors"


def write_centroids(vectors: np.ndarray, numbers: np.ndarray, path: Path) -> None:
    """Write one safetensors file, of `centroids` and `numbers`.

    Args:
        vectors (`np.ndarray` of shape `(m, d)`, float32): All centroids, those without a document included.
        numbers (`np.ndarray` of shape `(k,)`, int32): For each cluster the row of its centroid.
        path (`Path`): The file.
    """
    from safetensors.numpy import save

    with replacing(path) as temporary:
        temporary.write_bytes(save({"centroids": np.ascontiguousarray(vectors), "numbers": numbers}))


def read_centroids(path: Path, n_clusters: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Read what `write_centroids` wrote.

    Raises:
        CorpusError: The file is damaged, or of another corpus.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        vectors, numbers = tensors["centroids"], tensors["numbers"]
        if vectors.shape[1:] != (dimension,) or numbers.shape != (n_clusters,):
            raise ValueError(f"it is of {len(numbers)} clusters in {vectors.shape[-1]} dimensions")
        if (np.diff(numbers) < 1).any() or not 0 <= numbers[0] <= numbers[-1] < len(vectors):
            raise ValueError("its numbers are not those of its centroids")
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError, OSError) as error:
        raise CorpusError(
            f"The centroids {path} cannot be read: {error}. Build or download the corpus again."
        ) from error
    return vectors, numbers
