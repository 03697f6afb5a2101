"""What is drawn next, given everything drawn and rewarded so far: policy, prior, value model and the draws of a run.

Pure and without a clock: the same rounds in the same order give the same state, whether they come from an extractor,
from a run's records or from a benchmark. A round takes four steps: [`draw`] chooses documents, [`take`] adds what they
gave and returns what reward functions may use of it, [`record_rewards`] mixes the rewards, and [`advance`] passes them
on to policy and value model, at once or a round later.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.errors import ConfigError
from equal_hf.selection.bandits import Bandit, Pull
from equal_hf.selection.document_costs import DocumentCosts
from equal_hf.selection.experimental.loss_attribution import TrainedRound, trained_round
from equal_hf.selection.neighbours import find_neighbours
from equal_hf.selection.pair_sample import PairHistory
from equal_hf.selection.pair_value import DEFAULT_PAIR_VALUES
from equal_hf.selection.per_target import weighted_rewards
from equal_hf.selection.reward_scaling import RewardScaler
from equal_hf.selection.rewards import RewardFunction, Stage, document_prior, stage_of
from equal_hf.selection.round_values import PairValues
from equal_hf.selection.value_model import ValueModel
from equal_hf.target.shares import target_shares
from equal_hf.types import Round, Usage

# Rewards on the scale of transport: the transport reward of the clusters' own documents is their prior.
# Clusters looked into for documents, for each that a round is sized by, and at least.
LOOKED_INTO, LEAST_LOOKED_INTO = 20, 200
LIKE_TRANSPORT = ("transport", "debiased_transport", "pooled_transport")
# A round's arms, mixed rewards, expected rewards and scores.
_Update = tuple[list[int], list[float | None], list[float] | None, list[float]]


@dataclass(frozen=True, slots=True)
class Draw:
    """Documents to extract from one arm.

    Args:
        arm (`int`): The cluster.
        score (`float`): Why it was chosen, in the policy's own terms.
        rows (`tuple[int, ...]`): Positions of the documents in the cluster's stored order, in the order drawn.
        expected_value (`float`, *optional*): Reward expected of them, on the scale of the mixed rewards; `None`
            where no value model predicts it.
        embeddings (`np.ndarray` of shape `(rows, d)`, *optional*): The documents' embeddings, where something learns
            from them.
    """

    arm: int
    score: float
    rows: tuple[int, ...]
    expected_value: float | None = None
    embeddings: np.ndarray | None = None


class Selector:
    """Selection of a run as a fold over its rounds.

    Args:
        bandit ([`Bandit`]): The policy.
        reward_funcs (`Sequence[RewardFunction]`): What rewards arms.
        profiles ([`ClusterProfiles`]): What is known of the clusters for free.
        references (`Mapping[str, np.ndarray]`): Reference embeddings of each target by name, shape `(m, d)`. With
            several targets a reward that differs between them is given for each, as `<reward>_<target>`.
        embeddings (`Callable[[int], np.ndarray]`): Embeddings of a cluster's documents in stored order.
        weights (`Sequence[float]`, *optional*): Weight of each reward function; all 1 where left out.
        target_weights (`Mapping[str, float]`, *optional*): Weight of each target; the same where left out.
        order (`str`, *optional*, defaults to `"value"`): Inside a cluster: `"value"`, `"nearest"` or `"random"`.
        documents_per_arm (`int`, *optional*, defaults to `10`): Documents of a pull, by which arms are judged.
        discount (`float`, *optional*, defaults to `1.0`): Factor on what the value model learned, at every round.
        learns (`bool`, *optional*, defaults to `True`): `False` keeps the value model at nearness alone.
        pair_values (`Sequence[str]`, *optional*): What says what pairs are worth, as for [`PairValues`].
        pair_value_weights (`Sequence[float]`, *optional*): Weight of each, as for [`PairValues`].
        questions (`Mapping[str, Sequence[str]]`, *optional*): The reference questions of each target by name, whose
            form pairs are compared with.
        costs ([`DocumentCosts`], *optional*): What value is weighed against; documents alone where left out.
        draw_by (`str`, *optional*, defaults to `"document"`): `"document"` draws the best documents of all clusters;
            `"cluster"` some documents of each of the best clusters, as the paper does.
        explore (`float`, *optional*, defaults to `0.05`): Share of a round's documents that is drawn from clusters of
            which nothing was drawn yet; with `"document"` alone.
        terms (`Callable[[int], np.ndarray]`, *optional*): A second view of a cluster's documents in stored order,
            shape `(size, t)`.
        sample_terms (`Sequence[np.ndarray]`, *optional*): That view of the documents of `profiles.samples`.

    Raises:
        [`ConfigError`]: If two rewards have one name, or weights do not fit.
    """

    def __init__(
        self,
        bandit: Bandit,
        reward_funcs: Sequence[RewardFunction],
        profiles: ClusterProfiles,
        references: Mapping[str, np.ndarray],
        embeddings: Callable[[int], np.ndarray],
        *,
        weights: Sequence[float] | None = None,
        target_weights: Mapping[str, float] | None = None,
        order: str = "value",
        documents_per_arm: int = 10,
        discount: float = 1.0,
        learns: bool = True,
        pair_values: Sequence[str] = DEFAULT_PAIR_VALUES,
        pair_value_weights: Sequence[float] | None = None,
        questions: Mapping[str, Sequence[str]] | None = None,
        costs: DocumentCosts | None = None,
        draw_by: str = "document",
        explore: float = 0.05,
        terms: Callable[[int], np.ndarray] | None = None,
        sample_terms: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.bandit, self.profiles, self.references, self._embeddings = bandit, profiles, dict(references), embeddings
        self.costs, self.explore, self._terms = costs or DocumentCosts(), explore, terms
        self.order = "random" if bandit.identity()["policy"] == "uniform" else order
        self.documents_per_arm, self._learns = documents_per_arm, learns
        shares = target_shares(self.references, target_weights)
        self.functions, self.weights = weighted_rewards(reward_funcs, weights, self.references, shares)
        self.stages: dict[str, Stage] = {name: stage_of(function) for name, function in self.functions.items()}
        several = len(self.references) > 1
        self._suffixes = {name: f"_{name}" if several else "" for name in self.references}
        names = [f"value{suffix}" for suffix in self._suffixes.values()]
        self._predicted = names if names[0] in self.functions else []  # rewards that the value model predicts
        self._reference = np.concatenate(list(self.references.values()))
        self._by_document = (
            draw_by == "document" and bool(self._predicted) and self.order == "value" and bandit.corrects
        )
        self.value_model: ValueModel | None = None
        if self._predicted or self.order == "value":
            samples = profiles.samples
            if terms is not None and sample_terms is not None:
                samples = tuple(map(np.hstack, zip(samples, sample_terms, strict=True)))
            self.value_model = ValueModel(
                list(self.references.values()),
                samples,
                profiles.count,
                weights=list(shares.values()),
                discount=discount,
            )
        self.pair_values = PairValues(
            list(self.references.values()),
            profiles.samples,
            profiles.count,
            functions=pair_values,
            weights=pair_value_weights,
            questions=None if questions is None else [questions[name] for name in self.references],
        )
        self.scaler = RewardScaler(self.weights, self._priors())
        neighbours = None
        if (radius := bandit.neighbour_radius) > 0:
            neighbours = find_neighbours(profiles.mean, profiles.covariance, radius, kind=bandit.neighbours)
        self.bandit.start(len(profiles.count), self.scaler.prior(), neighbours, profiles.mean @ profiles.components)
        self.remaining = profiles.count.astype(np.int64).copy()
        self._drawn: dict[int, list[int]] = {}
        self._pairs = PairHistory()
        self.useful: list[int] = []  # useful pairs, by round
        self.trained: list[TrainedRound] = []
        self._taken: list[tuple[np.ndarray | None, np.ndarray]] = []  # documents' vectors and costs, by round
        self._learned = np.zeros(0, dtype=np.int64)  # documents the value model learned from, among all taken
        self._spent = (0, 0.0)  # documents taken, and what they cost
        self._updates: list[_Update] = []  # for the policy, by round
        self.advanced = 0  # rounds that policy and value model know of

    @property
    def rewarded_rounds(self) -> int:
        """How many rounds have recorded rewards."""
        return len(self._updates)

    def _priors(self) -> dict[str, np.ndarray]:
        priors: dict[str, np.ndarray] = {}
        for name in self.weights:
            for target, suffix in self._suffixes.items():
                if name.removesuffix(suffix) in LIKE_TRANSPORT and name.endswith(suffix):
                    priors[name] = document_prior(self.profiles.samples, self.references[target])
        return priors | self._predictions(self.profiles.count)

    def _predictions(self, remaining: np.ndarray) -> dict[str, np.ndarray]:
        """Of every reward that the value model predicts, what it expects of each arm's next documents."""
        if self.value_model is None or not self._predicted:
            return {}
        by_target = self.value_model.expected_by_arm(remaining, self.documents_per_arm).T
        return dict(zip(self._predicted, by_target, strict=True))

    def _expected_of_arms(self) -> np.ndarray | None:
        predictions = self._predictions(self.remaining)
        return self.scaler.prior(predictions) if predictions else None

    # -- the four steps of a round ---------------------------------------------------------------------------------

    def draw(self, arms: int, documents: int, rng: np.random.Generator, budget: int | None = None) -> list[Draw]:
        """Choose `arms * documents` documents, at most `budget`.

        By document, those of the highest expected value for money in all clusters, each with what the policy says
        of its cluster; by cluster, `documents` from each of the best `arms`, as a rule. Best first.
        """
        if self._by_document:
            wanted = arms * documents if budget is None else min(arms * documents, budget)
            return self._draw_by_document(wanted, arms, rng)
        expected = self._expected_of_arms()
        draws = []
        for pull in self.bandit.select(arms, documents, self.remaining, rng, expected):
            count = pull.documents if budget is None else min(pull.documents, budget)
            if not count:
                break
            rows, vectors = self._choose(pull.arm, count)
            value = None if expected is None else float(expected[pull.arm])
            draws.append(Draw(pull.arm, pull.score, tuple(rows.tolist()), value, vectors))
            budget = None if budget is None else budget - count
        return draws

    def _draw_by_document(self, wanted: int, arms: int, rng: np.random.Generator) -> list[Draw]:
        """The best documents of the clusters that look best, and a few of clusters of which nothing is known.

        Memory: one cluster's documents at a time, and a number each of all clusters looked into.
        """
        assert self.value_model is not None
        wanted = min(wanted, int(self.remaining.sum()))
        if not wanted:
            return []
        expected = self._expected_of_arms()
        assert expected is not None
        scores = self.bandit.scores(expected, rng)
        value, owner, place = self._values_left(wanted, arms, scores, expected)
        score = value + (scores - expected)[owner]
        best = np.argsort(-score, kind="stable")
        explored = self._explored(wanted, owner[best], rng)
        best = best[~np.isin(owner[best], explored)][: wanted - len(explored)]
        draws = []
        for arm in dict.fromkeys(owner[best].tolist()):
            own = best[owner[best] == arm]
            rows, told = place[own], float(value[own].mean())
            draws.append(Draw(arm, float(score[own[0]]), tuple(rows.tolist()), told, self._vectors(arm)[rows]))
        for arm in explored.tolist():
            rows, vectors = self._choose(arm, 1)
            draws.append(Draw(arm, float(scores[arm]), tuple(rows.tolist()), float(expected[arm]), vectors))
        return draws

    def _values_left(
        self, wanted: int, arms: int, scores: np.ndarray, expected: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expected values of the documents left in the clusters that look best, on the scale of the mixed rewards;
        their clusters and their places there."""
        assert self.value_model is not None
        of_arms = expected - self.scaler.expected(self._predictions(self.remaining))  # what no document can change
        order = np.argsort(-scores, kind="stable")
        order = order[self.remaining[order] > 0]
        # As many clusters as look best, and so many more that they hold what is wanted.
        held = np.searchsorted(np.cumsum(self.remaining[order]), wanted) + 1
        values, owners, places = [], [], []
        for arm in order[: max(LOOKED_INTO * arms, LEAST_LOOKED_INTO, int(held))].tolist():
            rows = self._rows_left(arm)
            told = self.value_model.expected_by_target(self._vectors(arm)[rows]).T
            values.append(self.scaler.expected(dict(zip(self._predicted, told, strict=True))) + of_arms[arm])
            owners.append(np.full(len(rows), arm))
            places.append(rows)
        return np.concatenate(values), np.concatenate(owners), np.concatenate(places)

    def _explored(self, wanted: int, ranked: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Clusters of which nothing was drawn yet nor is by value, and one document is drawn now; by their sizes.

        Args:
            wanted (`int`): Documents of the round.
            ranked (`np.ndarray`): Clusters of the documents, the best document first.
            rng (`np.random.Generator`): The round's generator.
        """
        count = int(rng.binomial(wanted, self.explore))
        unknown = (self.remaining == self.profiles.count) & (self.remaining > 0)
        unknown[ranked[: wanted - count]] = False
        arms = np.flatnonzero(unknown)
        count = min(count, len(arms))
        if not count:
            return np.zeros(0, dtype=np.int64)
        sizes = self.remaining[arms].astype(np.float64)
        return rng.choice(arms, count, replace=False, p=sizes / sizes.sum())

    def _rows_left(self, arm: int) -> np.ndarray:
        left = np.ones(int(self.profiles.count[arm]), dtype=bool)
        left[self._drawn.get(arm, [])] = False
        return np.flatnonzero(left)

    def _vectors(self, arm: int) -> np.ndarray:
        """What the value model sees of a cluster's documents."""
        vectors = self._embeddings(arm)
        return vectors if self._terms is None else np.hstack([vectors, self._terms(arm)])

    def _choose(self, arm: int, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        rows = self._rows_left(arm)
        if self.order == "random" and self.value_model is None:
            return rows[:count], None  # the stored order is a seeded shuffle
        vectors = self._vectors(arm)
        if self.order == "nearest":
            rows = rows[
                np.argsort(-(vectors[rows, : self._reference.shape[1]] @ self._reference.mean(axis=0)), kind="stable")
            ]
        elif self.order == "value":
            assert self.value_model is not None
            rows = rows[np.argsort(-self.value_model.expected(vectors[rows]), kind="stable")]
        return rows[:count], vectors[rows[:count]]

    def take(
        self,
        round: Round,
        pair_embeddings: np.ndarray,
        document_embeddings: np.ndarray | None = None,
        arm_usage: Sequence[Usage] | None = None,
    ) -> dict[str, Any]:
        """Add what a round's documents gave.

        Args:
            round ([`Round`]): The round; its decisions say which rows were drawn.
            pair_embeddings (`np.ndarray` of shape `(pairs, d)`): Embeddings of its pairs.
            document_embeddings (`np.ndarray` of shape `(documents, d)`, *optional*): Embeddings of its documents, in
                the order they were drawn; needed where there is a value model.
            arm_usage (`Sequence[Usage]`, *optional*): What each arm's documents used.

        Returns:
            `dict[str, Any]`: The context of rewards known at extraction.
        """
        for decision in round.decisions:
            self._remove(decision.arm, decision.rows)
        context = self._pairs.context(round, pair_embeddings)
        values = self.pair_values.take(round, pair_embeddings, context["pool_embeddings"])
        pair_values = self.pair_values.mix(values.documents)
        document_values = np.zeros_like(pair_values)
        usage = list(arm_usage or [Usage()] * len(round.decisions))
        costs = self.costs.of_documents(round, usage)
        self._spent = (self._spent[0] + len(costs), self._spent[1] + float(costs.sum()))
        if self.value_model is not None:
            assert document_embeddings is not None
            relative = costs * (self._spent[0] / self._spent[1])
            document_values = self.value_model.nearness(document_embeddings) * pair_values / relative[:, None]
        self._pairs.add(round, pair_embeddings)
        self.useful.append(values.useful)
        self._taken.append((document_embeddings, costs))
        return {**context, "pair_values": values, "document_values": document_values, "arm_usage": usage}

    def _remove(self, arm: int, rows: Sequence[int]) -> None:
        self._drawn.setdefault(arm, []).extend(rows)
        self.remaining[arm] -= len(rows)
        if self.value_model is not None:
            self.value_model.draw(arm, rows)

    def rewards(self, stage: Stage, round: Round, **context: Any) -> dict[str, list[float | None]]:
        """Rewards of a round's arms, by the reward functions that are known at that stage.

        Raises:
            [`ConfigError`]: If a function does not give one value an arm.
        """
        rewards = {}
        for name, function in self.functions.items():
            if self.stages[name] != stage:
                continue
            values = function(round, **{"reference_embeddings": self._reference, **context})
            if len(values) != len(round.decisions):
                raise ConfigError(
                    f"reward function {name!r} gave {len(values)} values for {len(round.decisions)} arms: "
                    "return one value per decision of the round, None where it has nothing to say"
                )
            rewards[name] = [None if value is None or not np.isfinite(value) else float(value) for value in values]
        return rewards

    def loss_history(self, round: Round, metrics: Mapping[str, Any]) -> list[TrainedRound]:
        """What rounds trained on and how far the loss fell, this round last; empty if that is not known of it."""
        trained = trained_round(round, metrics)
        return [] if trained is None else [*self.trained, trained]

    def record_rewards(
        self,
        round: Round,
        rewards: Mapping[str, Sequence[float | None]],
        metrics: Mapping[str, Any] | None = None,
        pair_values: Mapping[str, Sequence[float | None]] | None = None,
    ) -> list[float | None]:
        """A round's mixed rewards, `None` for an arm without one; the next [`advance`] passes them on, with values of
        its pairs that are known by now."""
        if round.index != self.rewarded_rounds:
            raise ValueError(f"round {round.index} cannot have rewards recorded after {self.rewarded_rounds} rounds")
        self.pair_values.learn(round.index, pair_values or {})
        mixed = self.scaler.mix(rewards)
        self.trained = self.loss_history(round, metrics or {}) or self.trained
        arms = [decision.arm for decision in round.decisions]
        expected = [decision.expected_value for decision in round.decisions if decision.expected_value is not None]
        scores = [decision.score for decision in round.decisions]
        self._updates.append((arms, mixed, expected if len(expected) == len(arms) else None, scores))
        return mixed

    def advance(self, through: int) -> None:
        """Pass all rounds up to `through` on to policy and value model.

        Raises:
            `ValueError`: If one of them has no recorded rewards.
        """
        if through >= self.rewarded_rounds:
            raise ValueError(f"round {self.rewarded_rounds} has no recorded rewards")
        while self.advanced <= through:
            self.bandit.update(*self._updates[self.advanced])
            vectors, costs = self._taken[self.advanced]
            if self.value_model is not None and self._learns and vectors is not None:
                self._learn(vectors, costs)
            self._taken[self.advanced] = (None, costs[:0])  # nothing else uses them
            self.advanced += 1

    def _learn(self, vectors: np.ndarray, costs: np.ndarray) -> None:
        """Learn from the round that is next, and what documents of earlier rounds are worth by what is known now."""
        assert self.value_model is not None
        learned = self.pair_values.learned(self.advanced + 1)
        first = len(learned.lost) - len(costs)
        known = np.flatnonzero(~learned.lost[first:])
        if not len(known):
            return
        self._learned = np.concatenate([self._learned, first + known])
        self.value_model.update(vectors[known], np.zeros((len(known), len(self.references))), costs[known])
        self.value_model.relearn(learned.mixed[self._learned])

    # -- what would come next --------------------------------------------------------------------------------------

    def after(self, draws: Sequence[Draw]) -> Selector:
        """A copy as it would be if some draws taught nothing; it may be used in another thread while rounds go on."""
        then = copy.copy(self)
        then.bandit = copy.deepcopy(self.bandit)
        then.value_model = None if self.value_model is None else self.value_model.frozen()
        then.remaining = self.remaining.copy()
        then._drawn = {arm: list(rows) for arm, rows in self._drawn.items()}
        for draw in draws:
            then._remove(draw.arm, draw.rows)
        return then

    def pulls(self, arms: int, documents: int, rng: np.random.Generator) -> list[Pull]:
        """The arms that [`draw`] chooses from, without its documents; a policy may change its state."""
        if self._by_document:
            return [Pull(draw.arm, draw.score, len(draw.rows)) for draw in self.draw(arms, documents, rng)]
        return self.bandit.select(arms, documents, self.remaining, rng, self._expected_of_arms())

    def order_of(self, arm: int) -> np.ndarray:
        """Positions of the documents left in a cluster, in the order they would be drawn."""
        return self._choose(arm, int(self.profiles.count[arm]))[0]
