"""Replays selections that a model in training has a say in, by rewards or by values of pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equal_hf.selection.bandits import UCB
from equal_hf.selection.experimental.loss_attribution import loss_attribution_reward
from equal_hf.selection.rewards import RewardFunction, known_at, loss_drop_reward, value_reward
from equal_hf.types import Round
from tests.benchmarks.closed_loop_model import LoopModel
from tests.benchmarks.selection_policies import Policy
from tests.benchmarks.selection_replay import Replay, Setting

LIKENESS, INFLUENCE = "likeness", "influence"
LEVEL_QUANTILE = 0.9  # of the first values there are: what counts as 1


@known_at("evaluated")
def influence_reward(round: Round, *, arm_influence: list[float | None], **context: Any) -> list[float | None]:
    """The package's reward of that name, measured where the model is."""
    return arm_influence


@known_at("evaluated")
def up_and_down_reward(round: Round, **context: Any) -> list[float | None]:
    """A loss that falls and rises by the same amount in turn."""
    return [1.0 if round.index % 2 else -1.0] * len(round.decisions)


@dataclass(frozen=True)
class Arm:
    """What of the model's knowledge reaches the selection.

    Args:
        rewards (`tuple[tuple[RewardFunction, float], ...]`): Beside the value, each with its weight.
        pair_values (`tuple[str, ...]`): As the setting; `influence` stands for `told`.
        told (`str`, *optional*): What is given for the influence of pairs: `pairs`, `learned` or `gain`.
        asks (`tuple[str, ...]`): What the model is asked after a round, of the names of [`LoopModel.told`].
        scaled (`bool`): Whether what is told has no scale of its own.
    """

    rewards: tuple[tuple[RewardFunction, float], ...] = ()
    pair_values: tuple[str, ...] = (LIKENESS,)
    told: str | None = None
    asks: tuple[str, ...] = ()
    scaled: bool = False

    def policy(self) -> Policy:
        """As the replay takes it."""
        functions = (value_reward, *(function for function, _ in self.rewards))
        weights = [1.0, *(weight for _, weight in self.rewards)]
        settings = {"weights": weights, "pair_values": list(self.pair_values)}
        return Policy(bandit=UCB, rewards=functions, order="value", settings=settings)


_MIXED = (LIKENESS, INFLUENCE)
ARMS: dict[str, Arm] = {
    "value": Arm(),
    "loss_drop": Arm(((loss_drop_reward, 0.25),), asks=("loss",)),
    "loss_drop, weight 1": Arm(((loss_drop_reward, 1.0),), asks=("loss",)),
    "loss_drop, up and down": Arm(((up_and_down_reward, 0.25),)),
    "loss_attribution": Arm(((loss_attribution_reward, 1.0),), asks=("loss",)),
    "influence": Arm(((influence_reward, 1.0),), asks=("arms",)),
    "pair influence": Arm(pair_values=_MIXED, told="pairs", asks=("pairs",)),
    "pair influence alone": Arm(pair_values=(INFLUENCE,), told="pairs", asks=("pairs",)),
    "learned": Arm(pair_values=_MIXED, told="learned", asks=("learned",), scaled=True),
    "reference gain": Arm(pair_values=_MIXED, told="gain", asks=("gain",), scaled=True),
}


class ClosedLoop(Replay):
    """A selection of so many rounds, with a model trained after each but the last.

    Args:
        arm ([`Arm`]): What reaches the selection.
        setting ([`Setting`]): Corpus, target and seed.
        model (`Callable[[], LoopModel]`): The model, where it is needed.
    """

    def __init__(self, arm: Arm, setting: Setting, model: Callable[[], LoopModel]) -> None:
        super().__init__(arm.policy(), setting)
        self.arm, self._model = arm, model
        self.history: list[dict[int, list[int]]] = []  # places of pairs, by cluster
        self._level: float | None = None
        self._more = False

    def select(self, rounds: int) -> np.ndarray:
        """Documents in the order they were drawn."""
        for index in range(rounds):
            self._more = index + 1 < rounds
            self._round(index)
        return np.array(self.drawn)

    @property
    def places(self) -> list[int]:
        """The pairs that were found."""
        return [place for groups in self.history for _, places in sorted(groups.items()) for place in places]

    def _record(self, round: Round, by_arm: Sequence[np.ndarray], context: dict[str, Any]) -> None:
        arms = [decision.arm for decision in round.decisions]
        self.history.append({arm: sorted(places.tolist()) for arm, places in zip(arms, by_arm, strict=True)})
        rewards = self.selector.rewards("extracted", round, **context)
        metrics: dict[str, Any] = {}
        late: dict[str, list[float | None]] = {}
        if self._more and "evaluated" in self.selector.stages.values() and not self.arm.asks:
            rewards |= self.selector.rewards("evaluated", round)
        elif self._more and self.arm.asks:
            model = self._model()
            told = model.told(self.history, self.arm.asks)
            evaluated: dict[str, Any] = {}
            if "loss" in told:
                rows = model.trained_rows(self.history)
                metrics = {
                    "eval_loss": told["loss"],
                    "previous_eval_loss": model.told(self.history[:-1], ["loss"])["loss"],
                    "trained_rows": [rows[arm] for arm in arms],
                }
                metrics["replayed_rows"] = model.args.rows_per_round - sum(metrics["trained_rows"])
                evaluated = metrics | {"loss_history": self.selector.loss_history(round, metrics)}
            if "arms" in self.arm.asks:
                evaluated["arm_influence"] = [told["arms"].get(arm) for arm in arms]
            if evaluated:
                rewards |= self.selector.rewards("evaluated", round, **evaluated)
            if self.arm.told is not None:
                late = {INFLUENCE: self._values(told[self.arm.told], np.concatenate(by_arm))}
        self.selector.record_rewards(round, rewards, metrics, late)

    def _values(self, told: dict[int, float], places: np.ndarray) -> list[float | None]:
        """Values of the round's pairs from 0 to 1, by position."""
        if self.arm.scaled and self._level is None and (above := [value for value in told.values() if value > 0]):
            self._level = float(np.quantile(above, LEVEL_QUANTILE))
        level = (self._level or 1.0) if self.arm.scaled else 1.0
        known = {place: min(max(value / level, 0.0), 1.0) for place, value in told.items()}
        return [known.get(int(place)) for place in places]
