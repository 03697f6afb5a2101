"""What a provider would charge for the requests that its stand-in has answered: tokens of every kind, and money.

>>> bill = Bill(Rates(prompt=2.0, cached=0.5, completion=8.0))
>>> bill.add("2026-11-26", "gpt-4.1", "default", Tokens(prompt=1500, cached=1024, completion=100, reasoning=40))
2264000
>>> bill.total
Line(requests=1, prompt=1500, cached=1024, completion=100, reasoning=40, cost=2264000)
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields
from fractions import Fraction
from pathlib import Path

NANO_PER_MILLIONTH = 1000


@dataclass(frozen=True)
class Rates:
    """Prices of a million tokens, in any one currency.

    Args:
        prompt (`float`): Of the prompt, as far as it was not cached.
        completion (`float`): Of the reply, what the model thought included.
        cached (`float`, *optional*): Of the cached part of a prompt; the prompt's price where left out.
        tiers (`dict[str, float]`): By what a service tier multiplies all of them.
    """

    prompt: float = 0.0
    completion: float = 0.0
    cached: float | None = None
    tiers: Mapping[str, float] = field(default_factory=lambda: {"flex": 0.5, "batch": 0.5, "priority": 2.0})


@dataclass(frozen=True)
class Tokens:
    """Tokens of one request: `cached` is part of `prompt`, and `reasoning` is part of `completion`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Line:
    """A line of the bill, or several added up. `cost` is in billionths of the currency."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    cost: int = 0

    def __add__(self, other: Line) -> Line:
        return Line(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Bill:
    """One line for each day, model and service tier. Only the cost of a request is rounded, up to a billionth."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.lines: dict[tuple[str, str, str], Line] = defaultdict(Line)

    def cost(self, tokens: Tokens, tier: str = "default") -> int:
        """Billionths of the currency that one request costs."""
        rates = self.rates
        cached = rates.prompt if rates.cached is None else rates.cached
        # The shortest decimal of a price is what its maker wrote.
        prompt, cached, completion = (Fraction(str(price)) for price in (rates.prompt, cached, rates.completion))
        full = (tokens.prompt - tokens.cached) * prompt + tokens.cached * cached + tokens.completion * completion
        return math.ceil(full * Fraction(str(rates.tiers.get(tier, 1))) * NANO_PER_MILLIONTH)

    def add(self, day: str, model: str, tier: str, tokens: Tokens) -> int:
        """Charge for one request, and say how much."""
        cost = self.cost(tokens, tier)
        self.lines[day, model, tier] += Line(1, *astuple(tokens), cost)
        return cost

    def correct(self, day: str, model: str, tier: str, charged: Tokens, used: Tokens) -> None:
        """Charge for what was used in place of what was charged for."""
        before, after = (Line(0, *astuple(tokens), self.cost(tokens, tier)) for tokens in (charged, used))
        self.lines[day, model, tier] += Line(*(b - a for a, b in zip(astuple(before), astuple(after), strict=True)))

    @property
    def total(self) -> Line:
        """All lines added up."""
        return sum(self.lines.values(), Line())

    def rows(self) -> list[dict[str, str | int]]:
        """The lines as records: `day` (ISO, UTC), `model`, `tier`, and the fields of [`Line`]."""
        names = [one.name for one in fields(Line)]
        return [
            {"day": day, "model": model, "tier": tier} | dict(zip(names, astuple(line), strict=True))
            for (day, model, tier), line in sorted(self.lines.items())
        ]

    def write_csv(self, path: Path) -> None:
        """Export it, as a provider's page of costs does: `amount` is in whole units of the currency."""
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["date", "model", "service_tier", "requests", "input_tokens", "output_tokens", "amount"])
            for row in self.rows():
                amount = f"{row['cost'] // 10**9}.{row['cost'] % 10**9:09d}"
                rows.writerow(
                    [row["day"], row["model"], row["tier"], row["requests"], row["prompt"], row["completion"], amount]
                )
