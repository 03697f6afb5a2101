"""What a run has left to spend, in tokens and in money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from equal_hf.collection.config import CollectorConfig
from equal_hf.collection.run_end import left_of
from equal_hf.errors import ConfigError
from equal_hf.extraction.budget import NANO, Prices, nano
from equal_hf.extraction.protocol import PaidExtractor
from equal_hf.extraction.responses.ledger_lines import add_up
from equal_hf.selection.document_costs import DocumentCosts
from equal_hf.types import Allowance, QAPair, Usage

if TYPE_CHECKING:
    from equal_hf.extraction.protocol import Extractor
    from equal_hf.records.history import History


def share_cost(extracted: Sequence[QAPair], kept: Sequence[QAPair]) -> list[QAPair]:
    """The pairs kept of a document, which bear the cost of those that were rejected after the same replies.

    Args:
        extracted (`Sequence[QAPair]`): All pairs of the document.
        kept (`Sequence[QAPair]`): Those of them that are kept.

    >>> pairs = [QAPair(f"Question {n}?", "Answer.", "d1", span=(0, 9), cost=0.25) for n in range(4)]
    >>> [pair.cost for pair in share_cost(pairs, pairs[:2])]
    [0.5, 0.5]
    """
    before, after = Counter(pair.span for pair in extracted), Counter(pair.span for pair in kept)
    return [
        replace(pair, cost=pair.cost * before[pair.span] / after[pair.span]) if pair.cost else pair for pair in kept
    ]


def document_costs(budget_in: str, limits: Mapping[str, Any], prices: Prices | None) -> DocumentCosts:
    """What the value of documents is weighed against.

    Args:
        budget_in (`str`): `"documents"`, `"tokens"`, `"money"`, or `"auto"` for the limit that is set.
        limits (`Mapping[str, Any]`): `max_cost`, `max_prompt_tokens` and `max_completion_tokens`.
        prices ([`Prices`], *optional*): What tokens cost.

    Raises:
        [`ConfigError`]: If it is money and nothing costs any.

    >>> document_costs("auto", {"max_cost": 1.0}, Prices(prompt=1.0, completion=4.0))
    DocumentCosts(document=0.0, prompt=1.0, completion=4.0)
    """
    if budget_in == "auto":
        tokens = limits.get("max_prompt_tokens") is not None or limits.get("max_completion_tokens") is not None
        budget_in = "money" if limits.get("max_cost") is not None else "tokens" if tokens else "documents"
    if budget_in == "documents":
        return DocumentCosts()
    if budget_in == "tokens":
        return DocumentCosts(0.0, 1.0, 1.0)
    if prices is None or prices.free:
        raise ConfigError(
            "`budget_in` is money but nothing costs anything: set `price_per_million_prompt_tokens` and "
            "`price_per_million_completion_tokens`, or `budget_in` to tokens"
        )
    return DocumentCosts(0.0, prices.prompt, prices.completion)


class Spending:
    """The hard limits of a run, and what its extractor has paid.

    Args:
        args ([`CollectorConfig`]): The limits.
        extractor ([`Extractor`]): Its ledger knows the money, if calls cost any.

    Raises:
        [`ConfigError`]: If money is limited and no endpoint is called.
    """

    def __init__(self, args: CollectorConfig, extractor: Extractor) -> None:
        self.args = args
        self._ledger = extractor if isinstance(extractor, PaidExtractor) else None
        self.on_record = 0  # rounds that were when the run was opened; their extraction is over
        self._told: dict[int, dict[str, float]] = {}  # by round
        if self._ledger is None:
            self.require_prices()

    def require_prices(self) -> None:
        """Raise where money is limited and nothing costs any; endpoints that list prices have to be contacted before.

        Raises:
            [`ConfigError`]: With the setting.
        """
        for name in ("max_cost", "max_cost_per_useful_pair"):
            if getattr(self.args, name) is not None and self.prices.free:
                raise ConfigError(
                    f"`{name}` is set but nothing costs anything: set `price_per_million_prompt_tokens` and "
                    "`price_per_million_completion_tokens`, and an extractor that calls an endpoint"
                )

    @property
    def prices(self) -> Prices:
        """Of tokens; nothing costs anything where no endpoint is called."""
        return Prices() if self._ledger is None else self._ledger.prices

    def allowance(self, used: Usage) -> Allowance | None:
        """What extraction may still use; `None` without a limit.

        Args:
            used ([`Usage`]): Tokens that the rounds so far used.
        """
        args = self.args
        if args.max_prompt_tokens is None and args.max_completion_tokens is None and args.max_cost is None:
            return None
        if self._ledger is not None:
            used += self._ledger.paid().lost  # a kill may have left some that no round knows of
        return Allowance(
            None if args.max_prompt_tokens is None else args.max_prompt_tokens - used.prompt_tokens,
            None if args.max_completion_tokens is None else args.max_completion_tokens - used.completion_tokens,
            None if args.max_cost is None else nano(args.max_cost) - self._paid(),
        )

    def spent(self, history: History) -> dict[str, float]:
        """What is spent, by the name of the limit.

        Args:
            history ([`History`]): The rounds so far.
        """
        used = history.usage + (Usage() if self._ledger is None else self._ledger.paid().lost)
        return {
            "num_rounds": history.rounds,
            "max_documents": history.documents,
            "max_prompt_tokens": used.prompt_tokens,
            "max_completion_tokens": used.completion_tokens,
            "max_cost": self._paid() / NANO,
        }

    def by_round(self, index: int) -> dict[str, float]:
        """What was paid by the end of a round, by the names that trackers use: as it is when this is asked first.

        Rounds that were on record when the run was opened are all told what was paid before this start.

        Args:
            index (`int`): The round.
        """
        index = max(index, self.on_record - 1)
        if index not in self._told:
            self._told[index] = self.totals()
        return self._told[index]

    def totals(self) -> dict[str, float]:
        """Money paid so far and tokens that were lost, by the names that trackers use; empty where calls cost none.

        Money is told by endpoint and by day too, where there are several.
        """
        if self._ledger is None:
            return {}
        lines = self._ledger.ledger()
        totals = {"cost_paid": sum(line.cost for line in lines) / NANO}
        for name in ("endpoint", "day"):
            if len(parts := add_up(lines, name)) > 1:
                totals |= {f"cost_paid/{getattr(line, name) or 'unknown'}": line.cost / NANO for line in parts}
        return totals | self.lost()

    def summary(self, history: History) -> dict[str, float]:
        """What the summary of a run tells of its spending beside prompt and completion tokens, where there is any.

        Args:
            history ([`History`]): The rounds.
        """
        usage = history.usage
        used = {"cached_tokens": usage.cached_tokens, "reasoning_tokens": usage.reasoning_tokens}
        told = {name: value for name, value in (used | self.totals()).items() if value}
        left = left_of(self.args, self.spent(history))
        return told | {name.replace("max_", "left_"): value for name, value in left.items()}

    def lost(self) -> dict[str, int]:
        """Tokens of requests that brought no reply although the server may have generated one; empty without any."""
        lost = Usage() if self._ledger is None else self._ledger.paid().lost
        counts = {"lost_requests": lost.requests, "lost_prompt_tokens": lost.prompt_tokens}
        counts |= {"lost_completion_tokens": lost.completion_tokens}
        return {name: count for name, count in counts.items() if count}

    def _paid(self) -> int:
        return 0 if self._ledger is None else self._ledger.paid().cost
