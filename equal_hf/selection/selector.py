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
from equal_hf.selection.experimental.loss_attribution import TrainedRound, trained_round
from equal_hf.selection.neighbours import find_neighbours
from equal_hf.selection.pair_sample import PairHistory
from equal_hf.selection.pair_value import DEFAULT_PAIR_VALUES, PairValues
from equal_hf.selection.per_target import weighted_rewards
from equal_hf.selection.reward_scaling import RewardScaler
from equal_hf.selection.rewards import RewardFunction, Stage, document_prior, stage_of
from equal_hf.selection.value_model import ValueModel
from equal_hf.target import target_shares
from equal_hf.types import Round, Usage

# Rewards on the scale of transport: the transport reward of the clusters' own documents is their prior.
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
        pair_value_weights (`Sequence[float]`, *optional*): Weight of each; all 1 where left out.

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
    ) -> None:
        self.bandit, self.profiles, self.references, self._embeddings = bandit, profiles, dict(references), embeddings
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
        self.value_model: ValueModel | None = None
        if self._predicted or self.order == "value":
            self.value_model = ValueModel(
                list(self.references.values()),
                profiles.samples,
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
        self._taken: list[tuple[np.ndarray | None, np.ndarray]] = []  # documents' embeddings and pair values, by round
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
        """Choose `documents` documents from each of `arms` arms, as a rule, best arm first; at most `budget`."""
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

    def _choose(self, arm: int, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        left = np.ones(int(self.profiles.count[arm]), dtype=bool)
        left[self._drawn.get(arm, [])] = False
        rows = np.flatnonzero(left)
        if self.order == "random" and self.value_model is None:
            return rows[:count], None  # the stored order is a seeded shuffle
        vectors = self._embeddings(arm)
        if self.order == "nearest":
            rows = rows[np.argsort(-(vectors[rows] @ self._reference.mean(axis=0)), kind="stable")]
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
        if self.value_model is not None:
            assert document_embeddings is not None
            document_values = self.value_model.nearness(document_embeddings) * pair_values
        self._pairs.add(round, pair_embeddings)
        self.useful.append(values.useful)
        self._taken.append((document_embeddings, pair_values))
        usage = list(arm_usage or [Usage()] * len(round.decisions))
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
    ) -> list[float | None]:
        """A round's mixed rewards, `None` for an arm without one; the next [`advance`] passes them on."""
        if round.index != self.rewarded_rounds:
            raise ValueError(f"round {round.index} cannot have rewards recorded after {self.rewarded_rounds} rounds")
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
            embeddings, pair_values = self._taken[self.advanced]
            if self.value_model is not None and self._learns and embeddings is not None:
                known = ~np.isnan(pair_values).any(axis=1)
                self.value_model.update(embeddings[known], pair_values[known])
            self._taken[self.advanced] = (None, pair_values[:0])  # nothing else uses them
            self.advanced += 1

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
        return self.bandit.select(arms, documents, self.remaining, rng, self._expected_of_arms())

    def order_of(self, arm: int) -> np.ndarray:
        """Positions of the documents left in a cluster, in the order they would be drawn."""
        return self._choose(arm, int(self.profiles.count[arm]))[0]
