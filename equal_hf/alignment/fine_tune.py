"""Align an embedder: pull documents to the pairs they give, away from others' (arXiv 2505.12250, section 3).

The loss is InfoNCE, `-log(e^{sim(d,q+)/τ} / (e^{sim(d,q+)/τ} + Σ e^{sim(d,q-)/τ}))`, over in-batch negatives and mined
hard ones, with sentence-transformers' own trainer. Whether it helped is measured on documents held out; if not,
nothing is kept.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.alignment.config import AlignConfig
from equal_hf.corpus.embedder import Embedder
from equal_hf.types import Document, QAPair

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

Pairs = dict[str, list[str]]
Measure = Callable[[Embedder, Sequence[Document], Pairs], dict[str, float | None]]

# The paper's: temperature 0.02, 2 epochs, warm-up 0.1, 8 pairs a document, hard negatives from ranks 2-200.
TEMPERATURE = 0.02
WARMUP_SHARE = 0.1
PAIRS_PER_DOCUMENT = 8
HARD_RANKS = (1, 200)
LEARNING_RATE = 1e-5
# 1e-5 would not move a table of word vectors in a few hundred steps. Cosines do not change with the table's scale, so
# the rate is in units of its root mean square: 1e-2 for entries about 0.1.
STATIC_LEARNING_RATE = 0.1
LEAST_DOCUMENTS = 10  # on either side of the split


def align(
    model: str | SentenceTransformer,
    documents: Sequence[Document],
    pairs: Sequence[QAPair],
    out: Path | None,
    *,
    config: AlignConfig | None = None,
    seed: int = 42,
    max_windows: int = 8,
    heldout: Sequence[Document] | None = None,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Fine-tune an embedder on documents and their pairs, and keep it if it finds held-out documents' pairs better.

    Args:
        model (`str` or `SentenceTransformer`): The embedder; one that is passed loaded is changed.
        documents (`Sequence[Document]`): The sample.
        pairs (`Sequence[QAPair]`): Theirs; documents without pairs are left out.
        out (`Path`, *optional*): Folder for the tuned model, made only if it is kept.
        config ([`AlignConfig`], *optional*): How.
        seed (`int`, *optional*, defaults to `42`): Splits, mines and trains.
        max_windows (`int`, *optional*, defaults to `8`): Of the embedder that measures.
        heldout (`Sequence[Document]`, *optional*): Documents to measure on; a share of the sample where left out.
        measure (`Callable`, *optional*): Measures more, given an embedder and held-out documents with their pairs.

    Returns:
        `dict[str, Any]`: `kept`, `verdict`, and the measures `before` and `after`.
    """
    config = config or AlignConfig()
    by_document: Pairs = {}
    for pair in pairs:
        by_document.setdefault(pair.document_id, []).append(pair.text())
    train, test = _split([d for d in documents if d.id in by_document], config.holdout, seed)
    if heldout is not None:
        train, test = train + test, [d for d in heldout if d.id in by_document]
    counts = {"training_documents": len(train), "held_out_documents": len(test)}
    if min(len(train), len(test)) < LEAST_DOCUMENTS:
        verdict = f"not tried: {len(train) + len(test)} documents with pairs are too few, raise `sample_share`"
        return {"kept": False, "verdict": verdict, "before": {}, "after": {}, **counts}
    transformer, embedder = _load(model, max_windows)
    before = _measure(embedder, test, by_document, measure)
    rows = _rows(train, by_document, seed)
    dataset = _mine(rows, transformer, config, seed)
    rate = config.learning_rate or _default_rate(transformer)
    _train(transformer, dataset, rate, config, seed)
    after = _measure(Embedder(transformer, max_windows=max_windows), test, by_document, measure)
    kept = (after["recall_at_10"] or 0, after["mrr"] or 0) > (before["recall_at_10"] or 0, before["mrr"] or 0)
    change = f"held-out recall@10 {before['recall_at_10']:.4f} before, {after['recall_at_10']:.4f} after"
    verdict = f"kept: {change}" if kept else f"not kept, the original embedder is used: {change}"
    if kept and out is not None:
        transformer.save_pretrained(str(out), create_model_card=False)
    return {
        "kept": kept,
        "verdict": verdict,
        "before": before,
        "after": after,
        **counts,
        "training_pairs": len(dataset),
        "hard_negatives": len(dataset.column_names) - 2,
        "learning_rate": rate,
    }


