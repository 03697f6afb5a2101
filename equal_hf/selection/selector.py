"""What is drawn next, given everything drawn and rewarded so far: policy, prior, promise and the draws of a run.

Pure and without a clock: feeding the same rounds in the same order gives the same state, whether they come from an
extractor, from a run's records or from a benchmark. A round goes through it in four steps: [`draw`] chooses documents,
[`take`] learns what they gave and says what reward functions may know of it, [`record_rewards`] mixes them, and
[`advance`] lets policy and promise know, at once or a round later.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.errors import ConfigError
from equal_hf.selection.bandits import Bandit, Pull
from equal_hf.selection.cost import for_target
from equal_hf.selection.experimental.loss_attribution import TrainedRound
from equal_hf.selection.neighbours import find_neighbours
from equal_hf.selection.pair_sample import EARLIER_PAIRS, HashPool
from equal_hf.selection.reward_scaling import RewardMixer
from equal_hf.selection.rewards import RewardFunction, Stage, document_prior, reward_name, stage_of
from equal_hf.selection.value_model import Promise
from equal_hf.target import target_shares
from equal_hf.types import Round, Usage

# Rewards on the scale of transport: the transport reward of the clusters' own documents is their prior.
LIKE_TRANSPORT = ("transport", "debiased_transport", "pooled_transport")
# A document that was lost on the way, or that a replay has no record of, tells nothing of its kind.
LOST = frozenset({"transport_error", "not_recorded"})


@dataclass(frozen=True, slots=True)
class Draw:
    """Documents to extract from one arm.

    Args:
        arm (`int`): The cluster.
        score (`float`): Why it was chosen, in the policy's own terms.
        rows (`tuple[int, ...]`): Positions of the documents in the cluster's stored order, in the order drawn.
        expected_value (`float`, *optional*): What was expected of them, on the scale of the mixed rewards; `None`
            without a promise.
        embeddings (`np.ndarray` of shape `(rows, d)`, *optional*): The documents' embeddings, where something learns
            from them.
    """

    arm: int
    score: float
    rows: tuple[int, ...]
    expected_value: float | None = None
    embeddings: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class _Credit:
    arms: list[int]
    mixed: list[float | None]
    promised: list[float] | None
    scores: list[float]


class Selector:
    """Selection of a run as a fold over its rounds.

    Args:
        bandit ([`Bandit`]): The policy.
        reward_funcs (`Sequence[RewardFunction]`): What pays arms.
        profiles ([`ClusterProfiles`]): What is known of the clusters for free.
        references (`Mapping[str, np.ndarray]`): Reference embeddings of each target by name, shape `(m, d)`. With
            several targets a reward that looks at a reference is paid for each and reported as `<reward>_<target>`.
        embeddings (`Callable[[int], np.ndarray]`): Embeddings of a cluster's documents in stored order.
        weights (`Sequence[float]`, *optional*): What each reward function counts; 1 where left out.
        target_weights (`Mapping[str, float]`, *optional*): What each target counts; the same where left out.
        order (`str`, *optional*, defaults to `"promise"`): Inside a cluster: `"promise"`, `"nearest"` or `"random"`.
        documents_per_arm (`int`, *optional*, defaults to `10`): Documents of a pull, by which arms are judged.
        discount (`float`, *optional*, defaults to `1.0`): Weight the promise's evidence keeps from round to round.
        learns (`bool`, *optional*, defaults to `True`): `False` keeps the promise at what nearness alone tells.

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
        order: str = "promise",
        documents_per_arm: int = 10,
        discount: float = 1.0,
        learns: bool = True,
    ) -> None:
        self.bandit, self.profiles, self.references, self._embeddings = bandit, profiles, dict(references), embeddings
        self.order = "random" if bandit.identity()["policy"] == "uniform" else order
        self.documents_per_arm, self._learns = documents_per_arm, learns
        self._target_weights = target_shares(self.references, target_weights)
        self.functions, self.weights = _by_target(
            reward_funcs, weights, self.references if len(self.references) > 1 else {}, self._target_weights
        )
        self.stages: dict[str, Stage] = {name: stage_of(function) for name, function in self.functions.items()}
        worths = [f"value_{target}" for target in self.references] if len(self.references) > 1 else ["value"]
        self._worths = worths if worths[0] in self.functions else []
        self._reference = np.concatenate(list(self.references.values()))
        self.promise: Promise | None = None
        if self._worths or self.order == "promise":
            self.promise = Promise(
                list(self.references.values()),
                profiles.samples,
                profiles.count,
                weights=list(self._target_weights.values()),
                discount=discount,
            )
        self.mixer = RewardMixer(self.weights, self._priors())
        radius = bandit.neighbour_radius
        neighbours = None
        if radius > 0:
            neighbours = find_neighbours(profiles.mean, profiles.covariance, radius, kind=bandit.neighbours)
        self.bandit.start(len(profiles.count), self.mixer.prior(), neighbours, profiles.mean @ profiles.components)
        self.remaining = profiles.count.astype(np.int64).copy()
        self._drawn: dict[int, list[int]] = {}
        self._pool = HashPool()
        self._earlier: dict[int, np.ndarray] = {}
        self.trained: list[TrainedRound] = []
        self._taken: list[tuple[np.ndarray | None, np.ndarray]] = []  # documents' embeddings and values, by round
        self._credits: list[_Credit] = []
        self.advanced = 0  # rounds that policy and promise know of

    def _priors(self) -> dict[str, np.ndarray]:
        priors: dict[str, np.ndarray] = {}
        for name in self.weights:
            for target, reference in self.references.items():
                suffix = f"_{target}" if len(self.references) > 1 else ""
                if name.removesuffix(suffix) in LIKE_TRANSPORT and name.endswith(suffix):
                    priors[name] = document_prior(self.profiles.samples, reference)
        return priors | self._promises(self.profiles.count)

    def _promises(self, remaining: np.ndarray) -> dict[str, np.ndarray]:
        if self.promise is None or not self._worths:
            return {}
        return dict(zip(self._worths, self.promise.of_arms(remaining, self.documents_per_arm).T, strict=True))

    @property
    def rewarded_rounds(self) -> int:
        """How many rounds have recorded rewards."""
        return len(self._credits)

    # -- the four steps of a round ---------------------------------------------------------------------------------

    def draw(self, arms: int, documents: int, rng: np.random.Generator, budget: int | None = None) -> list[Draw]:
        """Choose `documents` documents from each of `arms` arms, as a rule, best arm first.

        Args:
            arms, documents (`int`): Size of the round.
            rng (`np.random.Generator`): The round's own.
            budget (`int`, *optional*): Documents at most.
        """
        promise = self._promise_of_arms()
        draws = []
        for pull in self.bandit.select(arms, documents, self.remaining, rng, promise):
            count = pull.documents if budget is None else min(pull.documents, budget)
            if not count:
                break
            rows, vectors = self._choose(pull.arm, count)
            promised = None if promise is None else float(promise[pull.arm])
            draws.append(Draw(pull.arm, pull.score, tuple(rows.tolist()), promised, vectors))
            budget = None if budget is None else budget - count
        return draws

    def _choose(self, arm: int, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        left = np.ones(int(self.profiles.count[arm]), dtype=bool)
        left[self._drawn.get(arm, [])] = False
        rows = np.flatnonzero(left)
        if self.order == "random" and self.promise is None:
            return rows[:count], None  # the stored order is a seeded shuffle
        vectors = self._embeddings(arm)
        if self.order == "nearest":
            rows = rows[np.argsort(-(vectors[rows] @ self._reference.mean(axis=0)), kind="stable")]
        elif self.order == "promise":
            assert self.promise is not None
            rows = rows[np.argsort(-self.promise.expected(vectors[rows]), kind="stable")]
        return rows[:count], vectors[rows[:count]]

    def after(self, draws: Sequence[Draw]) -> Selector:
        """A selector as this one would be if some draws had taught nothing, for asking what would come next.

        It keeps what it needs of this moment, so it can be asked in another thread while rounds go on.

        Args:
            draws (`Sequence[Draw]`): Draws whose documents are not to be drawn again.
        """
        then = copy.copy(self)
        then.bandit = copy.deepcopy(self.bandit)
        then.promise = None if self.promise is None else self.promise.frozen()
        then.remaining = self.remaining.copy()
        then._drawn = {arm: list(rows) for arm, rows in self._drawn.items()}
        for draw in draws:
            then._drop_drawn(draw.arm, draw.rows)
        return then

    def pulls(self, arms: int, documents: int, rng: np.random.Generator) -> list[Pull]:
        """The arms that [`draw`] chooses from, without its documents; a policy may remember that it was asked."""
        promise = self._promise_of_arms()
        return self.bandit.select(arms, documents, self.remaining, rng, promise)

    def order_of(self, arm: int) -> np.ndarray:
        """Positions of the documents left in a cluster, first to be drawn first."""
        return self._choose(arm, int(self.profiles.count[arm]))[0]

    def _drop_drawn(self, arm: int, rows: Sequence[int]) -> None:
        self._drawn.setdefault(arm, []).extend(rows)
        self.remaining[arm] -= len(rows)
        if self.promise is not None:
            self.promise.draw(arm, rows)

    def _promise_of_arms(self) -> np.ndarray | None:
        promises = self._promises(self.remaining)
        return self.mixer.prior(promises) if promises else None

    def take(
        self,
        round: Round,
        pair_embeddings: np.ndarray,
        document_embeddings: np.ndarray | None = None,
        arm_usage: Sequence[Usage] | None = None,
    ) -> dict[str, Any]:
        """Take in what a round's documents gave.

        Args:
            round ([`Round`]): The round; its decisions say which rows were drawn.
            pair_embeddings (`np.ndarray` of shape `(pairs, d)`): Embeddings of its pairs.
            document_embeddings (`np.ndarray` of shape `(documents, d)`, *optional*): Embeddings of its documents, in
                the order they were drawn; needed where there is a promise.
            arm_usage (`Sequence[Usage]`, *optional*): What each arm's documents used.

        Returns:
            `dict[str, Any]`: What reward functions that are known at extraction may ask for.
        """
        by_arm = round.pairs_by_arm()
        for decision in round.decisions:
            self._drop_drawn(decision.arm, decision.rows)
        values = np.zeros((round.documents, len(self.references)))
        worths = np.zeros_like(values)
        if self.promise is not None:
            assert document_embeddings is not None
            values = self._values(round, pair_embeddings)
            worths = self.promise.nearness(document_embeddings) * values
        nothing = np.zeros((0, pair_embeddings.shape[1]), dtype=np.float32)
        earlier = [self._earlier.get(decision.arm, nothing) for decision in round.decisions]
        context = {
            "pair_embeddings": pair_embeddings,
            "pool_embeddings": self._pool.embeddings,
            "earlier_embeddings": earlier,
            "document_values": worths,
            "arm_usage": list(arm_usage or [Usage()] * len(round.decisions)),
        }
        for decision, positions, before in zip(round.decisions, by_arm, earlier, strict=True):
            self._earlier[decision.arm] = np.concatenate([before, pair_embeddings[positions]])[-EARLIER_PAIRS:]
        self._pool.add(round.pairs, pair_embeddings)
        self._taken.append((document_embeddings, values))
        return context

    def _values(self, round: Round, pair_embeddings: np.ndarray) -> np.ndarray:
        """What each document's pairs count for each target; nan for a document that was lost on the way."""
        assert self.promise is not None
        ids = [document for decision in round.decisions for document in decision.documents]
        places: dict[str, list[int]] = {document: [] for document in ids}
        for position, pair in enumerate(round.pairs):
            places[pair.document_id].append(position)
        values = self.promise.values([pair_embeddings[places[document]] for document in ids], self._pool.embeddings)
        lost = {rejection.document_id for rejection in round.rejected if rejection.reason in LOST}
        values[[document in lost and not places[document] for document in ids]] = np.nan
        return values

    def rewards(self, stage: Stage, round: Round, **context: Any) -> dict[str, list[float | None]]:
        """What a round's arms were worth, by the reward functions that are known at that stage.

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
        """What rounds trained on and how far the loss fell, this round last; empty while it is not known of this one.

        Args:
            round ([`Round`]): The round.
            metrics (`Mapping[str, Any]`): `eval_loss`, `previous_eval_loss`, `trained_rows` and `replayed_rows`.
        """
        before, after, rows = (metrics.get(name) for name in ("previous_eval_loss", "eval_loss", "trained_rows"))
        if before is None or after is None or not before or rows is None:
            return []
        trained = {decision.arm: count for decision, count in zip(round.decisions, rows, strict=True)}
        return [*self.trained, TrainedRound(trained, (before - after) / before, metrics.get("replayed_rows") or 0)]

    def record_rewards(
        self,
        round: Round,
        rewards: Mapping[str, Sequence[float | None]],
        metrics: Mapping[str, Any] | None = None,
    ) -> list[float | None]:
        """Mix a round's rewards, for the next [`advance`] to pass on.

        Returns:
            `list[float | None]`: One value an arm; `None` where no reward credits it.
        """
        if round.index != len(self._credits):
            raise ValueError(f"round {round.index} cannot have rewards recorded after {len(self._credits)} rounds")
        mixed = self.mixer.mix(rewards)
        self.trained = self.loss_history(round, metrics or {}) or self.trained
        arms = [decision.arm for decision in round.decisions]
        promised = [decision.expected_value for decision in round.decisions if decision.expected_value is not None]
        scores = [decision.score for decision in round.decisions]
        self._credits.append(_Credit(arms, mixed, promised if len(promised) == len(arms) else None, scores))
        return mixed

    def advance(self, through: int) -> None:
        """Let policy and promise know of all rounds up to `through`.

        Raises:
            `ValueError`: If one of them has no recorded rewards.
        """
        if through >= len(self._credits):
            raise ValueError(f"round {len(self._credits)} has no recorded rewards")
        while self.advanced <= through:
            credit = self._credits[self.advanced]
            self.bandit.update(credit.arms, credit.mixed, credit.promised, credit.scores)
            embeddings, values = self._taken[self.advanced]
            if self.promise is not None and self._learns and embeddings is not None:
                told = ~np.isnan(values).any(axis=1)
                self.promise.update(embeddings[told], values[told])
            self._taken[self.advanced] = (None, values[:0])  # learned: nothing else asks for it
            self.advanced += 1


def _by_target(
    functions: Sequence[RewardFunction],
    weights: Sequence[float] | None,
    references: Mapping[str, np.ndarray],
    shares: Mapping[str, float],
) -> tuple[dict[str, RewardFunction], dict[str, float]]:
    """Reward functions and their weights by name; one a target where there are several and it looks at them."""
    if weights is not None and len(weights) != len(functions):
        raise ConfigError(
            f"`reward_weights` has {len(weights)} values for {len(functions)} reward functions: give one each"
        )
    named: dict[str, RewardFunction] = {}
    counts: dict[str, float] = {}
    for function, weight in zip(functions, weights or [1.0] * len(functions), strict=True):
        parts = [(function, weight)]
        if references and {"reference_embeddings", "document_values"} & set(inspect.signature(function).parameters):
            parts = [
                (for_target(function, target, place, reference), weight * shares[target])
                for place, (target, reference) in enumerate(references.items())
            ]
        for part, share in parts:
            name = reward_name(part)
            if name in named:
                raise ConfigError(f"two reward functions are called {name!r}: rename one, records are kept by name")
            named[name], counts[name] = part, share
    return named, counts
