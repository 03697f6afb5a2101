"""What pairs are worth to the targets: functions from a round's pairs to numbers from 0 to 1, mixed by weights.

A pair value function is a plain function `f(round, **context) -> np.ndarray` of shape `(pairs, targets)`, nan where it
says nothing of a pair. Context: `pair_embeddings` (`np.ndarray` of shape `(pairs, d)`) and `similarity`
([`TargetSimilarity`]). What pairs are worth teaches the value model of documents.

`"likeness"` is nearness to the five nearest references times twice how much the question's form is theirs, 1 at most
([`FormModel`]).
The form is learned from all pairs so far, so what it says of earlier pairs changes: [`PairValues.learned`] tells what
all documents are worth as it is known after a round.

Documents are valued by each function apart ([`RoundValues.documents`]), and mixed last ([`PairValues.mix`]): the
mixture is a sum, so a model that is linear in what it learns may learn each function's values and mix its predictions.
Then a weight that changes on the way counts for what was learned before, too; that of grades changes, by how reliable
they are seen to be ([`Reliability`]).

>>> from equal_hf.types import Decision, QAPair
>>> reference, documents = np.array([[1.0, 0.0]]), np.array([[0.9, 0.1], [0.6, -0.8], [0.0, 1.0], [0.1, -1.0]])
>>> values = PairValues([reference], [documents], np.array([4]), functions=["nearness", "nearest"], weights=[1.0, 3.0])
>>> round = Round(0, (Decision(0, 1.0, ("a", "b")),), (QAPair("2 + 2?", "4", "a", 0), QAPair("Who?", "I.", "a", 0)))
>>> told = values.take(round, np.array([[1.0, 0.0], [0.0, 1.0]]))
>>> told.pairs[:, :, 0].tolist(), told.mixed[:, 0].tolist()
([[1.0, 1.0], [0.0, 0.0]], [1.0, 0.0])
>>> values.mix(told.documents)[:, 0].tolist()  # two pairs of half the value, and none
[1.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.pair_form import FormModel, question_forms
from equal_hf.selection.reliability import Evidence, Reliability
from equal_hf.types import Round

PairValueFunction = Callable[..., np.ndarray]

# Cosine similarity from which a pair is a near-copy of another.
NEAR_COPY = 0.95
# A document that was lost on the way, or that a replay has no record of, says nothing about its kind.
LOST = frozenset({"transport_error", "not_recorded"})
NEAREST_REFERENCES = 5
MAX_GRADE = 3
USEFUL_VALUE = 0.5


class SimilarityRanks:
    """Similarities as the share of the corpus's documents that are less similar, so that no embedder's scale counts.

    Args:
        similarity (`np.ndarray` of shape `(n, targets)`): Similarities of a sample of documents.
        shares (`np.ndarray` of shape `(n,)`): How many documents each stands for.
    """

    def __init__(self, similarity: np.ndarray, shares: np.ndarray) -> None:
        order = np.argsort(similarity, axis=0)
        self._sorted = np.take_along_axis(similarity, order, axis=0)
        self._ranks = np.cumsum(shares[order], axis=0) / shares.sum()

    def of(self, similarity: np.ndarray) -> np.ndarray:
        """Ranks of similarities, both of shape `(n, targets)`, from 0 to 1."""
        columns = zip(similarity.T, self._sorted.T, self._ranks.T, strict=True)
        return np.stack([np.interp(column, known, ranks) for column, known, ranks in columns], axis=1)


class TargetSimilarity:
    """Similarity of pairs to each target, against that of the corpus's documents.

    Args:
        references (`Sequence[np.ndarray]`): The reference embeddings of each target, shape `(m, d)`.
        samples (`Sequence[np.ndarray]`): Embeddings of a random sample of each cluster, shape `(s_i, d)`.
        sizes (`np.ndarray` of shape `(k,)`): Documents of every cluster.
    """

    def __init__(self, references: Sequence[np.ndarray], samples: Sequence[np.ndarray], sizes: np.ndarray) -> None:
        self._references = [np.asarray(reference, dtype=np.float32) for reference in references]
        # The mean similarity to a reference is the similarity to its mean.
        self._means = np.stack([reference.mean(axis=0) for reference in self._references], axis=1)
        self._samples, lengths = samples, np.array([len(sample) for sample in samples])
        self._shares = np.repeat(np.asarray(sizes) / np.maximum(lengths, 1), lengths)

    def to_mean(self, embeddings: np.ndarray) -> np.ndarray:
        """Rank of the mean similarity to the reference, shape `(n, targets)`."""
        return self._mean_ranks.of(np.asarray(embeddings, dtype=np.float32) @ self._means)

    def to_nearest(self, embeddings: np.ndarray) -> np.ndarray:
        """Rank of the mean similarity to the five nearest of the reference, shape `(n, targets)`."""
        return self._nearest_ranks.of(self._nearest(embeddings))

    @cached_property
    def _mean_ranks(self) -> SimilarityRanks:
        return SimilarityRanks(np.concatenate([sample @ self._means for sample in self._samples]), self._shares)

    @cached_property
    def _nearest_ranks(self) -> SimilarityRanks:
        return SimilarityRanks(np.concatenate([self._nearest(sample) for sample in self._samples]), self._shares)

    def _nearest(self, embeddings: np.ndarray) -> np.ndarray:
        columns = []
        for reference in self._references:
            similarity = np.asarray(embeddings, dtype=np.float32) @ reference.T
            count = min(NEAREST_REFERENCES, len(reference))
            columns.append(np.partition(similarity, -count, axis=1)[:, -count:].mean(axis=1))
        return np.stack(columns, axis=1)


# -- the functions ----------------------------------------------------------------------------------------------------


def nearness_value(
    round: Round, *, pair_embeddings: np.ndarray, similarity: TargetSimilarity, **context: Any
) -> np.ndarray:
    """How much nearer to the mean reference a pair lies than documents do: 0 at their median or below, 1 above all."""
    return _upper_half(similarity.to_mean(pair_embeddings))


def nearest_value(
    round: Round, *, pair_embeddings: np.ndarray, similarity: TargetSimilarity, **context: Any
) -> np.ndarray:
    """The same by the five reference items that lie nearest, for a target of several kinds."""
    return _upper_half(similarity.to_nearest(pair_embeddings))


def grade_value(round: Round, **context: Any) -> np.ndarray:
    """The grade that the extracting model gave, of three; the same for every target, since the model sees items of
    all of them. nan for a pair without a grade."""
    grades = [np.nan if pair.grade is None else pair.grade / MAX_GRADE for pair in round.pairs]
    return np.array(grades, dtype=np.float64)[:, None]


def influence_value(round: Round, **context: Any) -> np.ndarray:
    """How a pair pulls the model in training towards the validation set, by the agreement of their gradients; 0 where
    they disagree. nan here: it is known once the round was trained on, of a sample ([`PairValues.learn`])."""
    return np.full((len(round.pairs), 1), np.nan)


def late_values(round: Round, context: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Values that are known once a round was trained on, by function: one a pair, `None` where there is none.

    Args:
        round ([`Round`]): The round.
        context (`Mapping[str, Any]`): What its rewards are recorded with: `pair_influence`, agreements from -1 to 1 by
            a pair's position.
    """
    told: Mapping[int, float] | None = context.get("pair_influence")
    if told is None:
        return {}
    known = {place: max(0.0, float(value)) for place, value in told.items() if np.isfinite(value)}
    return {"influence": [known.get(place) for place in range(len(round.pairs))]}


