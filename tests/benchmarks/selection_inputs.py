"""What a comparison of selection policies is about: documents, the pairs they give, a target, and their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equal_hf.target import Target, load_target
from equal_hf.types import Document, QAPair

EMBEDDERS = ("marks", "words")


@dataclass(frozen=True)
class Inputs:
    """Everything read, nothing embedded.

    Args:
        ids, texts (`list[str]`): The documents.
        pairs (`list[QAPair]`): What a perfect extractor would return, document after document.
        starts (`np.ndarray` of shape `(documents + 1,)`): Where each document's pairs begin.
        target (`Target`): The target task, its reference set whole.
        labels (`np.ndarray` of shape `(documents,)`, *optional*): Target-like pairs of each document; scores alone see
            them.
    """

    ids: list[str]
    texts: list[str]
    pairs: list[QAPair]
    starts: np.ndarray
    target: Target
    labels: np.ndarray | None

    def pairs_of(self, documents: np.ndarray) -> np.ndarray:
        """Positions of the documents' pairs, document after document."""
        return np.concatenate([np.arange(self.starts[d], self.starts[d + 1]) for d in documents] or [np.zeros(0, int)])


def read_inputs(documents: str, pairs: str | None, targets: str, labels: str | None) -> Inputs:
    """Read the files; without `pairs`, the pairs are those that the documents state and `ExplicitExtractor` finds."""
    import pandas as pd

    frame = pd.read_parquet(documents)
    ids, texts = frame["id"].astype(str).tolist(), frame["text"].tolist()
    if pairs is None:
        from equal_hf.extraction.explicit.extractor import ExplicitExtractor

        results = ExplicitExtractor().extract([Document(i, text) for i, text in zip(ids, texts, strict=True)])
        by_document = [list(result.pairs) for result in results]
    else:
        found: dict[str, list[QAPair]] = {i: [] for i in ids}
        table = pd.read_parquet(pairs)
        for document, question, answer in zip(
            table["doc_id"].astype(str), table["question"], table["answer"], strict=True
        ):
            if document in found:
                found[document].append(QAPair(question or "", answer or "", document))
        by_document = [found[i] for i in ids]
    useful = None
    if labels is not None:
        table = pd.read_parquet(labels).set_index("id")["n_target_like_qa"]
        useful = table.reindex(ids).fillna(0).to_numpy(dtype=np.int64)
    split_column = "split" if Path(targets).is_file() else None
    return Inputs(
        ids=ids,
        texts=texts,
        pairs=[pair for group in by_document for pair in group],
        starts=np.cumsum([0, *(len(group) for group in by_document)]),
        target=load_target(targets, split_column=split_column, n_reference=None),
        labels=useful,
    )


@dataclass(frozen=True)
class Embedded:
    """Unit vectors of everything, float32."""

    documents: np.ndarray
    pairs: np.ndarray
    reference: np.ndarray
    held_out: np.ndarray


def embed(inputs: Inputs, embedder: str, dimension: int = 128) -> Embedded:
    """Embed with a model fitted on the documents (`marks`, `words`) or a sentence-transformers folder."""
    if embedder in EMBEDDERS:
        encode = _fit_lsa(inputs.texts, embedder, dimension)
    else:
        from equal_hf.corpus.embedder import Embedder

        encode = Embedder(embedder).encode
    return Embedded(
        documents=encode(inputs.texts),
        pairs=encode([pair.text() for pair in inputs.pairs]),
        reference=encode([item.text() for item in inputs.target.reference]),
        held_out=encode([item.text() for item in inputs.target.validation]),
    )


def _fit_lsa(texts: Sequence[str], kind: str, dimension: int):
    """Latent semantic analysis: TF-IDF, then the leading singular directions.

    `marks` counts words, numbers and marks; `words` counts words less English stop words.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    tokens = {"token_pattern": r"\w+|[^\w\s]"} if kind == "marks" else {"stop_words": "english"}
    counts = TfidfVectorizer(sublinear_tf=True, min_df=min(3, len(texts)), **tokens)
    weighted = counts.fit_transform(texts)
    svd = TruncatedSVD(min(dimension, *(side - 1 for side in weighted.shape)), random_state=0).fit(weighted)

    def encode(batch: Sequence[str]) -> np.ndarray:
        vectors = svd.transform(counts.transform(batch)) if len(batch) else np.zeros((0, len(svd.components_)))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)

    return encode
