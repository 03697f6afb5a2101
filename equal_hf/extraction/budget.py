"""Which documents may be sent under an allowance, decided so that the allowance is never passed.

A document's *worst case* is the most tokens it can use. Documents are decided in the order they were drawn:

- it **goes** if what is used, plus the worst cases of documents that are still out, plus its own fits the allowance;
- it is **refused** if what is used plus its own worst case does not fit, since use only grows;
- otherwise it **waits** until a document comes back, and is decided again; no later document is decided before it.

Tokens count for every reply that is used, stored or new; money for what is paid now. An attempt that got no answer may
have been generated and billed all the same: it counts as what the server says, or as its worst case, and trying again
takes another reservation.

As nothing uses more than its worst case, a document goes if and only if the real use of all before it plus its own
worst case fits. So which documents go does not depend on which reply came first.

>>> admission = Admission(Allowance(prompt_tokens=100))
>>> admission.decide(Usage(60)), admission.decide(Usage(60)), admission.decide(Usage(101))
('go', 'wait', 'refused')
>>> admission.settle(Usage(60), Usage(35))
>>> admission.decide(Usage(60))
'go'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Literal

from equal_hf.errors import ConfigError
from equal_hf.types import Allowance, Usage

Verdict = Literal["go", "wait", "refused"]
NANO = 1_000_000_000
TIERS = ("flex", "batch", "priority")  # service tiers of a price of their own


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of an endpoint, in any one currency. Costs are whole billionths, so sums are exact.

    A thinking model's reasoning tokens are completion tokens, and cost the same. The most that a request can cost is
    the cost of its worst case, of which no token is cached.

    >>> prices = Prices(prompt=0.5, completion=1.5, cached=0.05)
    >>> prices.cost(Usage(1_000_000, 1_000_000)) == nano(2.0)
    True
    >>> prices.cost(Usage(1_000_000, 1_000_000, cached_tokens=1_000_000), "batch") == nano(0.775)
    True

    Args:
        prompt (`float`): Price of a million prompt tokens.
        completion (`float`): Price of a million completion tokens.
        cached (`float`, *optional*): Price of a million prompt tokens that the provider had cached; `prompt` if unset.
        flex, batch, priority (`float`): What a request of that service tier costs, as a share of the full price.

    Raises:
        [`ConfigError`]: If one is below 0, or `cached` above `prompt`.
    """

    prompt: float = 0.0
    completion: float = 0.0
    cached: float | None = None
    flex: float = 0.5
    batch: float = 0.5
    priority: float = 2.0

    def __post_init__(self) -> None:
        for name in ("prompt", "completion", "cached"):
            price = getattr(self, name)
            if price is not None and not 0 <= price < math.inf:
                raise ConfigError(f"`price_per_million_{name}_tokens` is {price}. Set it to 0 or more.")
        for name in TIERS:
            if not 0 <= (factor := getattr(self, name)) < math.inf:
                raise ConfigError(f"`price_factor_{name}` is {factor}. Set it to 0 or more.")
        if self.cached is not None and self.cached > self.prompt:
            raise ConfigError(
                f"`price_per_million_cached_tokens` is {self.cached}, above `price_per_million_prompt_tokens`, which "
                f"is {self.prompt}. Set it to at most that, or leave it out."
            )

    @property
    def free(self) -> bool:
        """Whether nothing costs anything."""
        return not (self.prompt or self.completion)

    def or_listed(self, listed: Sequence[Mapping[str, float] | None]) -> Prices:
        """These prices; where they are not set, the dearest that the endpoints list, if all of them list some.

        Args:
            listed (`Sequence[Mapping[str, float]]`): Prices of a million tokens by kind, one mapping an endpoint.

        >>> Prices(batch=0.4).or_listed([{"prompt": 1.0, "completion": 2.0}, {"prompt": 0.5, "completion": 3.0}])
        Prices(prompt=1.0, completion=3.0, cached=None, flex=0.5, batch=0.4, priority=2.0)
        """
        told = [prices for prices in listed if prices]
        if not self.free or not told or len(told) != len(listed):
            return self
        prompt, completion = (max(prices.get(name, 0.0) for prices in told) for name in ("prompt", "completion"))
        cached = max(prices.get("cached", prompt) for prices in told)
        return replace(self, prompt=prompt, completion=completion, cached=cached if cached < prompt else None)

    def cost(self, usage: Usage, tier: str = "") -> int:
        """Billionths of the currency, rounded up for each request.

        Args:
            usage ([`Usage`]): Tokens of one request.
            tier (`str`, *optional*, defaults to `""`): The service tier it is answered at, one of `TIERS`; any
                other is at the full price.
        """
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        full = (
            (usage.prompt_tokens - cached) * _exact(self.prompt)
            + cached * _exact(self.prompt if self.cached is None else self.cached)
            + usage.completion_tokens * _exact(self.completion)
        )
        factor = getattr(self, tier) if tier in TIERS else 1
        return math.ceil(full * _exact(factor) * NANO / 1_000_000)


