"""Replays a model that grades pairs, with errors, from the labels of documents."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.selection_inputs import Inputs
from tests.benchmarks.selection_texts import TextFeatures

FITS, FITS_NOT = 3, 0  # grades


class Grader:
    """Grades of all pairs, for one seed.

    Args:
        truth (`np.ndarray` of shape `(pairs,)`): Which pairs are target-like, by [`target_like_pairs`].
        recall (`float`): Share of the target-like pairs that it finds.
        false_alarm (`float`): Share of the others that it takes for target-like.
        seed (`int`): Seeds its errors.
    """

    def __init__(self, truth: np.ndarray, recall: float, false_alarm: float, seed: int) -> None:
        chance = np.random.default_rng([seed, 2]).random(len(truth))
        self.truth = truth
        self.graded = chance < np.where(truth, recall, false_alarm)

    def grades(self, places: np.ndarray, *, oracle: bool = False) -> np.ndarray:
        """Grades of the pairs at those places; the oracle's are right."""
        return np.where((self.truth if oracle else self.graded)[places], FITS, FITS_NOT)


def target_like_pairs(inputs: Inputs, texts: TextFeatures) -> np.ndarray:
    """Which pairs are target-like: of each document as many as its label says, those most like the target.

    Likeness is the tf-idf similarity to the mean of the target's validation part, which selects nothing and knows no
    embedder; the reference where there is no such part.

    Returns:
        `np.ndarray` of shape `(pairs,)`: Of `bool`. Where a label says more than a document has pairs, all of them.
    """
    assert inputs.labels is not None
    items = inputs.target.validation or inputs.target.reference
    centre = np.asarray(texts.transform([item.text() for item in items]).mean(axis=0)).ravel()
    likeness = texts.transform([pair.text() for pair in inputs.pairs]) @ centre if inputs.pairs else np.zeros(0)
    truth = np.zeros(len(inputs.pairs), dtype=bool)
    for document in np.flatnonzero(inputs.labels):
        places = np.arange(inputs.starts[document], inputs.starts[document + 1])
        truth[places[np.argsort(-likeness[places], kind="stable")[: inputs.labels[document]]]] = True
    return truth
