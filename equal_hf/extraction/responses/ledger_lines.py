"""The ledger of a response store, added up by run, endpoint, day, model, service tier.

>>> line = LedgerLine("run", "2026-11-26", "https://host", "org/m", "flex", "answered", Usage(9, 2, 1), 30)
>>> (total,) = add_up([line, line], "day", "model")
>>> total.day, total.model, total.run, total.usage.prompt_tokens, total.cost
('2026-11-26', 'org/m', '', 18, 60)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from equal_hf.extraction.budget import NANO
from equal_hf.types import Usage

_KEYS = ("run", "day", "endpoint", "model", "tier", "state")
LINES = f"""
SELECT {", ".join(_KEYS)}, sum(prompt_tokens), sum(completion_tokens), count(*), sum(cached_tokens),
    sum(reasoning_tokens), sum(cost)
FROM attempts WHERE run = coalesce(?, run) GROUP BY {", ".join(_KEYS)} ORDER BY min(sent_unix_s)
"""


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """Attempts of the ledger, added up.

    Args:
        run (`str`): Who paid.
        day (`str`): The day of UTC on which they ended, as `2026-11-26`.
        endpoint (`str`): Where they went, as it may be shown; empty where that is not known.
        model (`str`): Model id.
        tier (`str`): `"flex"`, `"batch"`, `"priority"`, or empty for the full price.
        state (`str`): `"answered"`; `"lost"` or `"sent"` where no answer came, at what they can have used at most.
        usage ([`Usage`]): Tokens and attempts.
        cost (`int`): Billionths of the currency.
    """

    run: str
    day: str
    endpoint: str
    model: str
    tier: str
    state: str
    usage: Usage
    cost: int

    def __add__(self, other: LedgerLine) -> LedgerLine:
        return replace(self, usage=self.usage + other.usage, cost=self.cost + other.cost)

    def row(self) -> dict[str, Any]:
        """Its numbers as JSON types, with the cost in the currency."""
        return {**asdict(self.usage), "cost": self.cost / NANO}

    @classmethod
    def read(cls, row: tuple[Any, ...]) -> LedgerLine:
        """A row of the query `LINES`."""
        run, day, endpoint, model, tier, state, *counts, cost = row
        return cls(run, day, endpoint, model, tier, state, Usage(*counts), cost)


def add_up(lines: Iterable[LedgerLine], *by: str) -> list[LedgerLine]:
    """One line for each combination of these, in the order in which they come first; all else is left empty.

    Args:
        lines (`Iterable[LedgerLine]`): The lines.
        *by (`str`): Names of fields.
    """
    totals: dict[tuple[str, ...], LedgerLine] = {}
    for line in lines:
        blank: Any = {name: "" for name in _KEYS if name not in by}
        kept = replace(line, **blank)
        key = tuple(getattr(line, name) for name in by)
        totals[key] = totals[key] + kept if key in totals else kept
    return list(totals.values())


def money_rows(lines: Iterable[LedgerLine]) -> list[tuple[str, float]]:
    """What was spent in all, on each day, at each endpoint and without a reply, as rows to show: what, and how much in
    the currency. Nothing where nothing cost anything.

    Args:
        lines (`Iterable[LedgerLine]`): The lines.
    """
    lines = [line for line in lines if line.cost]
    rows = [("money paid", line) for line in add_up(lines)]
    rows += [(f"money paid on {line.day}", line) for line in sorted(add_up(lines, "day"), key=lambda line: line.day)]
    rows += [(f"money paid to {line.endpoint or 'an endpoint'}", line) for line in add_up(lines, "endpoint")]
    unanswered = [line for line in lines if line.state != "answered"]
    rows += [("of it for requests without a reply, at most", line) for line in add_up(unanswered)]
    return [(name, line.cost / NANO) for name, line in rows]
