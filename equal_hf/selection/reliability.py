"""Whether a judge of pairs says anything: told without labels, from what it said so far.

What is noise cannot be predicted from what pairs are about, and does not go with how near they lie to the target; what
is the same for all pairs says nothing of any; what goes against nearness is wrong, or about something else than the
target. Each is a test of a correlation, over documents rather than pairs, since the pairs of a document are alike: the
sum over documents of products of deviations, in units of its standard error (a sandwich estimate clustered by
document), which is about normal where there is no correlation. The two are joined as Stouffer does, by their sum over
the square root of two.

>>> rng = np.random.default_rng(0)
>>> about, documents = rng.normal(size=(300, 8)), np.repeat(np.arange(100), 3)
>>> useful, noise = (about[:, 0] > 0).astype(float), rng.integers(0, 4, 300).astype(float)
>>> [reliability(values, about, documents, nearness=about[:, 1]).weight for values in (useful, noise, 0 * noise)]
[1.0, 0.0, 0.0]
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from equal_hf.utils.hashing import digest

# Evidence counts from the first of these standard errors on, and in full from the second.
DOUBTED, TRUSTED = 1.0, 3.0
WRONG = 2.5  # so many against nearness, and it counts nothing, however well it is predicted
MIN_DOCUMENTS = 8  # of fewer nothing is said, and what is judged counts nothing
TOLD_DOCUMENTS = 60  # from so many on, one that says nothing is told of
MAX_DOCUMENTS, MAX_PAIRS_PER_DOCUMENT = 400, 8
FOLDS = 5
RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class Reliability:
    """What is known of a judge of pairs.

    Args:
        weight (`float`): From 0, where it is taken for noise, to 1.
        pairs, documents (`int`): How many it was judged by.
        spread (`float`): Standard deviation of its values.
        predicted (`float`): How well it is predicted from embeddings of other documents' pairs, in standard errors.
        nearness (`float`): How it goes with nearness, in standard errors.
    """

    weight: float = 0.0
    pairs: int = 0
    documents: int = 0
    spread: float = 0.0
    predicted: float = 0.0
    nearness: float = 0.0

    @property
    def doubtful(self) -> bool:
        """Whether enough is known to say that it tells little."""
        return self.documents >= TOLD_DOCUMENTS and self.weight < 0.5

    @property
    def reason(self) -> str:
        """What speaks against it most."""
        if not self.spread:
            return "all are the same"
        if self.nearness < -DOUBTED:
            return "they go against nearness to the target"
        return "neither what pairs are about nor nearness to the target has to do with them"


def reliability(
    values: np.ndarray, embeddings: np.ndarray, documents: np.ndarray, nearness: np.ndarray
) -> Reliability:
    """Judge a judge.

    Args:
        values (`np.ndarray` of shape `(pairs,)`): What it says of each pair.
        embeddings (`np.ndarray` of shape `(pairs, d)`): What each pair is about.
        documents (`np.ndarray` of shape `(pairs,)`): Which document each pair is of, as whole numbers.
        nearness (`np.ndarray` of shape `(pairs,)`): How near each lies to the target.
    """
    _, documents = np.unique(documents, return_inverse=True)
    count = int(documents.max()) + 1 if len(documents) else 0
    spread = float(np.std(values)) if count else 0.0
    if count < MIN_DOCUMENTS or spread < 1e-9:
        return Reliability(0.0, len(values), count, 0.0 if spread < 1e-9 else spread)
    predicted = association(_predictions(values, embeddings, documents), values, documents)
    near = association(nearness, values, documents)
    joined = (predicted + near) / np.sqrt(2)
    weight = _ramp(joined, DOUBTED, TRUSTED) * (1.0 - _ramp(-near, DOUBTED, WRONG))
    return Reliability(weight, len(values), count, spread, predicted, near)


def association(one: np.ndarray, other: np.ndarray, documents: np.ndarray) -> float:
    """How two numbers of pairs go together, in standard errors, with documents as what was sampled."""
    products = (one - one.mean()) * (other - other.mean())
    sums = np.bincount(documents, products)
    error = np.sqrt((sums**2).sum())
    return float(sums.sum() / error) if error > 0 else 0.0


def _ramp(errors: float, first: float, last: float) -> float:
    return float(np.clip((errors - first) / (last - first), 0.0, 1.0))


def _predictions(values: np.ndarray, embeddings: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Values predicted by ridge regression on the embeddings of other documents' pairs."""
    predictions = np.zeros(len(values))
    folds = np.random.default_rng(0).permutation(documents.max() + 1)[documents] % FOLDS
    for fold in range(FOLDS):
        held_out, known = folds == fold, folds != fold
        x = embeddings[known].astype(np.float64)
        centre, y = x.mean(axis=0), values[known] - values[known].mean()
        x -= centre
        if x.shape[1] < len(x):
            weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        else:
            weights = x.T @ np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x)), y)
        predictions[held_out] = (embeddings[held_out] - centre) @ weights
    return predictions


@dataclass
class Evidence:
    """What a judge said of the pairs of some documents: those with the smallest hashes, whatever order they came in.

    >>> evidence = Evidence()
    >>> evidence.add("d1", np.array([1.0, 0.0]), np.eye(2), np.array([0.5, 0.5]))
    >>> evidence.judge().documents
    1
    """

    _kept: dict[str, tuple[int, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)

    def add(self, document: str, values: np.ndarray, embeddings: np.ndarray, nearness: np.ndarray) -> None:
        """Add a document with its pairs.

        Args:
            document (`str`): Its id.
            values, nearness (`np.ndarray` of shape `(pairs,)`): As for [`reliability`].
            embeddings (`np.ndarray` of shape `(pairs, d)`): Likewise.
        """
        if not len(values):
            return
        hashed = int.from_bytes(digest(document, 8), "big")
        few = slice(MAX_PAIRS_PER_DOCUMENT)
        self._kept[document] = (hashed, values[few], embeddings[few].astype(np.float32), nearness[few])
        if len(self._kept) > MAX_DOCUMENTS:
            del self._kept[max(self._kept, key=lambda one: self._kept[one][0])]

    def judge(self) -> Reliability:
        """[`reliability`] by what was kept."""
        if not self._kept:
            return Reliability()
        kept = sorted(self._kept.values(), key=lambda one: one[0])
        which = np.repeat(np.arange(len(kept)), [len(values) for _, values, _, _ in kept])
        values, embeddings, nearness = (np.concatenate([one[part] for one in kept]) for part in (1, 2, 3))
        return reliability(values, embeddings, which, nearness)
