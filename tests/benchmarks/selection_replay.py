"""Replays a selection: documents are drawn, cost their tokens and give their pairs, as a perfect extractor's would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from equal_hf.corpus.kmeans import nearest_centroids, train_centroids
from equal_hf.corpus.profiles import ClusterProfiles, principal_directions
from equal_hf.selection.document_costs import DocumentCosts
from equal_hf.selection.selector import Selector
from equal_hf.target import TargetItem
from equal_hf.types import Decision, QAPair, Round
from tests.benchmarks.selection_answer_form import AnswerLengths
from tests.benchmarks.selection_embed import Embedded
from tests.benchmarks.selection_grader import Grader
from tests.benchmarks.selection_inputs import COMPLETION_PRICE, Inputs, affordable
from tests.benchmarks.selection_policies import Policy
from tests.benchmarks.selection_texts import TextFeatures


@dataclass(frozen=True)
class Setting:
    """What all policies of one seed share.

    Args:
        inputs, embedded, texts: Documents, pairs and target, as read, as embedded and as counted words.
        seed (`int`): Seeds the reference sample, the clustering, every draw and the grader's errors.
        items (`list[TargetItem]`): The reference sample.
        reference (`np.ndarray` of shape `(m, d)`): Its embeddings.
        members (`list[np.ndarray]`): Documents of each cluster in stored order, a seeded shuffle.
        profiles (`ClusterProfiles`): What is known of the clusters for free.
        arms, documents (`int`): A round: arms pulled, documents drawn from each.
        costs (`np.ndarray` of shape `(documents,)`): What each document costs, in the unit of the budget.
        grader (`Grader`, *optional*): Grades pairs, for policies that ask for grades.
        document_costs (`DocumentCosts`): The unit of the budget, as a selector is told.
    """

    inputs: Inputs
    embedded: Embedded
    texts: TextFeatures
    seed: int
    items: list[TargetItem]
    reference: np.ndarray
    members: list[np.ndarray]
    profiles: ClusterProfiles
    arms: int
    documents: int
    costs: np.ndarray
    grader: Grader | None
    document_costs: DocumentCosts


def document_costs(unit: str) -> DocumentCosts:
    """What a selector is told of the unit of the budget."""
    if unit == "documents":
        return DocumentCosts()
    return DocumentCosts(0.0, 1.0, COMPLETION_PRICE if unit == "money" else 1.0)


def make_setting(
    inputs: Inputs,
    embedded: Embedded,
    texts: TextFeatures,
    seed: int,
    *,
    clusters: int,
    n_reference: int,
    arms: int,
    documents: int,
    costs: np.ndarray,
    grader: Grader | None = None,
    document_costs: DocumentCosts | None = None,
) -> Setting:
    rng = np.random.default_rng(seed)
    n = min(n_reference, len(embedded.reference))
    chosen = rng.choice(len(embedded.reference), n, replace=False)
    centroids = train_centroids(embedded.documents, clusters, seed=seed, threads=1, giant_factor=np.inf)
    labels, _ = nearest_centroids(embedded.documents, centroids.vectors, threads=1)
    shuffled = rng.permutation(len(embedded.documents))
    members = [shuffled[labels[shuffled] == arm] for arm in np.unique(labels)]
    vectors = (embedded.documents[member] for member in members)
    profiles = ClusterProfiles.compute(vectors, principal_directions(embedded.documents))
    items = [inputs.target.reference[place] for place in chosen]
    return Setting(
        inputs,
        embedded,
        texts,
        seed,
        items,
        embedded.reference[chosen],
        members,
        profiles,
        arms,
        documents,
        costs,
        grader,
        document_costs or DocumentCosts(),
    )


class Replay:
    """One run of a policy, through the same [`Selector`] as a collector's."""

    def __init__(self, policy: Policy, setting: Setting) -> None:
        assert policy.bandit is not None
        self.setting, self.grades = setting, policy.grades
        self.selector = Selector(
            policy.bandit(),
            policy.rewards,
            setting.profiles,
            {"target": setting.reference},
            lambda arm: setting.embedded.documents[setting.members[arm]],
            order=policy.order,
            documents_per_arm=setting.documents,
            learns=policy.learns,
            **{
                "questions": {"target": [item.question for item in setting.items]},
                "costs": setting.document_costs,
                **self._terms(policy),
                **policy.settings,
            },
        )
        if policy.answer_length:
            own = setting.profiles
            self.selector.pair_values = AnswerLengths(setting.items, [setting.reference], own.samples, own.count)
        if policy.unscaled_alpha is not None:
            # The paper does not scale its rewards; scaling its exploration with them comes to the same.
            self.selector.bandit.alpha = policy.unscaled_alpha / self.selector.scaler.spread("transport")
        self.drawn: list[int] = []
        self.rounds: list[np.ndarray] = []  # documents drawn, round by round

    def _terms(self, policy: Policy) -> dict[str, object]:
        """The second view of documents, as an index stores it."""
        if not policy.terms:
            return {}
        setting = self.setting
        sketches = setting.texts.sketches
        samples = [
            sketches[own[: len(kept)]] for own, kept in zip(setting.members, setting.profiles.samples, strict=True)
        ]
        return {"terms": lambda arm: sketches[setting.members[arm]], "sample_terms": samples}

    def run(self, budget: float) -> np.ndarray:
        """Documents in the order they were drawn, as many at least as the budget pays for."""
        index, spent = 0, 0.0
        while spent < budget and len(self.drawn) < len(self.setting.inputs.ids):
            new = self._round(index)
            spent += self.setting.costs[new].sum()
            index += 1
        return np.array(self.drawn)

    def _round(self, index: int) -> np.ndarray:
        setting, inputs, embedded = self.setting, self.setting.inputs, self.setting.embedded
        rng = np.random.default_rng([setting.seed, index])
        draws = self.selector.draw(setting.arms, setting.documents, rng)
        batches = [setting.members[draw.arm][list(draw.rows)] for draw in draws]
        by_arm = [inputs.pairs_of(batch) for batch in batches]
        round = Round(
            index,
            tuple(
                Decision(draw.arm, draw.score, tuple(inputs.ids[d] for d in batch), draw.rows, draw.expected_value)
                for draw, batch in zip(draws, batches, strict=True)
            ),
            tuple(pair for draw, places in zip(draws, by_arm, strict=True) for pair in self._pairs(places, draw.arm)),
        )
        vectors = [draw.embeddings for draw in draws if draw.embeddings is not None]
        context = self.selector.take(
            round,
            embedded.pairs[np.concatenate(by_arm)],
            np.concatenate(vectors) if vectors else None,
            [inputs.usage(batch) for batch in batches],
        )
        self._record(round, by_arm, context)
        self.selector.advance(index)
        drawn = np.concatenate(batches)
        self.drawn += drawn.tolist()
        self.rounds.append(drawn)
        return drawn

    def _record(self, round: Round, by_arm: Sequence[np.ndarray], context: dict[str, object]) -> None:
        """Record the rewards of a round, the places of whose pairs are given by arm."""
        self.selector.record_rewards(round, self.selector.rewards("extracted", round, **context))

    def _pairs(self, places: np.ndarray, arm: int) -> Sequence[QAPair]:
        pairs = [replace(self.setting.inputs.pairs[place], cluster=arm) for place in places]
        if self.grades is None:
            return pairs
        assert self.setting.grader is not None
        grades = self.setting.grader.grades(places, oracle=self.grades == "oracle")
        return [replace(pair, grade=int(grade)) for pair, grade in zip(pairs, grades, strict=True)]


def select(policy: Policy, setting: Setting, budget: float) -> np.ndarray:
    """The documents a policy buys with a budget, in the unit of the setting's costs, in order."""
    drawn = policy.baseline(setting, budget) if policy.baseline is not None else Replay(policy, setting).run(budget)
    return affordable(drawn, setting.costs, budget)
