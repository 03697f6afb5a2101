"""The documents as counted words, for policies that read no embedding; made once, shared by all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import sparse

from equal_hf.corpus.term_sketch import TermSketch

MARKS = r"\w+|[^\w\s]"  # words, numbers and marks
BM25_K1, BM25_B = 1.2, 0.75


class TextFeatures:
    """Sparse views of texts.

    Args:
        texts (`Sequence[str]`): The documents.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    @cached_property
    def tfidf(self) -> sparse.csr_matrix:
        """TF-IDF of words, numbers and marks that three documents have: unit rows, shape `(documents, terms)`."""
        return self._vectorizer[1]

    def transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Other texts in the terms of `tfidf`."""
        return self._vectorizer[0].transform(texts).tocsr()

    @cached_property
    def _vectorizer(self):
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=min(3, len(self._texts)), token_pattern=MARKS)
        return vectorizer, vectorizer.fit_transform(self._texts).tocsr()

    @cached_property
    def sketches(self) -> np.ndarray:
        """What an index stores of the documents' terms, shape `(documents, 129)`, float32."""
        return TermSketch.fit(self._texts).transform(self._texts).astype(np.float32)

    def bm25(self, queries: Sequence[str]) -> np.ndarray:
        """BM25 scores of the documents, summed over queries, shape `(documents,)`.

        In Lucene's form, without English stop words; a word that a query repeats counts as often as it stands there.
        """
        vectorizer, weights = self._bm25
        return weights @ np.asarray(vectorizer.transform(queries).sum(axis=0), dtype=np.float64).ravel()

    @cached_property
    def _bm25(self):
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizer = CountVectorizer(stop_words="english")
        counts = vectorizer.fit_transform(self._texts).tocsr().astype(np.float64)
        n = counts.shape[0]
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = np.log(1 + (n - frequency + 0.5) / (frequency + 0.5))
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        damped = BM25_K1 * (1 - BM25_B + BM25_B * lengths / max(lengths.mean(), 1e-9))
        counts.data /= counts.data + np.repeat(damped, np.diff(counts.indptr))
        counts.data *= idf[counts.indices]
        return vectorizer, counts
