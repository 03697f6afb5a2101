"""Settings of the selection: the policy, and the rewards that pay it.

>>> config = SelectionConfig(bandit="thompson", reward_funcs=["transport"])
>>> type(config.make_bandit()).__name__, [reward_name(function) for function in config.make_rewards()]
('Thompson', ['transport'])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from equal_hf.errors import ConfigError
from equal_hf.extraction.budget import Prices
from equal_hf.selection.bandits import UCB, Bandit, Greedy, Thompson, Uniform
from equal_hf.selection.experimental.exp3 import EXP3
from equal_hf.selection.experimental.influence import influence_reward
from equal_hf.selection.experimental.linucb import LinUCB
from equal_hf.selection.experimental.loss_attribution import loss_attribution_reward
from equal_hf.selection.experimental.transport_rewards import (
    debiased_transport_reward,
    marginal_transport_reward,
    pooled_transport_reward,
)
from equal_hf.selection.neighbours import NEIGHBOURS
from equal_hf.selection.rewards import (
    RewardFunction,
    current_reward_name,
    loss_drop_reward,
    per_cost,
    per_token,
    reward_name,
    transport_reward,
    value_reward,
    yield_reward,
)
from equal_hf.utils.effective import AllNeeds, Unless
from equal_hf.utils.settings import check_settings, setting
from equal_hf.utils.typed_values import Range

BANDITS = ("ucb", "thompson", "linucb", "exp3", "greedy", "uniform", "paper")
REWARD_FUNCTIONS: dict[str, RewardFunction] = {
    reward_name(function): function
    for function in (
        value_reward,
        transport_reward,
        debiased_transport_reward,
        pooled_transport_reward,
        marginal_transport_reward,
        yield_reward,
        per_token(value_reward),
        per_token(yield_reward),
        loss_drop_reward,
        loss_attribution_reward,
        influence_reward,
    )
}
PER_COST = "_per_cost"  # these rewards divide by what the endpoint charges
REWARDS = (*REWARD_FUNCTIONS, f"value{PER_COST}", f"yield{PER_COST}")


@dataclass
class SelectionConfig:
    """Which policy selects clusters, and which rewards pay it. Each field says what it is."""

    needs: ClassVar[AllNeeds] = {
        "alpha": {"bandit": ["ucb", "linucb"]},
        "prior_weight": {"bandit": ["ucb", "thompson"]},
        "neighbour_radius": {"bandit": ["ucb", "thompson"]},
        "neighbours": {"bandit": ["ucb", "thompson"], "neighbour_radius": Unless((0,))},
        "bandit_discount": {"bandit": ["ucb", "thompson", "linucb", "exp3"]},
    }

    bandit: str = setting("ucb", "Policy that selects clusters.", BANDITS)
    alpha: Annotated[float, Range(0)] = setting(0.1, "Exploration weight of `ucb` and `linucb`.")
    prior_weight: Annotated[float, Range(0)] = setting(
        10.0, "Number of rewards that the expected value of a cluster counts for, in `ucb` and `thompson`; 0 for none."
    )
    neighbour_radius: Annotated[float, Range(0)] = setting(
        0.0, "Distance within which clusters share rewards, in `ucb` and `thompson`; 0 shares nothing."
    )
    neighbours: str = setting(
        "bures",
        "How clusters share rewards: `bures`, wholly within that Bures-Wasserstein distance; `centroid`, by a "
        "Gaussian kernel of that width on the distance of centroids.",
        NEIGHBOURS,
    )
    bandit_discount: Annotated[float, Range(above=0, max=1)] = setting(
        1.0, "Weight that rewards keep from round to round; below 1 for rewards that drift."
    )
    reward_funcs: list[str] = setting(["value"], f"Rewards that pay clusters: {', '.join(REWARDS)}.")

    def __post_init__(self) -> None:
        check_settings(self, only=SelectionConfig)
        self.reward_funcs = [current_reward_name(name) for name in self.reward_funcs]
        if unknown := [name for name in self.reward_funcs if name not in REWARDS]:
            raise ConfigError(f"`reward_funcs` names {', '.join(unknown)}: choose from {', '.join(REWARDS)}")

    def make_bandit(self, name: str | None = None) -> Bandit:
        """The policy.

        Args:
            name (`str`, *optional*): The policy of a control, instead of `bandit`.
        """
        makers: dict[str, Callable[[], Bandit]] = {
            "ucb": lambda: UCB(
                self.alpha, self.prior_weight, self.neighbour_radius, self.bandit_discount, self.neighbours
            ),
            "thompson": lambda: Thompson(
                prior_weight=self.prior_weight,
                neighbour_radius=self.neighbour_radius,
                discount=self.bandit_discount,
                neighbours=self.neighbours,
            ),
            "linucb": lambda: LinUCB(self.alpha, discount=self.bandit_discount),
            "exp3": lambda: EXP3(discount=self.bandit_discount),
            "greedy": Greedy,
            # arXiv 2505.12250: no expectations, so it draws by cluster.
            "paper": lambda: UCB(0.001, prior_weight=0.0, neighbour_radius=0.2),
            "uniform": Uniform,
        }
        return makers[name or self.bandit]()

    def make_rewards(self, prices: Prices | None = None) -> list[RewardFunction]:
        """The reward functions.

        Args:
            prices ([`Prices`], *optional*): What tokens cost, for rewards per cost.

        Raises:
            [`ConfigError`]: If a reward is paid per cost and there is no price.
        """
        prices = prices or Prices()
        return [
            per_cost(REWARD_FUNCTIONS[name.removesuffix(PER_COST)], prices.prompt, prices.completion)
            if name.endswith(PER_COST)
            else REWARD_FUNCTIONS[name]
            for name in self.reward_funcs
        ]
