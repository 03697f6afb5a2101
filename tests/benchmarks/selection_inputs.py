"""What a comparison of selection policies is about: documents, the pairs they give, a target, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from equal_hf.target import Target, load_target
from equal_hf.types import Document, QAPair, Usage

# What extraction costs where nothing is extracted: the instructions come on top of a document, of which a token is
# four characters, and every pair that comes back is that long.
INSTRUCTIONS_TOKENS, CHARACTERS_PER_TOKEN, PAIR_TOKENS = 450, 4, 120
COMPLETION_PRICE = 4  # of a token, in prices of a prompt token
UNITS = ("documents", "tokens", "money")


@dataclass(frozen=True)
class Inputs:
    """Everything read, nothing embedded.

    Args:
        ids, texts (`list[str]`): The documents.
        pairs (`list[QAPair]`): What a perfect extractor would return, document after document.
        starts (`np.ndarray` of shape `(documents + 1,)`): Where each document's pairs begin.
        target (`Target`): The target task, its reference set whole.
        labels (`np.ndarray` of shape `(documents,)`, *optional*): Target-like pairs of each document; scores and
            graders alone see them.
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

    def usage(self, documents: np.ndarray) -> Usage:
        """What extracting documents uses; one without pairs costs its prompt."""
        prompt, completion = self._tokens(documents)
        return Usage(int(prompt.sum()), int(completion.sum()), len(documents))

    def costs(self, unit: str) -> np.ndarray:
        """What extracting each document costs in `"documents"`, `"tokens"` or `"money"`, shape `(documents,)`."""
        if unit == "documents":
            return np.ones(len(self.ids))
        prompt, completion = self._tokens(np.arange(len(self.ids)))
        return (prompt + completion * (COMPLETION_PRICE if unit == "money" else 1)).astype(np.float64)

    def _tokens(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        characters = np.array([len(self.texts[document]) for document in documents], dtype=np.int64)
        pairs = self.starts[documents + 1] - self.starts[documents]
        return characters // CHARACTERS_PER_TOKEN + INSTRUCTIONS_TOKENS, PAIR_TOKENS * pairs


def affordable(drawn: np.ndarray, costs: np.ndarray, budget: float) -> np.ndarray:
    """The documents that a budget pays for when they are bought in that order, up to the first it cannot."""
    return drawn[: int(np.searchsorted(np.cumsum(costs[drawn]), budget * (1 + 1e-9), side="right"))]


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
    read = Inputs(
        ids=ids,
        texts=texts,
        pairs=[pair for group in by_document for pair in group],
        starts=np.cumsum([0, *(len(group) for group in by_document)]),
        target=_read_target(targets),
        labels=None,
    )
    return read if labels is None else replace(read, labels=_read_labels(labels, ids))


def for_target(inputs: Inputs, targets: str, labels: str | None) -> Inputs:
    """The same documents and pairs for another target."""
    return replace(
        inputs,
        target=_read_target(targets),
        labels=None if labels is None else _read_labels(labels, inputs.ids),
    )


def _read_target(path: str) -> Target:
    return load_target(path, split_column="split" if Path(path).is_file() else None, n_reference=None)


def _read_labels(path: str, ids: Sequence[str]) -> np.ndarray:
    import pandas as pd

    table = pd.read_parquet(path)
    counts = table.set_index(table["id"].astype(str))["n_target_like_qa"]
    return counts.reindex(ids).fillna(0).to_numpy(dtype=np.int64)
