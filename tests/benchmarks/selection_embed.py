"""Embeddings of what is compared, kept by content: a text that was embedded once is not embedded again.

A cache is a folder for each embedder (named by a hash of all that decides its vectors) of chunks. Each is written
whole, so an embedding that was interrupted goes on where it was, and several processes may share the folder.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.benchmarks.report import progress
from tests.benchmarks.selection_inputs import Inputs
from tests.benchmarks.selection_texts import MARKS

LSA = {"marks": {"token_pattern": MARKS}, "words": {"stop_words": "english"}}
EMBEDDERS = tuple(LSA)
LSA_DIMENSION = 128
CHUNK = 1024  # texts embedded between two writes
TOLD_EVERY_S = 20.0
CACHE_VARIABLE = "EQUAL_EMBEDDINGS"

Encode = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Embedded:
    """Unit vectors of everything, float32."""

    documents: np.ndarray
    pairs: np.ndarray
    reference: np.ndarray
    held_out: np.ndarray


class Cached:
    """An encoder that keeps what it encoded, in memory and, with a folder, for the next process.

    Args:
        identity (`str`): Hash of all that decides the vectors.
        encode (`Callable`): Texts to vectors.
        folder (`Path`, *optional*): Where caches lie.
    """

    def __init__(self, identity: str, encode: Encode, folder: Path | None) -> None:
        self._encode, self._folder = encode, None if folder is None else folder / identity
        self._places: dict[bytes, tuple[np.ndarray, int]] = {}
        for path in sorted(self._folder.glob("*.npz")) if self._folder is not None else ():
            with np.load(path) as chunk:
                self._remember([key.tobytes() for key in chunk["keys"]], chunk["vectors"])

    def _remember(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        self._places.update((key, (vectors, row)) for row, key in enumerate(keys))

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keep vectors of texts."""
        keys = [_key(text) for text in texts]
        self._remember(keys, vectors)
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
        writing = self._folder / f".{name}.{os.getpid()}"
        with open(writing, "wb") as file:
            np.savez(file, keys=np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16), vectors=vectors)
        writing.replace(self._folder / f"{name}.npz")

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, those that are not kept yet embedded chunk by chunk."""
        missing = list({key: text for text in texts if (key := _key(text)) not in self._places}.values())
        began = told = time.monotonic()
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            self.add(chunk, self._encode(chunk))
            if (now := time.monotonic()) - told > TOLD_EVERY_S:
                progress(f"embedded {start + len(chunk)} of {len(missing)} texts in {now - began:.0f} s")
                told = now
        places = [self._places[_key(text)] for text in texts]
        if not places:
            known = next(iter(self._places.values()), None)
            return np.zeros((0, LSA_DIMENSION if known is None else known[0].shape[1]), np.float32)
        return np.stack([vectors[row] for vectors, row in places])


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def make_encoder(embedder: str, texts: Sequence[str], folder: Path | None = None, dtype: str = "float32") -> Cached:
    """An encoder by name.

    Args:
        embedder (`str`): `marks` or `words`, fitted on `texts`; else a sentence-transformers folder.
        texts (`Sequence[str]`): The documents.
        folder (`Path`, *optional*): Where embeddings are kept.
        dtype (`str`): Precision of a sentence-transformers model.
    """
    if embedder in EMBEDDERS:
        identity = hashlib.sha256(f"{embedder} {LSA_DIMENSION} {len(texts)}".encode() + b"".join(map(_key, texts)))
        return Cached(f"{embedder}-{identity.hexdigest()[:16]}", _Lsa(texts, embedder), folder)
    from equal_hf.corpus.embedder import Embedder

    model = Embedder(embedder, dtype=dtype)
    return Cached(model.fingerprint(), model.encode, folder)


def embed(inputs: Inputs, encode: Encode) -> Embedded:
    """Embed what is compared."""
    return Embedded(
        documents=encode(inputs.texts),
        pairs=encode([pair.text() for pair in inputs.pairs]),
        reference=encode([item.text() for item in inputs.target.reference]),
        held_out=encode([item.text() for item in inputs.target.validation]),
    )


class _Lsa:
    """Latent semantic analysis: TF-IDF, then the leading singular directions; fitted when first used.

    `marks` counts words, numbers and marks; `words` counts words less English stop words.
    """

    def __init__(self, texts: Sequence[str], kind: str) -> None:
        self._texts, self._kind, self._fitted = texts, kind, None

    def _fit(self):
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        counts = TfidfVectorizer(sublinear_tf=True, min_df=min(3, len(self._texts)), **LSA[self._kind])
        weighted = counts.fit_transform(self._texts)
        svd = TruncatedSVD(min(LSA_DIMENSION, *(side - 1 for side in weighted.shape)), random_state=0).fit(weighted)
        return counts, svd

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        if self._fitted is None:
            self._fitted = self._fit()
        counts, svd = self._fitted
        vectors = svd.transform(counts.transform(texts))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