def _upper_half(ranks: np.ndarray) -> np.ndarray:
    return np.clip(2.0 * ranks - 1.0, 0.0, None)


PAIR_VALUES: dict[str, PairValueFunction] = {
    "nearness": nearness_value,
    "nearest": nearest_value,
    "likeness": nearest_value,  # times the form, which [`PairValues`] learns
    "grade": grade_value,
    "influence": influence_value,
}
FORMED = "likeness"
FALLBACKS = ("likeness", "nearness")  # the first that is named, else the last, counts as far as the others do not
JUDGED = frozenset({"grade"})  # count as far as they are reliable
DEFAULT_PAIR_VALUES = ("likeness", "grade")
# What a function counts where no weights are given: the model that read the document judges better than likeness.
DEFAULT_WEIGHTS = {"grade": 4.0}


# -- a round's pairs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoundValues:
    """What a round's pairs are worth.

    Args:
        names (`tuple[str, ...]`): The functions.
        pairs (`np.ndarray` of shape `(pairs, functions, targets)`): Their values; nan where one says nothing.
        mixed (`np.ndarray` of shape `(pairs, targets)`): The mixture, by the weights of this round.
        documents (`np.ndarray` of shape `(documents, functions, targets)`): Values of the documents, in the order they
            were drawn, by [`document_values`]; nan for a document that was lost on the way.
        fresh (`np.ndarray` of shape `(pairs,)`): Which pairs are no near-copies of others.
    """

    names: tuple[str, ...]
    pairs: np.ndarray
    mixed: np.ndarray
    documents: np.ndarray
    fresh: np.ndarray

    @property
    def useful(self) -> int:
        """How many pairs are useful: no near-copies, and of half the value or more for one of the targets."""
        return int((self.fresh & (self.mixed >= USEFUL_VALUE).any(axis=1)).sum())

    def columns(self, shares: Sequence[float]) -> dict[str, list[float | None]]:
        """The values as they are recorded, by column: the mixture, then each function; means over the targets.

        Args:
            shares (`Sequence[float]`): The share of each target.
        """
        columns = {"value": self.mixed @ np.asarray(shares)}
        columns |= {
            f"value_{name}": self.pairs[:, place] @ np.asarray(shares) for place, name in enumerate(self.names)
        }
        return {
            name: [None if np.isnan(value) else float(value) for value in values] for name, values in columns.items()
        }


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is remembered of a round: values of its pairs, before forms count, and which document each is of."""

    values: np.ndarray
    forms: np.ndarray
    fresh: np.ndarray
    owner: np.ndarray
    lost: np.ndarray


@dataclass(frozen=True, slots=True)
class LearnedValues:
    """What documents are worth, as it is known after some rounds.

    Args:
        weights (`np.ndarray` of shape `(functions,)`): What each function counts.
        means (`np.ndarray` of shape `(documents, functions, targets)`): Mean value of each document's pairs; 0 without
            pairs.
        counted (`np.ndarray` of shape `(documents,)`): How many of its pairs count.
        lost (`np.ndarray` of shape `(documents,)`): Documents that were lost on the way.
    """

    weights: np.ndarray
    means: np.ndarray
    counted: np.ndarray
    lost: np.ndarray

    @property
    def mixed(self) -> np.ndarray:
        """Values of the documents, shape `(documents, targets)`."""
        return np.einsum("dft,f->dt", self.means, self.weights) * self.counted[:, None]


class PairValues:
    """Values of a run's pairs, round by round; the same rounds in the same order give the same values.

    Args:
        references (`Sequence[np.ndarray]`): The reference embeddings of each target, shape `(m, d)`.
        samples (`Sequence[np.ndarray]`): Embeddings of a random sample of each cluster, shape `(s_i, d)`.
        sizes (`np.ndarray` of shape `(k,)`): Documents of every cluster.
        functions (`Sequence[str]`, *optional*, defaults to `("likeness", "grade")`): Names in [`PAIR_VALUES`].
        weights (`Sequence[float]`, *optional*): One each; where left out, 4 for grades and 1 for the others.
        questions (`Sequence[Sequence[str]]`, *optional*): The reference questions of each target, whose form pairs are
            compared with; where left out, form counts nothing.
        pairs_per_document (`int`, *optional*, defaults to `3`): How many pairs of one document count: further ones
            are on the same matter.

    Raises:
        [`ConfigError`]: If a function is unknown or named twice, or the weights do not fit.
    """

    def __init__(
        self,
        references: Sequence[np.ndarray],
        samples: Sequence[np.ndarray],
        sizes: np.ndarray,
        *,
        functions: Sequence[str] = DEFAULT_PAIR_VALUES,
        weights: Sequence[float] | None = None,
        questions: Sequence[Sequence[str]] | None = None,
        pairs_per_document: int = 3,
    ) -> None:
        check_pair_values(functions, weights)
        self.targets, self.pairs_per_document = len(references), pairs_per_document
        given = weighted_pair_values(functions, weights)
        self._reference_forms = None if questions is None else [question_forms(own) for own in questions]
        self._kept: list[_Kept] = []
        self._trusted: list[np.ndarray] = []  # weights by what was known of judges after each round
        self.fallback = next((name for name in FALLBACKS if name in functions), FALLBACKS[-1])
        self.names = tuple(dict.fromkeys([self.fallback, *functions]))
        self._given = np.array([given.get(name, 0.0) for name in self.names])
        self._similarity = TargetSimilarity(references, samples, sizes)
        self._sums = np.zeros((len(self.names), self.targets))
        self._counts = np.zeros((len(self.names), self.targets))
        self._evidence = {name: Evidence() for name in self.names if name in JUDGED}
        self.reliability = {name: Reliability() for name in self._evidence}

    @property
    def weights(self) -> np.ndarray:
        """What each function counts now, shape `(functions,)`; they add up to 1.

        What one has by its weight, but not by its [`Reliability`] or for having said nothing yet, goes to likeness or
        nearness.
        """
        return self._weights(self._given * self._trust(), self._counts.min(axis=1) > 0)

    def _trust(self) -> np.ndarray:
        return np.array([self.reliability[name].weight if name in self.reliability else 1.0 for name in self.names])

    def _weights(self, trusted: np.ndarray, known: np.ndarray) -> np.ndarray:
        weights = trusted * known
        weights[self.names.index(self.fallback)] += self._given.sum() - weights.sum()
        return weights / weights.sum()

    def mix(self, values: np.ndarray) -> np.ndarray:
        """Values of shape `(…, functions, targets)` as their mixture by the weights of now, shape `(…, targets)`."""
        return np.einsum("...ft,f->...t", values, self.weights)

    def told_of_judges(self) -> dict[str, dict[str, Any]]:
        """What is known of each function that has to show that it is reliable, as JSON types, for the run's record."""
        return {
            name: {
                "weight": float(f"{known.weight:.3f}"),
                "pairs": known.pairs,
                "documents": known.documents,
                **({"why": known.reason} if known.doubtful else {}),
            }
            for name, known in self.reliability.items()
            if known.documents
        }

    def take(self, round: Round, embeddings: np.ndarray, pool_embeddings: np.ndarray | None = None) -> RoundValues:
        """Value a round's pairs and documents.

        Where a function says nothing of a pair, the mean of what it has said so far stands in.

        Args:
            round ([`Round`]): The round.
            embeddings (`np.ndarray` of shape `(pairs, d)`): Embeddings of its pairs.
            pool_embeddings (`np.ndarray` of shape `(p, d)`, *optional*): Pairs there are already, or a sample of them:
                a near-copy of one, or of an earlier one of the round, counts for nothing.
        """
        self._kept.append(self._keep(round, embeddings, pool_embeddings))
        every = self._formed(self._kept)
        pairs = np.minimum(every[len(every) - len(round.pairs) :], 1.0)
        known = ~np.isnan(pairs)
        self._sums += np.where(known, pairs, 0.0).sum(axis=0)
        self._counts += known.sum(axis=0)
        self._judge(round, pairs, embeddings)
        self._trusted.append(self._given * self._trust())
        filled = np.where(known, pairs, self._sums / np.maximum(self._counts, 1))
        fresh = self._kept[-1].fresh
        documents = document_values(round, filled, fresh, self.pairs_per_document)
        return RoundValues(self.names, pairs, self.mix(filled), documents, fresh)

    def _judge(self, round: Round, pairs: np.ndarray, embeddings: np.ndarray) -> None:
        """Take down what was said of this round's pairs, and how far it is to be trusted."""
        near = pairs[:, self.names.index(self.fallback)].mean(axis=1)
        by_document: dict[str, list[int]] = {}
        for position, pair in enumerate(round.pairs):
            by_document.setdefault(pair.document_id, []).append(position)
        for name, evidence in self._evidence.items():
            said = pairs[:, self.names.index(name)].mean(axis=1)
            for document, positions in by_document.items():
                known = [position for position in positions if not np.isnan(said[position])]
                evidence.add(document, said[known], embeddings[known], near[known])
            self.reliability[name] = evidence.judge()

    def learn(self, index: int, values: Mapping[str, Sequence[float | None]]) -> None:
        """Add what is known of a round's pairs since it was trained on; [`learned`] counts it from that round on.

        Args:
            index (`int`): The round.
            values (`Mapping[str, Sequence[float | None]]`): From [`late_values`].
        """
        kept = self._kept[index].values
        for name, column in values.items():
            if name in self.names and len(column) == len(kept):
                told = np.array([np.nan if value is None else value for value in column], dtype=np.float64)
                kept[:, self.names.index(name)] = told[:, None]

    def learned(self, rounds: int) -> LearnedValues:
        """What the documents of the first rounds are worth, as it is known after these.

        What is learned from may be above 1, where a pair is both near and very much of the form.

        Args:
            rounds (`int`): How many rounds count.
        """
        kept = self._kept[:rounds]
        pairs = self._formed(kept)
        known = ~np.isnan(pairs)
        counts = known.sum(axis=0)
        filled = np.where(known, pairs, np.where(known, pairs, 0.0).sum(axis=0) / np.maximum(counts, 1))
        lost = np.concatenate([part.lost for part in kept])
        starts = np.cumsum([0, *(len(part.lost) for part in kept)])
        owner = np.concatenate([part.owner + start for part, start in zip(kept, starts, strict=False)])
        fresh = np.concatenate([part.fresh for part in kept])
        fresh_pairs = np.bincount(owner[fresh], minlength=len(lost))
        documents = np.zeros((len(lost), *pairs.shape[1:]))
        np.add.at(documents, owner[fresh], filled[fresh])
        means = documents / np.maximum(fresh_pairs, 1)[:, None, None]
        counted = np.minimum(fresh_pairs, self.pairs_per_document)
        weights = self._weights(self._trusted[rounds - 1], counts.min(axis=1) > 0)
        return LearnedValues(weights, means, counted, lost)

    def _keep(self, round: Round, embeddings: np.ndarray, pool_embeddings: np.ndarray | None) -> _Kept:
        values = np.full((len(round.pairs), len(self.names), self.targets), np.nan)
        if len(round.pairs):
            for place, name in enumerate(self.names):
                values[:, place] = PAIR_VALUES[name](round, pair_embeddings=embeddings, similarity=self._similarity)
        ids = [document for decision in round.decisions for document in decision.documents]
        rows = {document: row for row, document in enumerate(ids)}
        owner = np.array([rows[pair.document_id] for pair in round.pairs], dtype=np.int64)
        gone = {rejection.document_id for rejection in round.rejected if rejection.reason in LOST}
        gone -= {pair.document_id for pair in round.pairs}
        lost = np.array([document in gone for document in ids], dtype=bool)
        formed = self._reference_forms is not None and FORMED in self.names
        forms = question_forms([pair.question for pair in round.pairs] if formed else [])
        return _Kept(values, forms, fresh_pairs(embeddings, pool_embeddings), owner, lost)

    def _formed(self, kept: Sequence[_Kept]) -> np.ndarray:
        """Values of rounds' pairs, shape `(pairs, functions, targets)`, the form learned from these rounds."""
        values = np.concatenate([part.values for part in kept])
        if self._reference_forms is None or FORMED not in self.names or not len(values):
            return values
        forms, place = np.concatenate([part.forms for part in kept]), self.names.index(FORMED)
        for target, reference in enumerate(self._reference_forms):
            # A form that says nothing, 0.5, leaves nearness as it is.
            values[:, place, target] *= 2.0 * FormModel(reference, forms).likeness(forms)
        return values