def retrieval(documents: np.ndarray, pairs: np.ndarray, owners: np.ndarray, k: int = 10) -> dict[str, float]:
    """How well documents find their own pairs among all.

    Args:
        documents (`np.ndarray` of shape `(n, d)`): Unit vectors.
        pairs (`np.ndarray` of shape `(m, d)`): Unit vectors.
        owners (`np.ndarray` of shape `(m,)`): The document of each pair; every document has one at least.
        k (`int`, *optional*, defaults to `10`): Ranks looked at for recall.

    Returns:
        `dict[str, float]`: `recall_at_{k}`: mean share of a document's pairs (of at most `k`) in its first `k`; `mrr`:
        mean reciprocal rank of its first.

    >>> retrieval(np.eye(2), np.eye(2)[[0, 1, 1]], np.array([0, 0, 1]), k=1)
    {'recall_at_1': 0.5, 'mrr': 0.75}
    """
    recalls, ranks = [], []
    for start in range(0, len(documents), 256):
        order = np.argsort(-(documents[start : start + 256] @ pairs.T), axis=1, kind="stable")
        for row, ranked in enumerate(order, start):
            hits = owners[ranked] == row
            recalls.append(hits[:k].sum() / min(k, hits.sum()))
            ranks.append(1.0 / (1 + int(hits.argmax())))
    return {f"recall_at_{k}": round(float(np.mean(recalls)), 6), "mrr": round(float(np.mean(ranks)), 6)}


def _measure(
    embedder: Embedder, documents: Sequence[Document], by_document: Pairs, measure: Measure | None
) -> dict[str, float | None]:
    texts = [text for document in documents for text in by_document[document.id]]
    owners = np.repeat(np.arange(len(documents)), [len(by_document[document.id]) for document in documents])
    vectors = embedder.encode([document.text for document in documents])
    measures: dict[str, float | None] = dict(retrieval(vectors, embedder.encode(texts), owners))
    return measures | (measure(embedder, documents, by_document) if measure is not None else {})


def _split(documents: list[Document], holdout: float, seed: int) -> tuple[list[Document], list[Document]]:
    shuffled = random.Random(seed).sample(documents, len(documents))
    cut = round(holdout * len(shuffled))
    return shuffled[cut:], shuffled[:cut]


def _load(model: str | SentenceTransformer, max_windows: int) -> tuple[SentenceTransformer, Embedder]:
    embedder = Embedder(model, max_windows=max_windows)
    return embedder.model, embedder


def _rows(documents: Sequence[Document], by_document: Pairs, seed: int) -> list[tuple[str, str]]:
    """(document, pair) positives, at most 8 a document, so that no long document has the say."""
    rng = random.Random(seed)
    rows = []
    for document in documents:
        texts = list(dict.fromkeys(by_document[document.id]))
        chosen = rng.sample(texts, PAIRS_PER_DOCUMENT) if len(texts) > PAIRS_PER_DOCUMENT else texts
        rows += [(document.text, text) for text in chosen]
    return rows


def _mine(rows: list[tuple[str, str]], model: SentenceTransformer, config: AlignConfig, seed: int) -> Dataset:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    dataset = Dataset.from_dict({"anchor": [row[0] for row in rows], "positive": [row[1] for row in rows]})
    candidates = len({row[1] for row in rows})
    first, last = HARD_RANKS
    most = max((sum(1 for _ in texts) for texts in _texts_of(rows).values()), default=0)
    last = min(last, candidates - most - 1)
    if config.hard_negatives < 1 or last - first < config.hard_negatives:
        return dataset
    random.seed(seed)
    np.random.seed(seed)
    mined = mine_hard_negatives(
        dataset,
        model,
        anchor_column_name="anchor",
        positive_column_name="positive",
        range_min=first,
        range_max=last,
        num_negatives=config.hard_negatives,
        sampling_strategy="random",
        output_format="n-tuple",
        batch_size=config.batch_size,
        verbose=False,
    )
    return mined if len(mined) >= len(dataset) / 2 else dataset


def _default_rate(model: SentenceTransformer) -> float:
    if type(model[0]).__name__ != "StaticEmbedding":
        return LEARNING_RATE
    static: Any = model[0]
    return STATIC_LEARNING_RATE * float(static.embedding.weight.detach().pow(2).mean().sqrt())


def _texts_of(rows: list[tuple[str, str]]) -> Pairs:
    grouped: Pairs = {}
    for anchor, positive in rows:
        grouped.setdefault(anchor, []).append(positive)
    return grouped


def _train(model: SentenceTransformer, dataset: Dataset, learning_rate: float, config: AlignConfig, seed: int) -> None:
    import torch
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.training_args import BatchSamplers
    from transformers import PrinterCallback

    scale = 1.0 / TEMPERATURE
    loss: Any
    if config.mini_batch_size is not None:
        loss = losses.CachedMultipleNegativesRankingLoss(model, scale, mini_batch_size=config.mini_batch_size)
    else:
        loss = losses.MultipleNegativesRankingLoss(model, scale)
    steps = config.epochs * -(-len(dataset) // config.batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            learning_rate=learning_rate,
            warmup_steps=round(WARMUP_SHARE * steps),
            batch_sampler=BatchSamplers.NO_DUPLICATES,  # a document's other pairs are no negatives of it
            seed=seed,
            data_seed=seed,
            bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to="none",
            dataloader_pin_memory=False,
            disable_tqdm=not sys.stderr.isatty(),
        )
        trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=dataset, loss=loss)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.eval()
