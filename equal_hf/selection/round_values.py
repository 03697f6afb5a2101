"""What the pairs and documents of each round are worth to the targets: pair values mixed by weights.

It teaches the value model of documents.

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equal_hf.selection.document_values import LOST, document_values, fresh_pairs
from equal_hf.selection.pair_form import FormModel, question_forms
from equal_hf.selection.pair_value import (
    DEFAULT_PAIR_VALUES,
    FALLBACKS,
    FORMED,
    JUDGED,
    PAIR_VALUES,
    check_pair_values,
    weighted_pair_values,
)
from equal_hf.selection.reliability import Evidence, Reliability
from equal_hf.selection.target_similarity import TargetSimilarity
from equal_hf.types import Round

USEFUL_VALUE = 0.5


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
