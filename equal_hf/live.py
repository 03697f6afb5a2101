"""One live view of a run on a terminal; plain lines, one a round, where there is none.

>>> view = RunView(CollectorConfig(num_rounds=4, max_documents=40), "EQUAL")
>>> print(view.line({"equal/round": 0, "equal/pairs": 9, "equal/documents": 10, "equal/documents_total": 10}))
EQUAL round 1/4: 10 documents (10 of 40), 9 pairs
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from equal_hf.config import CollectorConfig

logger = logging.getLogger(__name__)

_PREFIX = "equal/dropped/"


class RunView:
    """Shows where a run is: rounds, what was spent of each budget, pairs kept and dropped, rewards, time left.

    Args:
        config ([`CollectorConfig`]): The run's budgets.
        name (`str`): What the run is called.
        enabled (`bool`, *optional*, defaults to `True`): `False` on processes that say nothing.
        in_flight (`Callable`, *optional*): Tells how many requests are under way.
    """

    def __init__(
        self, config: CollectorConfig, name: str, enabled: bool = True, in_flight: Callable[[], int] | None = None
    ) -> None:
        self.config, self.name, self.enabled, self.in_flight = config, name, enabled, in_flight
        self._metrics: Mapping[str, float] = {}
        self._dropped: Counter[str] = Counter()
        self._began = time.monotonic()
        self._first: float | None = None  # documents that were on record before this process
        self._live: Any = None

    def __enter__(self) -> RunView:
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True), get_renderable=self._render, refresh_per_second=2, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, metrics: Mapping[str, float]) -> None:
        """Show a round.

        Args:
            metrics (`Mapping[str, float]`): From [`equal_hf.tracking.round_metrics`].
        """
        if self._first is None:
            self._first = metrics.get("equal/documents_total", 0) - metrics.get("equal/documents", 0)
        self._metrics = metrics
        for name, count in metrics.items():
            if name.startswith(_PREFIX):
                self._dropped[name.removeprefix(_PREFIX)] += int(count)
        if self.enabled:
            logger.info("%s", self.line(metrics))

    def line(self, metrics: Mapping[str, float]) -> str:
        """One round in one line."""
        parts = [f"{metrics.get('equal/documents', 0):,.0f} documents ({self._of('documents', metrics)})"]
        parts.append(f"{metrics.get('equal/pairs', 0):,.0f} pairs")
        for name, label in (("reward/mixed/mean", "reward"), ("eval_loss", "evaluation loss")):
            if (value := metrics.get(f"equal/{name}")) is not None:
                parts.append(f"{label} {value:.4f}")
        return f"{self.name} round {metrics['equal/round'] + 1:.0f}/{self.config.planned_rounds}: {', '.join(parts)}"

    def time_left_s(self) -> float | None:
        """Seconds left at the pace so far, by documents or rounds, whichever ends first; `None` before the first."""
        done = self._metrics.get("equal/documents_total", 0) - (self._first or 0)
        if not done:
            return None
        whole = self.config.planned_rounds * self.config.arms_per_round * self.config.documents_per_arm
        whole = min(whole, self.config.max_documents or whole)
        return max(0.0, whole - self._metrics["equal/documents_total"]) * (time.monotonic() - self._began) / done

    def _of(self, name: str, metrics: Mapping[str, float] | None = None) -> str:
        total = (self._metrics if metrics is None else metrics).get(f"equal/{name}_total", 0)
        most = getattr(self.config, f"max_{name}")
        return f"{total:,.10g}" + ("" if most is None else f" of {most:,}")

    def _render(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        metrics, grid = self._metrics, Table.grid(padding=(0, 2))
        rows = {"round": f"{metrics.get('equal/round', -1) + 1:.0f} of {self.config.planned_rounds}"}
        rows |= {
            name.replace("_", " "): self._of(name) for name in ("documents", "prompt_tokens", "completion_tokens")
        }
        if "equal/cost_total" in metrics:
            rows["money"] = self._of("cost")
        rows["pairs"] = f"{metrics.get('equal/pairs_total', 0):,.0f}"
        if self._dropped:
            rows["dropped"] = ", ".join(f"{name} {count:,}" for name, count in self._dropped.most_common(4))
        for name, label in (("reward/mixed/mean", "reward"), ("eval_loss", "evaluation loss")):
            if (value := metrics.get(f"equal/{name}")) is not None:
                rows[label] = f"{value:.4f}"
        if self.in_flight is not None:
            rows["in flight"] = f"{self.in_flight()} requests"
        took, left = time.monotonic() - self._began, self.time_left_s()
        done = metrics.get("equal/documents_total", 0) - (self._first or 0)
        rows["speed"] = f"{60 * done / took:,.1f} documents a minute" if done else "-"
        rows["time"] = _clock(took) + ("" if left is None else f", about {_clock(left)} left")
        for label, text in rows.items():
            grid.add_row(Text(label, style="dim"), Text(text))
        return grid


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
