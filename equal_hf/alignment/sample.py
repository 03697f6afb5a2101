"""The sample: some documents of the corpus, and the pairs found in them, paid from a budget of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from equal_hf.corpus.indexing.hash_order import SAMPLE, lowest_keys, seeded_keys
from equal_hf.corpus.indexing.shards import Shard, read_identities, read_shard
from equal_hf.extraction.budget import nano
from equal_hf.extraction.protocol import Extractor, PaidExtractor
from equal_hf.types import Allowance, Document, QAPair, Usage
from equal_hf.utils.files import replacing

if TYPE_CHECKING:
    from equal_hf.alignment.config import SampleConfig

BATCH = 256


def draw_sample(
    shards: Sequence[Shard], folder: Path, unique: Sequence[np.ndarray], count: int, seed: int
) -> list[Document]:
    """A seeded sample of the corpus, in its order.

    Args:
        shards (`Sequence[Shard]`): All of it.
        folder (`Path`): Where they are.
        unique (`Sequence[np.ndarray]`): For each, which documents are no duplicates.
        count (`int`): Documents to draw.
        seed (`int`): Another seed, another sample.
    """

    def read() -> Iterator[np.ndarray]:
        for shard, mask in zip(shards, unique, strict=True):
            keys = seeded_keys(read_identities(shard.path(folder))[0], seed, SAMPLE)
            yield np.where(mask, keys, np.uint64(2**64 - 1))

    chosen = lowest_keys(read, int(sum(mask.sum() for mask in unique)), count)
    documents = []
    for shard, rows, mask in zip(shards, chosen, unique, strict=True):
        rows = rows[mask[rows]]
        if len(rows):
            table = read_shard(shard.path(folder)).select(["id", "text"]).take(pa.array(rows))
            documents += [Document(row["id"], row["text"]) for row in table.to_pylist()]
    return documents


def save_sample(documents: Sequence[Document], path: Path) -> None:
    """Write a sample."""
    table = pa.table({"id": [d.id for d in documents], "text": [d.text for d in documents]})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def load_sample(path: Path) -> list[Document]:
    """Read a sample."""
    return [Document(row["id"], row["text"]) for row in pq.read_table(path).to_pylist()]


def extract_sample(
    extractor: Extractor, documents: Sequence[Document], config: SampleConfig, run: str, show_progress: bool
) -> tuple[list[QAPair], dict[str, Any]]:
    """The pairs of a sample, within the index budget.

    Replies come from the response store and go into it, so that an index that is stopped pays for none twice and the
    loop finds them there.

    Args:
        extractor ([`Extractor`]): A run's extractor.
        documents (`Sequence[Document]`): The sample.
        config ([`SampleConfig`]): Holds the budget.
        run (`str`): Under which name the ledger books it.
        show_progress (`bool`): Show a progress bar on a terminal.

    Returns:
        `tuple[list[QAPair], dict[str, Any]]`: The pairs, and what was used and dropped.
    """
    from tqdm.auto import tqdm

    if isinstance(extractor, PaidExtractor):
        extractor.begin(run)
    documents = documents[: config.index_max_documents]
    pairs: list[QAPair] = []
    dropped: dict[str, int] = {}
    used, extracted = Usage(), 0
    with tqdm(total=len(documents), desc="extract", unit="doc", disable=None if show_progress else True) as progress:
        for start in range(0, len(documents), BATCH):
            batch = documents[start : start + BATCH]
            paid = extractor.paid().cost if isinstance(extractor, PaidExtractor) else 0
            allowance = Allowance(
                _left(config.index_max_prompt_tokens, used.prompt_tokens),
                _left(config.index_max_completion_tokens, used.completion_tokens),
                None if config.index_max_cost is None else nano(config.index_max_cost) - paid,
            )
            done = [e for e in extractor.extract(batch, allowance) if e.finish_reason != "budget"]
            for extraction in done:
                used += extraction.usage
                pairs += extraction.pairs
                for reason, count in extraction.dropped.items():
                    dropped[reason] = dropped.get(reason, 0) + count
            extracted += len(done)
            progress.update(len(batch))
            if len(done) < len(batch):
                break  # the budget is spent
    cost = extractor.paid().cost if isinstance(extractor, PaidExtractor) else 0
    facts = {
        "documents": extracted,
        "pairs": len(pairs),
        "dropped": dropped,
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "cost_nano": cost,
        "ended_by_budget": extracted < len(documents),
    }
    return pairs, facts


def save_pairs(pairs: Sequence[QAPair], path: Path) -> None:
    """Write pairs."""
    columns = {name: [getattr(pair, name) for pair in pairs] for name in ("document_id", "question", "answer")}
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def load_pairs(path: Path) -> list[QAPair]:
    """Read pairs."""
    rows = pq.read_table(path).to_pylist()
    return [QAPair(row["question"], row["answer"], row["document_id"]) for row in rows]


def _left(limit: int | None, used: int) -> int | None:
    return None if limit is None else limit - used
