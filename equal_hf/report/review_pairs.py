"""The pairs that a person looks at when a run stops for a review: the best, the worst and the odd ones.

>>> vectors = np.array([[1.0, 0.0], [0.99, 0.1], [0.98, 0.2], [0.0, 1.0]])
>>> choose(np.array([0.9, 0.1, 0.5, 0.6]), vectors, count=1)
{'best': [0], 'worst': [1], 'odd': [3]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from equal_hf.types import QAPair
from equal_hf.utils.printable import escape

FILE = "review.json"  # in the run folder
SHOWN = 10
# So many of the nearest pairs say how odd one is: a group of fewer that are alike is odd as a whole.
NEIGHBOURS = 5
LINE_CHARACTERS = 300
_TITLES = {
    "best": "Best: worth most to the target",
    "worst": "Worst: worth least",
    "odd": "Odd: least like all other pairs",
}


@dataclass(frozen=True, slots=True)
class ReviewedPair:
    """A pair of a review.

    Args:
        kind (`str`): `"best"`, `"worst"` or `"odd"`.
        pair ([`QAPair`]): The pair.
        round (`int`), position (`int`): Where it is recorded.
        value (`float`): What it is worth.
    """

    kind: str
    pair: QAPair
    round: int
    position: int
    value: float


def choose(values: np.ndarray, embeddings: np.ndarray, count: int = SHOWN) -> dict[str, list[int]]:
    """Positions of the pairs to show, each once; a third of all, where there are fewer than three times as many.

    Args:
        values (`np.ndarray` of shape `(pairs,)`): What each is worth.
        embeddings (`np.ndarray` of shape `(pairs, d)`): Unit vectors.
        count (`int`, *optional*, defaults to `10`): Pairs of each kind.
    """
    order = np.argsort(-values, kind="stable")
    count = min(count, -(-len(values) // 3))
    best, worst = order[:count], order[count:][-count:][::-1] if len(order) > count else order[:0]
    left = np.setdiff1d(order, np.concatenate([best, worst]))
    odd = left[np.argsort(_likeness(embeddings, left), kind="stable")][:count]
    return {"best": best.tolist(), "worst": worst.tolist(), "odd": odd.tolist()}


def _likeness(embeddings: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Mean similarity of pairs to their nearest other pairs; in blocks, so that memory stays small."""
    nearest = min(NEIGHBOURS, len(embeddings) - 1)
    likeness = np.zeros(len(positions))
    for start in range(0, len(positions) if nearest else 0, 1024):
        block = positions[start : start + 1024]
        similarity = embeddings[block] @ embeddings.T
        similarity[np.arange(len(block)), block] = -np.inf
        likeness[start : start + 1024] = np.partition(similarity, -nearest, axis=1)[:, -nearest:].mean(axis=1)
    return likeness


def review_lines(pairs: Sequence[ReviewedPair], numbers: Mapping[str, int], rejected: Mapping[str, int]) -> list[str]:
    """A review as lines for a terminal; what documents and models wrote is escaped and shortened.

    Args:
        pairs (`Sequence[ReviewedPair]`): By kind.
        numbers (`Mapping[str, int]`): What the run has come to, by name.
        rejected (`Mapping[str, int]`): Rejections by reason.
    """
    lines = [", ".join(f"{count:,} {name}" for name, count in numbers.items())]
    if rejected:
        ranked = sorted(rejected.items(), key=lambda entry: (-entry[1], entry[0]))
        lines.append("rejected: " + ", ".join(f"{escape(reason)} {count:,}" for reason, count in ranked))
    for kind, title in _TITLES.items():
        chosen = [shown for shown in pairs if shown.kind == kind]
        lines += ["", f"{title} ({len(chosen)})"] if chosen else []
        for number, shown in enumerate(chosen, start=1):
            lines.append(f"{number:3}. {shown.value:.2f}  Q: {_short(shown.pair.question)}")
            lines.append(f"           A: {_short(shown.pair.answer)}")
    return lines


def _short(text: str) -> str:
    """Untrusted text in one line."""
    line = escape(" ".join(text.split()))
    return line if len(line) <= LINE_CHARACTERS else f"{line[:LINE_CHARACTERS]}…"
