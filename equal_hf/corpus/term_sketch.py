"""What words documents use, and how long they are, in a few numbers: a view of them beside their embedding.

Latent semantic analysis (Deerwester et al. 1990) of tf-idf: words are hashed, so there is no vocabulary to agree on;
the leading singular directions of a sample are kept. An embedder reads the first windows of a text and says what it is
about; this counts all of its words, numbers and marks, and tells an exercise sheet from a chapter on the same matter.

>>> sketch = TermSketch.fit(["1 + 1 = 2", "2 + 3 = 5", "the sea is blue", "the sky is blue"] * 3, dimensions=2)
>>> one, other, far = sketch.transform(["3 + 4 = 7", "5 + 1 = 6", "the blue sea"]).astype(float)
>>> bool(one @ other > one @ far)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equal_hf.utils.files import write_file

SKETCH_DIMENSIONS = 128
SKETCH_VERSION = 1  # raised when another sketch is made of the same text
FEATURES = 1 << 16
SAMPLE = 20_000  # documents that directions are learned from
MAX_CHARACTERS = 20_000  # of a text that are counted
LEAST_SHARE = 1e-3  # of the largest singular value
# A document that is e times as long differs by as much as this, where unit vectors differ by √2 at most.
LENGTH_UNIT = 0.15


@dataclass(frozen=True, slots=True)
class TermSketch:
    """Makes sketches of documents.

    Args:
        idf (`np.ndarray` of shape `(65536,)`, float32): Weight of every hashed word.
        components (`np.ndarray` of shape `(65536, d)`, float32): Directions.
        mean_log_length (`float`): Mean logarithm of the characters of a document.
    """

    idf: np.ndarray
    components: np.ndarray
    mean_log_length: float

    @classmethod
    def fit(cls, texts: Sequence[str], dimensions: int = SKETCH_DIMENSIONS) -> TermSketch:
        """Learn weights and directions from a sample of documents.

        Args:
            texts (`Sequence[str]`): The sample.
            dimensions (`int`, *optional*, defaults to `128`): Directions at most.
        """
        from sklearn.utils.extmath import randomized_svd

        counts = _counts(texts)
        documents = np.bincount(counts.indices, minlength=FEATURES)
        idf = (np.log((1 + len(texts)) / (1 + documents)) + 1).astype(np.float32)
        # What occurs once tells nothing of other documents.
        idf[documents < min(2, len(texts))] = 0.0
        used = np.flatnonzero(idf)
        weighted = _weighted(counts, idf)[:, used]
        rank = min(dimensions, *(side - 1 for side in weighted.shape))
        components = np.zeros((FEATURES, max(rank, 1)), dtype=np.float32)
        if rank > 0:
            # In double precision, and without directions that hold nothing, so that what threads add up in another
            # order is rounded away.
            _, held, directions = randomized_svd(weighted.astype(np.float64), rank, n_iter=4, random_state=0)
            components[used] = (directions * (held > LEAST_SHARE * held.max())[:, None]).T.round(5)
        return cls(idf, components, float(np.mean(_log_lengths(texts))))

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Sketches of documents.

        Args:
            texts (`Sequence[str]`): The documents.

        Returns:
            `np.ndarray` of shape `(n, d + 1)`, float16: A unit vector, and last the logarithm of the length.
        """
        vectors = np.asarray(_weighted(_counts(texts), self.idf) @ self.components)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        length = LENGTH_UNIT * (_log_lengths(texts) - self.mean_log_length)
        return np.column_stack([vectors, np.clip(length, -1.0, 1.0)]).astype(np.float16)

    def save(self, path: Path) -> None:
        """Write one safetensors file: of words that count for nothing, nothing."""
        from safetensors.numpy import save

        used = np.flatnonzero(self.idf)
        tensors = {"used": used, "idf": self.idf[used], "components": self.components[used]}
        write_file(path, save(tensors | {"mean_log_length": np.array([self.mean_log_length])}))

    @classmethod
    def load(cls, path: Path) -> TermSketch:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        tensors = load_file(path)
        used, rows = tensors["used"], tensors["components"]
        idf, components = np.zeros(FEATURES, np.float32), np.zeros((FEATURES, rows.shape[1]), np.float32)
        idf[used], components[used] = tensors["idf"], rows
        return cls(idf, components, float(tensors["mean_log_length"][0]))


def _counts(texts: Sequence[str]):
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        n_features=FEATURES, alternate_sign=False, norm=None, token_pattern=r"\w+|[^\w\s]", dtype=np.float32
    )
    counts = hashing.transform([text[:MAX_CHARACTERS] for text in texts])
    counts.data = 1.0 + np.log(counts.data)
    return counts


def _weighted(counts, idf: np.ndarray):
    from sklearn.preprocessing import normalize

    weighted = counts.copy()
    weighted.data *= idf[counts.indices]
    return normalize(weighted, copy=False)


def _log_lengths(texts: Sequence[str]) -> np.ndarray:
    return np.log([max(len(text), 1) for text in texts])
