"""The policies that are compared: the baselines, what the library does by default, and its parts one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from equal_hf.selection.bandits import UCB, Bandit, Greedy, Thompson, Uniform
from equal_hf.selection.experimental.exp3 import EXP3
from equal_hf.selection.experimental.linucb import LinUCB
from equal_hf.selection.experimental.transport_rewards import (
    debiased_transport_reward,
    marginal_transport_reward,
    pooled_transport_reward,
)
from equal_hf.selection.rewards import RewardFunction, transport_reward, value_reward
from tests.benchmarks import selection_baselines as baselines
from tests.benchmarks.selection_baselines import Baseline


@dataclass(frozen=True)
class Policy:
    """One way to select.

    Args:
        baseline (`Callable`, *optional*): All documents in the order they are bought, no clusters.
        bandit (`Callable[[], Bandit]`, *optional*): Makes the bandit over clusters.
        rewards (`tuple[RewardFunction, ...]`): What pays it.
        order (`str`): Inside a cluster: `"random"`, `"nearest"` or `"value"`.
        learns (`bool`): Whether the value model learns from what documents gave.
        unscaled_alpha (`float`, *optional*): UCB's α for rewards that are not put on a common scale.
        grades (`str`, *optional*): What pairs carry as the extracting model's grade: `"graded"`, a grader's that errs;
            `"oracle"`, what the labels say.
        terms (`bool`): Whether documents are seen by their terms, too.
        answer_length (`bool`): Whether the likeness of pairs looks at the length of answers, too.
        settings (`Mapping[str, object]`): Further arguments of the [`Selector`].
    """

    baseline: Baseline | None = None
    bandit: Callable[[], Bandit] | None = None
    rewards: tuple[RewardFunction, ...] = (transport_reward,)
    order: str = "random"
    learns: bool = True
    unscaled_alpha: float | None = None
    grades: str | None = None
    terms: bool = True
    answer_length: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)


def _by_value(bandit: Callable[[], Bandit], **changes) -> Policy:
    return Policy(**{"bandit": bandit, "rewards": (value_reward,), "order": "value"} | changes)


# Always compared.
BASELINES: dict[str, Policy] = {
    "uniform": Policy(bandit=Uniform),
    "nearest-mean": Policy(baselines.nearest_mean),
    "nearest-5": Policy(baselines.nearest_five),
    "bm25": Policy(baselines.bm25),
    "round-robin": Policy(baselines.round_robin),
    "classifier": Policy(baselines.classifier),
    "paper": Policy(bandit=lambda: UCB(prior_weight=0.0, neighbour_radius=0.2), unscaled_alpha=0.001),
    "cal": Policy(baselines.cal),
}
# Compared where there is a grader.
GRADED: dict[str, Policy] = {
    "cal-graded": Policy(baselines.cal_graded, grades="graded"),
    "cal-oracle": Policy(baselines.cal_oracle, grades="oracle"),
    "ours-graded": _by_value(UCB, grades="graded"),
    "ours-oracle": _by_value(UCB, grades="oracle"),
}
POLICIES: dict[str, Policy] = BASELINES | {
    "ours": _by_value(UCB),
    # What each part buys, from the paper's method upwards.
    "ucb-cold": Policy(bandit=lambda: UCB(prior_weight=0.0)),
    "ucb-prior": Policy(bandit=UCB),
    "ucb-nearest": Policy(bandit=UCB, order="nearest"),
    "ucb-debiased": Policy(bandit=UCB, order="nearest", rewards=(debiased_transport_reward,)),
    "ucb-pooled": Policy(bandit=UCB, order="nearest", rewards=(pooled_transport_reward,)),
    "ucb-marginal": Policy(bandit=UCB, order="nearest", rewards=(transport_reward, marginal_transport_reward)),
    "thompson-nearest": Policy(bandit=Thompson, order="nearest"),
    "linucb-nearest": Policy(bandit=LinUCB, order="nearest"),
    "exp3-nearest": Policy(bandit=EXP3, order="nearest"),
    "greedy-nearest": Policy(bandit=Greedy, order="nearest"),
    "ucb-value-order": Policy(bandit=UCB, order="value"),
    "value-unlearned": _by_value(Greedy, learns=False),
    "value-greedy": _by_value(Greedy),
    "value-thompson": _by_value(Thompson),
    "value-linucb": _by_value(LinUCB),
    "value-exp3": _by_value(EXP3),
    "value-transport": _by_value(UCB, rewards=(transport_reward, value_reward)),
    "ours-greedy": _by_value(Greedy),
    "ours-explore-0": _by_value(UCB, settings={"explore": 0.0}),
    "ours-explore-10": _by_value(UCB, settings={"explore": 0.1}),
    "ours-by-cluster": _by_value(UCB, settings={"draw_by": "cluster"}),
    "ours-answer-length": _by_value(UCB, answer_length=True),
    "ours-nearness": _by_value(UCB, settings={"pair_values": ["nearness"]}),
    "ours-nearest": _by_value(UCB, settings={"pair_values": ["nearest"]}),
    "ours-no-terms": _by_value(UCB, terms=False),
    "ours-costless": _by_value(UCB, settings={"costs": None}),
    "value-marginal": _by_value(UCB, rewards=(value_reward, marginal_transport_reward)),
}
