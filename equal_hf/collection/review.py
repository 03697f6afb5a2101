"""A stop after some rounds, so that a person can look at the pairs before more is spent.

The run stops once. Started again it goes on, under another prompt, extractor or target if they were changed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equal_hf.records.json_files import write_json
from equal_hf.report.review_pairs import FILE, ReviewedPair, choose, review_lines

if TYPE_CHECKING:
    from equal_hf.collection.collector import EqualDataCollector


def review(collector: EqualDataCollector) -> list[str]:
    """Choose pairs of all rounds so far, leave them in the run folder for the report, and note that the stop is over.

    Args:
        collector ([`EqualDataCollector`]): A run that waits for its review.

    Returns:
        `list[str]`: The review as lines for a terminal.
    """
    records, history = collector.records, collector.history
    rounds = [records.load(index) for index in range(history.rounds)]
    embeddings = np.concatenate([records.embeddings(index) for index in range(history.rounds)])
    values = np.concatenate([_values(collector, index) for index in range(history.rounds)])
    places = [(round.index, position) for round in rounds for position in range(len(round.pairs))]
    chosen = [
        ReviewedPair(kind, rounds[index].pairs[position], index, position, float(values[row]))
        for kind, rows in choose(values, embeddings).items()
        for row in rows
        for index, position in [places[row]]
    ]
    shown = [
        {"kind": one.kind, "round": one.round, "position": one.position, "value": round(one.value, 4)}
        for one in chosen
    ]
    write_json(Path(records.run_dir) / FILE, {"after_rounds": history.rounds, "pairs": shown})
    rejected = sum((Counter(round.dropped) for round in rounds), Counter())
    numbers = {"rounds": history.rounds, "documents": history.documents, "pairs": history.pairs}
    collector.run_file.note("reviewed", history.rounds)
    return review_lines(chosen, numbers, rejected)


def _values(collector: EqualDataCollector, index: int) -> np.ndarray:
    """What pairs of a round are worth: as recorded, or their similarity to the mean reference, weighted by target."""
    if (recorded := collector.records.pair_values(index)) is not None:
        return recorded
    encode = collector.embedder.encode
    means = {name: encode([item.text() for item in items]).mean(axis=0) for name, items in collector.targets.items()}
    direction = sum(collector.target_shares[name] * mean for name, mean in means.items())
    return np.asarray(collector.records.embeddings(index) @ direction, dtype=np.float64)
