"""What tokens cost, in whole billionths of the currency: sums are exact, and a cap is kept to the last digit.

>>> prices = Prices(prompt=0.5, completion=1.5)
>>> prices.cost(Usage(1_000_000, 1_000_000)) == nano(2.0)
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from equal_hf.errors import ConfigError
from equal_hf.types import Usage

NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of an endpoint, in any one currency.

    Args:
        prompt (`float`): Price of a million prompt tokens.
        completion (`float`): Price of a million completion tokens.

    Raises:
        [`ConfigError`]: If one is below 0.
    """

    prompt: float = 0.0
    completion: float = 0.0

    def __post_init__(self) -> None:
        for name in ("prompt", "completion"):
            if not (price := getattr(self, name)) >= 0:
                raise ConfigError(f"`price_per_million_{name}_tokens` is {price}. Set it to 0 or more.")

    def cost(self, usage: Usage) -> int:
        """Billionths of the currency, rounded up for each request.

        Args:
            usage ([`Usage`]): Tokens of one request.
        """
        per_token = NANO / 1_000_000
        return math.ceil((usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) * per_token)


def nano(amount: float) -> int:
    """An amount of money in billionths, rounded down, as befits a cap."""
    return math.floor(amount * NANO)