def check_pair_values(functions: Sequence[str], weights: Sequence[float] | None) -> None:
    """Refuse functions and weights that cannot be used.

    Raises:
        [`ConfigError`]: If a function is unknown or named twice, or the weights do not fit.
    """
    if unknown := [name for name in functions if name not in PAIR_VALUES]:
        raise ConfigError(f"`pair_values` names {', '.join(unknown)}: choose from {', '.join(PAIR_VALUES)}")
    if not functions or len(set(functions)) != len(functions):
        raise ConfigError(f"`pair_values` is {list(functions)}: name each function once, and one at least")
    if weights is None:
        return
    if len(weights) != len(functions):
        raise ConfigError(
            f"`pair_value_weights` has {len(weights)} values for {len(functions)} functions "
            f"({', '.join(functions)}): give one each"
        )
    if not all(np.isfinite(weights)) or min(weights) < 0 or not sum(weights) > 0:
        raise ConfigError(f"`pair_value_weights` is {list(weights)}: give numbers of 0 or more, and not all 0")


def weighted_pair_values(functions: Sequence[str], weights: Sequence[float] | None) -> dict[str, float]:
    """The weight of each function: as given, else 4 for grades and 1 for the others."""
    usual = [DEFAULT_WEIGHTS.get(name, 1.0) for name in functions]
    return dict(zip(functions, usual if weights is None else weights, strict=True))