@cache
def _exact(amount: float) -> Fraction:
    """The number as it is written: 0.1 is a tenth, so that costs are what a bill says."""
    return Fraction(str(amount))


def nano(amount: float, *, up: bool = False) -> int:
    """An amount of money in billionths: rounded down, as befits a cap, or up, as befits what is paid."""
    exact = Fraction(str(amount)) * NANO
    return math.ceil(exact) if up else math.floor(exact)


class Admission:
    """The books of one allowance: what is used, and what is reserved for documents that are out.

    Args:
        allowance (`Allowance`, *optional*): The limit; `None` lets everything go.
    """

    def __init__(self, allowance: Allowance | None = None) -> None:
        self.allowance = allowance or Allowance()
        self.used = Usage()
        self.paid = 0
        self._reserved = Usage()
        self._reserved_cost = 0

    def decide(self, worst: Usage, worst_cost: int = 0) -> Verdict:
        """Decide the next document in draw order; `"go"` reserves its worst case.

        Args:
            worst (`Usage`): The most it can use.
            worst_cost (`int`, *optional*, defaults to `0`): The most it can cost, in billionths of the currency.

        Returns:
            `str`: `"go"`, `"wait"` or `"refused"`.
        """
        fits = self.allowance.holds
        if fits(self.used + self._reserved + worst, self.paid + self._reserved_cost + worst_cost):
            self._reserved += worst
            self._reserved_cost += worst_cost
            return "go"
        return "wait" if fits(self.used + worst, self.paid + worst_cost) else "refused"

    def move(self, usage: Usage, cost: int) -> None:
        """Take in what was set aside elsewhere, to be reserved here: the allowance grows by it.

        Args:
            usage ([`Usage`]): Tokens; below 0 to give it back.
            cost (`int`): Billionths of the currency.
        """
        allowance = self.allowance
        self.allowance = Allowance(
            None if allowance.prompt_tokens is None else allowance.prompt_tokens + usage.prompt_tokens,
            None if allowance.completion_tokens is None else allowance.completion_tokens + usage.completion_tokens,
            None if allowance.cost is None else allowance.cost + cost,
        )

    def settle(self, worst: Usage, used: Usage, worst_cost: int = 0, paid: int = 0) -> None:
        """Book what a document that went really used and cost, and free the rest of its reservation.

        Args:
            worst (`Usage`): What was reserved for it.
            used (`Usage`): What it used.
            worst_cost (`int`, *optional*, defaults to `0`): The cost that was reserved for it.
            paid (`int`, *optional*, defaults to `0`): What it cost.
        """
        self._reserved -= worst
        self._reserved_cost -= worst_cost
        self.used += used
        self.paid += paid

    def more(self, usage: Usage, cost: int) -> bool:
        """Reserve more than a document's worst case, to send a request again; at once or not at all.

        Args:
            usage (`Usage`): Tokens.
            cost (`int`): Billionths of the currency.

        Returns:
            `bool`: Whether it fits.
        """
        if self.allowance.holds(self.used + self._reserved + usage, self.paid + self._reserved_cost + cost):
            self._reserved += usage
            self._reserved_cost += cost
            return True
        return False
