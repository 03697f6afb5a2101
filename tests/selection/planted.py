"""Planted problems: clusters whose value is known, and a selection that has to find it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from equal_hf.corpus.profiles import ClusterProfiles, principal_directions
from equal_hf.selection.selector import Selector
from equal_hf.types import Decision, QAPair, Rejection, Round, Usage

DIMENSION = 24


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


class Planted:
    """Documents in clusters, and the pairs that each gives.

    Args:
        similarities: Cosine of each cluster's centre with the target direction.
        pairs: For each cluster a function of its random generator that gives the pairs of one document, `(n, d)`.
        size: Documents of a cluster.
    """

    def __init__(
        self,
        similarities: Sequence[float],
        pairs: Sequence[Callable[[np.random.Generator], np.ndarray]],
        *,
        size: int = 40,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.target = np.eye(DIMENSION)[0]
        self.reference = unit(self.target + 0.1 * rng.normal(size=(30, DIMENSION)))
        away = rng.normal(size=(len(similarities), DIMENSION))
        away[:, 0] = 0.0
        near = np.array(similarities)[:, None]
        self.centres = unit(near * self.target + np.sqrt(1 - near**2) * unit(away))
        self.documents = [unit(c + 0.05 * rng.normal(size=(size, DIMENSION))) for c in self.centres]
        self.pairs = [[give(rng) for _ in range(size)] for give in pairs]
        components = principal_directions(np.concatenate(self.documents))
        self.profiles = ClusterProfiles.compute(self.documents, components)

    def selector(self, bandit, rewards, *, references=None, draw_by="cluster", **settings) -> Selector:
        return Selector(
            bandit,
            rewards,
            self.profiles,
            references or {"target": self.reference},
            lambda arm: self.documents[arm],
            documents_per_arm=2,
            draw_by=draw_by,
            **settings,
        )

    def round(self, index: int, draws, lost: frozenset[str] = frozenset()) -> tuple[Round, np.ndarray, np.ndarray]:
        """What the documents drawn give; documents whose id is among `lost` never come back."""
        decisions, pairs, vectors = [], [], []
        for draw in draws:
            ids = tuple(f"{draw.arm}-{row}" for row in draw.rows)
            decisions.append(Decision(draw.arm, draw.score, ids, draw.rows, draw.expected_value))
            for document, row in zip(ids, draw.rows, strict=True):
                for place, vector in enumerate(() if document in lost else self.pairs[draw.arm][row]):
                    pairs.append(QAPair(f"{document}-{place}", "a", document, draw.arm))
                    vectors.append(vector)
        rejected = tuple(Rejection(i, "transport_error") for d in decisions for i in d.documents if i in lost)
        embeddings = np.stack(vectors) if vectors else np.zeros((0, DIMENSION), dtype=np.float32)
        drawn = np.concatenate([self.documents[d.arm][list(d.rows)] for d in decisions])
        return Round(index, tuple(decisions), tuple(pairs), rejected=rejected), embeddings, drawn

    def play(
        self,
        selector: Selector,
        rounds: int,
        *,
        arms: int = 5,
        lag: int = 0,
        missing: float = 0.0,
        seed: int = 7,
        each: str = "arm",
        grade: Callable[[int, np.random.Generator], int] | None = None,
    ):
        """Play, and return the arms of every round; a share of rewards may be missing.

        Args:
            seed: Seeds what policies draw, and what is missing.
            each: `"arm"` tells an arm once, `"document"` once for every document drawn from it.
            grade: The grade of a pair, from its arm.
        """
        pulled = []
        for index in range(rounds):
            selector.advance(index - 1 - lag)
            rng = np.random.default_rng([seed, index])
            draws = selector.draw(arms, 2, rng)
            if not draws:
                break
            round, embeddings, drawn = self.round(index, draws)
            if grade is not None:
                graded = tuple(replace(pair, grade=grade(pair.cluster, rng)) for pair in round.pairs)
                round = replace(round, pairs=graded)
            used = [
                Usage(1_000 * len(arm.rows), 100 * len(places))
                for arm, places in zip(round.decisions, round.pairs_by_arm(), strict=True)
            ]
            rewards = selector.rewards("extracted", round, **selector.take(round, embeddings, drawn, used))
            for values in rewards.values():
                values[:] = [None if rng.random() < missing else value for value in values]
            selector.record_rewards(round, rewards)
            pulled.append([draw.arm for draw in draws for _ in (draw.rows if each == "document" else "1")])
        return pulled


def giving(similarity: float, n: int, spread: float = 0.1) -> Callable[[np.random.Generator], np.ndarray]:
    """`n` pairs a document, at that cosine with the target."""

    def give(rng: np.random.Generator) -> np.ndarray:
        away = rng.normal(size=(n, DIMENSION))
        away[:, 0] = 0.0
        centre = similarity * np.eye(DIMENSION)[0] + np.sqrt(1 - similarity**2) * unit(away)
        return unit(centre + spread * rng.normal(size=(n, DIMENSION)))

    return give


def nothing(rng: np.random.Generator) -> np.ndarray:
    return np.zeros((0, DIMENSION), dtype=np.float32)


def copies(seed: int = 3) -> Callable[[np.random.Generator], np.ndarray]:
    """The same excellent pair, all but letter by letter, in every document."""
    original = giving(0.95, 2)(np.random.default_rng(seed))
    return lambda rng: unit(original + 0.005 * rng.normal(size=original.shape))