def document_values(round: Round, values: np.ndarray, fresh: np.ndarray, pairs_per_document: int) -> np.ndarray:
    """Values of a round's documents from those of their pairs: the mean, for as many pairs as count.

    Args:
        round ([`Round`]): The round.
        values (`np.ndarray` of shape `(pairs, …)`): Values of its pairs.
        fresh (`np.ndarray` of shape `(pairs,)`): Which pairs count, by [`fresh_pairs`].
        pairs_per_document (`int`): How many pairs of one document count at most.

    Returns:
        `np.ndarray` of shape `(documents, …)`: In the order they were drawn; each at most `pairs_per_document`, 0
        without pairs, nan for a document that was lost on the way.
    """
    ids = [document for decision in round.decisions for document in decision.documents]
    positions: dict[str, list[int]] = {document: [] for document in ids}
    for position, pair in enumerate(round.pairs):
        positions[pair.document_id].append(position)
    lost = {rejection.document_id for rejection in round.rejected if rejection.reason in LOST}
    result = np.zeros((len(ids), *values.shape[1:]))
    for row, document in enumerate(ids):
        if not positions[document] and document in lost:
            result[row] = np.nan
        elif counted := [position for position in positions[document] if fresh[position]]:
            result[row] = min(len(counted), pairs_per_document) * values[counted].mean(axis=0)
    return result


def fresh_pairs(pairs: np.ndarray, pool: np.ndarray | None = None) -> np.ndarray:
    """Which pairs are no near-copies of one in the pool or of a fresh one before them.

    Args:
        pairs (`np.ndarray` of shape `(pairs, d)`): Embeddings.
        pool (`np.ndarray` of shape `(p, d)`, *optional*): Embeddings of pairs there are already.

    Returns:
        `np.ndarray` of shape `(pairs,)`: Of `bool`.
    """
    fresh = np.ones(len(pairs), dtype=bool)
    if pool is not None and len(pool):
        fresh &= (pairs @ pool.T).max(axis=1) < NEAR_COPY if len(pairs) else True
    seen = np.empty_like(pairs)
    count = 0
    for i in np.flatnonzero(fresh):
        if count and (seen[:count] @ pairs[i]).max() >= NEAR_COPY:
            fresh[i] = False
        else:
            seen[count] = pairs[i]
            count += 1
    return fresh
