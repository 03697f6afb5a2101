"""What is known of each cluster from its document embeddings alone: the material of priors and neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equal_hf.errors import CorpusError

PCA_DIMENSIONS = 32
PCA_ROWS = 65_536
SAMPLES = 32
SAMPLE_BYTES = 64 << 20
PROFILES_FILE = "profiles.safetensors"


@dataclass(frozen=True, slots=True)
class ClusterProfiles:
    """Gaussian summary and a random sample of every cluster.

    Args:
        count (`np.ndarray` of shape `(k,)`, int64): Documents.
        mean (`np.ndarray` of shape `(k, d)`, float32): Mean embedding.
        covariance (`np.ndarray` of shape `(k, p, p)`, float32): Covariance (divided by `count`) in the `p` principal
            directions of the corpus, `p` at most 32; zero for a cluster of one document.
        components (`np.ndarray` of shape `(d, p)`, float32): Those directions: orthonormal, largest variance first.
            `embeddings @ components` is what `covariance` describes.
        samples (`tuple[np.ndarray, ...]`): For each cluster the embeddings of its first documents in stored order,
            which is a random sample: shape `(m, d)`, float32, `m` at most 32.
        sample_terms (`tuple[np.ndarray, ...]`, *optional*): Sketches of the same documents' terms, shape `(m, t)`,
            float32; `None` in a corpus of a version that stored none.
    """

    count: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    components: np.ndarray
    samples: tuple[np.ndarray, ...]
    sample_terms: tuple[np.ndarray, ...] | None = None

    @classmethod
    def compute(
        cls,
        clusters: Iterable[np.ndarray],
        components: np.ndarray,
        samples: int = SAMPLES,
        terms: Sequence[np.ndarray] | None = None,
    ) -> ClusterProfiles:
        """Profiles of clusters, given one after the other.

        Args:
            clusters (`Iterable[np.ndarray]`): Embeddings of each cluster in stored order, shape `(n_i, d)`, `n_i` 1 or
                more.
            components (`np.ndarray` of shape `(d, p)`): What [`principal_directions`] gives.
            samples (`int`, *optional*, defaults to `32`): Embeddings kept of a cluster at most.
            terms (`Sequence[np.ndarray]`, *optional*): Sketches of each cluster's documents, shape `(n_i, t)`.

        >>> one, two = np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)[1:]
        >>> profiles = ClusterProfiles.compute([one, two], np.eye(3))
        >>> profiles.mean.tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
        >>> [len(sample) for sample in profiles.samples]
        [1, 2]
        """
        counts, means, covariances, sampled = [], [], [], []
        for embeddings in clusters:
            rows = np.asarray(embeddings, dtype=np.float64)
            mean = rows.mean(axis=0)
            projected = (rows - mean) @ components
            counts.append(len(rows))
            means.append(mean)
            covariances.append(projected.T @ projected / len(rows))
            sampled.append(rows[:samples].astype(np.float16).astype(np.float32))
        return cls(
            count=np.asarray(counts, dtype=np.int64),
            mean=np.asarray(means, dtype=np.float32),
            covariance=np.asarray(covariances, dtype=np.float32),
            components=components.astype(np.float32),
            samples=tuple(sampled),
            sample_terms=None if terms is None else tuple(own[:samples].astype(np.float32) for own in terms),
        )

    @classmethod
    def join(cls, parts: Sequence[ClusterProfiles]) -> ClusterProfiles:
        """The profiles of all clusters from those of consecutive ranges of them."""
        return cls(
            count=np.concatenate([part.count for part in parts]),
            mean=np.concatenate([part.mean for part in parts]),
            covariance=np.concatenate([part.covariance for part in parts]),
            components=parts[0].components,
            samples=tuple(sample for part in parts for sample in part.samples),
            sample_terms=None
            if any(part.sample_terms is None for part in parts)
            else tuple(own for part in parts for own in part.sample_terms or ()),
        )

    def save(self, path: Path) -> None:
        """Write one safetensors file; samples are stored as float16."""
        from safetensors.numpy import save

        tensors = {
            "count": self.count,
            "mean": self.mean,
            # Symmetric: half of it tells all.
            "covariance": np.ascontiguousarray(self.covariance[:, *np.triu_indices(self.covariance.shape[-1])]),
            "components": self.components,
            "samples": np.concatenate(self.samples).astype(np.float16),
            "sample_counts": np.asarray([len(sample) for sample in self.samples], dtype=np.int64),
        }
        if self.sample_terms is not None:
            tensors["sample_terms"] = np.concatenate(self.sample_terms).astype(np.float16)
        path.write_bytes(save(tensors))  # `save_file` would make it readable by its owner alone

    @classmethod
    def load(cls, path: Path) -> ClusterProfiles:
        """Read what `save` wrote.

        Raises:
            CorpusError: The file is damaged or holds something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
            cuts = np.cumsum(tensors.pop("sample_counts"))[:-1]
            samples = tuple(np.split(tensors.pop("samples").astype(np.float32), cuts))
            terms = tensors.pop("sample_terms", None)
            sample_terms = None if terms is None else tuple(np.split(terms.astype(np.float32), cuts))
            half, width = tensors.pop("covariance"), tensors["components"].shape[1]
            covariance = np.zeros((len(half), width, width), np.float32)
            upper = np.triu_indices(width)
            covariance[:, upper[0], upper[1]] = covariance[:, upper[1], upper[0]] = half
            return cls(samples=samples, sample_terms=sample_terms, covariance=covariance, **tensors)
        except (SafetensorError, KeyError, TypeError, ValueError, IndexError, OSError) as error:
            raise CorpusError(
                f"The cluster profiles {path} cannot be read: {error}. Build or download the corpus again."
            ) from error


def samples_per_cluster(clusters: int, dimension: int) -> int:
    """Embeddings kept of each cluster: the whole profile stays small enough to be fetched first."""
    return min(SAMPLES, max(1, SAMPLE_BYTES // (2 * dimension * clusters)))


def principal_directions(embeddings: np.ndarray) -> np.ndarray:
    """Directions of largest variance of a corpus, from at most `PCA_ROWS` rows spread evenly over a sample of it.

    Args:
        embeddings (`np.ndarray` of shape `(n, d)`): A random sample.

    Returns:
        `np.ndarray` of shape `(d, p)`, float64: Orthonormal, `p` at most 32.
    """
    step = -(-len(embeddings) // PCA_ROWS)
    rows = np.asarray(embeddings[::step], dtype=np.float64)
    rows = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    components = vectors[:, ::-1][:, : min(PCA_DIMENSIONS, rows.shape[1])]
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    signs = np.sign(components[np.abs(components).argmax(axis=0), np.arange(components.shape[1])])
    return components * signs
