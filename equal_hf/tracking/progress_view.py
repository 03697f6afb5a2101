"""One live view of a run on a terminal; plain lines, one a round, where there is none.

>>> view = ProgressView(CollectorConfig(num_rounds=4, max_documents=40), "quickstart")
>>> print(view.line({"equal/round": 0, "equal/pairs": 9, "equal/documents": 10, "equal/documents_total": 10}))
quickstart round 0 (1 of 4): 10 documents (10 of 40), 9 pairs
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from equal_hf.collection.config import CollectorConfig
from equal_hf.utils.waiting import current, duration, show_elsewhere

logger = logging.getLogger(__name__)

_PREFIX = "equal/dropped/"


class ProgressView:
    """Shows where a run is: rounds, what was spent of each budget, pairs kept and dropped, rewards, time left.

    Args:
        config ([`CollectorConfig`]): The run's budgets.
        name (`str`): What the run is called.
        enabled (`bool`, *optional*, defaults to `True`): `False` on processes that say nothing.
        extractor (`Extractor`, *optional*): Asked for `in_flight` and `progress`, if it has them.
    """

    def __init__(self, config: CollectorConfig, name: str, enabled: bool = True, extractor: Any = None) -> None:
        self.config, self.name, self.enabled, self.extractor = config, name, enabled, extractor
        self.steps: tuple[int, int] | None = None  # optimizer steps done, and in all
        self._metrics: Mapping[str, float] = {}
        self._dropped: Counter[str] = Counter()
        self._began = time.monotonic()
        self._first: float | None = None  # documents that were on record before this process
        self._live: Any = None

    @property
    def is_live(self) -> bool:
        """Whether it is on a terminal now."""
        return self._live is not None

    def __enter__(self) -> ProgressView:
        self._began = time.monotonic()
        if self.enabled and self._live is None and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            # What others write to the terminal meanwhile goes above it.
            self._live = Live(
                console=Console(stderr=True), get_renderable=self._render, refresh_per_second=2, transient=True
            )
            self._live.start()
            show_elsewhere(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            show_elsewhere(False)
            self._live.stop()
            self._live = None

    def trained(self, done: int, steps: int) -> None:
        """Show the optimizer steps done, and how many there will be."""
        first, self.steps = self.steps is None, (done, steps)
        if first and self._live is not None:
            self._live.refresh()  # a short training may be over before the next time

    def show(
        self, metrics: Mapping[str, float], best: tuple[int, float] | None = None, *, recorded: bool = False
    ) -> None:
        """Show a round.

        Args:
            metrics (`Mapping[str, float]`): From [`equal_hf.tracking.metrics.round_metrics`].
            best (`tuple[int, float]`, *optional*): The cluster that paid most, and its reward.
            recorded (`bool`, *optional*, defaults to `False`): It was on record before this process, which takes no
                time and is not said again.
        """
        if self._first is None and not recorded:
            self._first = metrics.get("equal/documents_total", 0) - metrics.get("equal/documents", 0)
        self._metrics = metrics
        for name, count in metrics.items():
            if name.startswith(_PREFIX):
                self._dropped[name.removeprefix(_PREFIX)] += int(count)
        if self.enabled and not recorded:
            left = self.time_left_s()
            logger.info("%s%s", self.line(metrics, best), f", about {duration(left)} left" if left else "")

    def line(self, metrics: Mapping[str, float], best: tuple[int, float] | None = None) -> str:
        """One round in one line."""
        parts = [f"{metrics.get('equal/documents', 0):,.0f} documents ({self._of('documents', metrics)})"]
        useful = metrics.get("equal/useful_pairs")
        parts.append(
            f"{metrics.get('equal/pairs', 0):,.0f} pairs" + ("" if useful is None else f" ({useful:,.0f} useful)")
        )
        for name, label in (("reward/mixed/mean", "mean mixed reward"), ("eval_loss", "evaluation loss")):
            if (value := metrics.get(f"equal/{name}")) is not None:
                parts.append(f"{label} {value:.4f}")
        if best is not None:
            parts.append(f"best cluster {best[0]} with {best[1]:.2f}")
        if (ahead := next_dollar(metrics)) is not None:
            parts.append(ahead)
        return f"{self.name} round {self._round(metrics)}: {', '.join(parts)}"

    def _round(self, metrics: Mapping[str, float]) -> str:
        """The round as records and folders number it, from 0, and how many are done of all."""
        index = int(metrics["equal/round"])
        return f"{index} ({index + 1} of {self.config.planned_rounds})"

    def time_left_s(self) -> float | None:
        """Seconds left at the pace so far, by documents or rounds, whichever ends first; `None` before the first."""
        if self._first is None or not (done := self._metrics["equal/documents_total"] - self._first):
            return None
        whole = self.config.planned_rounds * self.config.arms_per_round * self.config.documents_per_arm
        whole = min(whole, self.config.max_documents or whole)
        return max(0.0, whole - self._metrics["equal/documents_total"]) * (time.monotonic() - self._began) / done

    def _of(self, name: str, metrics: Mapping[str, float] | None = None) -> str:
        total = (self._metrics if metrics is None else metrics).get(f"equal/{name}_total", 0)
        most = getattr(self.config, "max_cost" if name == "cost_paid" else f"max_{name}")
        return f"{total:,.10g}" + ("" if most is None else f" of {most:,}")

    def _render(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        metrics, grid = self._metrics, Table.grid(padding=(0, 2))
        rows = {"round": self._round(metrics) if "equal/round" in metrics else f"0 of {self.config.planned_rounds}"}
        if "equal/arms_pulled" in metrics:
            rows["clusters"] = f"{metrics['equal/arms_pulled']:,.0f} pulled in the last round"
        rows |= {
            name.replace("_", " "): self._of(name) for name in ("documents", "prompt_tokens", "completion_tokens")
        }
        if "equal/cost_paid_total" in metrics:
            rows["money"] = self._of("cost_paid")
        rows["pairs"] = f"{metrics.get('equal/pairs_total', 0):,.0f}"
        if "equal/useful_pairs_total" in metrics:
            rows["useful pairs"] = f"{metrics['equal/useful_pairs_total']:,.0f}"
        if (ahead := next_dollar(metrics)) is not None:
            rows["forecast"] = ahead
        if self._dropped:
            rows["dropped"] = ", ".join(f"{name} {count:,}" for name, count in self._dropped.most_common(4))
        for name, label in (("reward/mixed/mean", "mean mixed reward"), ("eval_loss", "evaluation loss")):
            if (value := metrics.get(f"equal/{name}")) is not None:
                rows[label] = f"{value:.4f}"
        if (progress := getattr(self.extractor, "progress", None)) is not None:
            rows["extracting"] = "{:,} of {:,} documents of this round".format(*progress)
        if (in_flight := getattr(self.extractor, "in_flight", None)) is not None:
            rows["in flight"] = f"{in_flight:,} requests"
        if self.steps is not None:
            rows["training"] = "step {:,} of {:,}".format(*self.steps)
        took, left = time.monotonic() - self._began, self.time_left_s()
        done = 0 if self._first is None else metrics["equal/documents_total"] - self._first
        rows["speed"] = f"{60 * done / took:,.1f} documents a minute" if done else "-"
        rows["time"] = _clock(took) + ("" if left is None else f", about {_clock(left)} left")
        if (waits := current()) is not None:
            rows["now"] = waits
        for label, text in rows.items():
            grid.add_row(Text(label, style="dim"), Text(text))
        return grid


def next_dollar(metrics: Mapping[str, float]) -> str | None:
    """What the rest of the budget buys, in words; `None` where nothing is forecast.

    >>> next_dollar(
    ...     {
    ...         "equal/forecast/found_share": 0.75,
    ...         "equal/forecast/next_100/useful": 30.0,
    ...         "equal/forecast/next_100/low": 21.0,
    ...         "equal/forecast/next_100/high": 40.0,
    ...     }
    ... )
    '21 to 40 more useful ones expected of the rest of the budget (75% found)'
    """
    if (share := metrics.get("equal/forecast/found_share")) is None:
        return None
    low, high = (metrics[f"equal/forecast/next_100/{name}"] for name in ("low", "high"))
    return f"{low:,.0f} to {high:,.0f} more useful ones expected of the rest of the budget ({share:.0%} found)"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
