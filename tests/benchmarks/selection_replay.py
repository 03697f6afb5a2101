"""Replays a selection: documents are drawn, cost their tokens and give their pairs, as a perfect extractor's would."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from equal_hf.corpus.kmeans import nearest_centroids, train_centroids
from equal_hf.corpus.profiles import ClusterProfiles, principal_directions
from equal_hf.selection.selector import Selector
from equal_hf.types import Decision, Round, Usage
from tests.benchmarks.selection_inputs import Embedded, Inputs
from tests.benchmarks.selection_policies import Policy


@dataclass(frozen=True)
class Setting:
    """What all policies of one seed share.

    Args:
        seed (`int`): Seeds the reference sample, the clustering and every draw.
        reference (`np.ndarray` of shape `(m, d)`): The reference sample.
        members (`list[np.ndarray]`): Documents of each cluster in stored order, a seeded shuffle.
        profiles (`ClusterProfiles`): What is known of the clusters for free.
        arms, documents (`int`): A round: arms pulled, documents drawn from each.
    """

    seed: int
    reference: np.ndarray
    members: list[np.ndarray]
    profiles: ClusterProfiles
    arms: int
    documents: int


def make_setting(
    embedded: Embedded, seed: int, *, clusters: int, n_reference: int, arms: int, documents: int
) -> Setting:
    rng = np.random.default_rng(seed)
    n = min(n_reference, len(embedded.reference))
    reference = embedded.reference[rng.choice(len(embedded.reference), n, replace=False)]
    centroids = train_centroids(embedded.documents, clusters, seed=seed, threads=1, giant_factor=np.inf)
    labels, _ = nearest_centroids(embedded.documents, centroids.vectors, threads=1)
    shuffled = rng.permutation(len(embedded.documents))
    members = [shuffled[labels[shuffled] == arm] for arm in np.unique(labels)]
    vectors = (embedded.documents[member] for member in members)
    profiles = ClusterProfiles.compute(vectors, principal_directions(embedded.documents))
    return Setting(seed, reference, members, profiles, arms, documents)


def ranked(policy: Policy, setting: Setting, embedded: Embedded) -> np.ndarray:
    """All documents, most similar first."""
    similarity = embedded.documents @ setting.reference.T
    if policy.rank == "mean":
        scores = similarity.mean(axis=1)
    else:
        nearest = min(5, similarity.shape[1])
        scores = np.partition(similarity, -nearest, axis=1)[:, -nearest:].mean(axis=1)
    return np.argsort(-scores, kind="stable")


class Replay:
    """One run of a policy, through the same [`Selector`] as a collector's."""

    def __init__(self, policy: Policy, setting: Setting, inputs: Inputs, embedded: Embedded) -> None:
        assert policy.bandit is not None
        self.setting, self.inputs, self.embedded = setting, inputs, embedded
        self.selector = Selector(
            policy.bandit(),
            policy.rewards,
            setting.profiles,
            {"target": setting.reference},
            lambda arm: embedded.documents[setting.members[arm]],
            order=policy.order,
            documents_per_arm=setting.documents,
            learns=policy.learns,
        )
        if policy.unscaled_alpha is not None:
            # The paper does not scale its rewards; scaling its exploration with them comes to the same.
            self.selector.bandit.alpha = policy.unscaled_alpha / self.selector.scaler.spread("transport")
        self.drawn: list[int] = []

    def run(self, budget: int) -> np.ndarray:
        """Documents in the order they were drawn, `budget` of them."""
        index = 0
        while len(self.drawn) < min(budget, len(self.inputs.ids)):
            self._round(index, budget - len(self.drawn))
            index += 1
        return np.array(self.drawn)

    def _round(self, index: int, budget: int) -> None:
        setting, inputs, embedded = self.setting, self.inputs, self.embedded
        rng = np.random.default_rng([setting.seed, index])
        draws = self.selector.draw(setting.arms, setting.documents, rng, budget)
        batches = [setting.members[draw.arm][list(draw.rows)] for draw in draws]
        by_arm = [inputs.pairs_of(batch) for batch in batches]
        round = Round(
            index,
            tuple(
                Decision(draw.arm, draw.score, tuple(inputs.ids[d] for d in batch), draw.rows, draw.expected_value)
                for draw, batch in zip(draws, batches, strict=True)
            ),
            tuple(
                replace(inputs.pairs[place], cluster=draw.arm)
                for draw, group in zip(draws, by_arm, strict=True)
                for place in group
            ),
        )
        context = self.selector.take(
            round,
            embedded.pairs[np.concatenate(by_arm)],
            embedded.documents[np.concatenate(batches)],
            [Usage(prompt_tokens=int(tokens(inputs, batch).sum())) for batch in batches],
        )
        self.selector.record_rewards(round, self.selector.rewards("extracted", round, **context))
        self.selector.advance(index)
        self.drawn += np.concatenate(batches).tolist()


def tokens(inputs: Inputs, documents: np.ndarray) -> np.ndarray:
    """Tokens that extracting documents costs, near enough: a quarter of their characters."""
    return np.array([len(inputs.texts[d]) // 4 for d in documents])


def select(policy: Policy, setting: Setting, inputs: Inputs, embedded: Embedded, budget: int) -> np.ndarray:
    """The documents a policy draws under a budget, in order."""
    if policy.rank is not None:
        return ranked(policy, setting, embedded)[:budget]
    return Replay(policy, setting, inputs, embedded).run(budget)
