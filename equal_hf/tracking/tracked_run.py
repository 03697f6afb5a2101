"""A run without a trainer, told to trackers: the same names, tables and report as with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.publishing.hub import published
from equal_hf.records.json_files import write_json
from equal_hf.tracking.media import keeps_going
from equal_hf.tracking.metrics import round_metrics
from equal_hf.tracking.tables import RoundTables
from equal_hf.tracking.trackers import RunTracker, run_name
from equal_hf.types import Round

if TYPE_CHECKING:
    from equal_hf.collection.collector import EqualDataCollector


class TrackedRun:
    """Tells trackers of each round once, also over restarts.

    Args:
        collector ([`EqualDataCollector`]): The run, opened.
        report_to (`list[str]` or `str`): As of [`RunTracker`].
        project (`str`, *optional*, defaults to `"equal-hf"`): The project.
        kind (`str`, *optional*, defaults to `"equal"`): What tells the run from its control.
    """

    def __init__(
        self,
        collector: EqualDataCollector,
        report_to: Sequence[str] | str,
        *,
        project: str = "equal-hf",
        kind: str = "equal",
    ) -> None:
        self.collector = collector
        self._records = collector.records
        self._told_path = self._records.run_dir / "tracked.json"
        self._told = _told(self._told_path)
        self._tables = RoundTables(self._records, collector.corpus)
        self._active = [report_to] if isinstance(report_to, str) else list(report_to)
        self._active = [name for name in self._active if name != "none"]
        run_id = self._records.run_id()
        self._tracker = RunTracker(
            self._active,
            project,
            run_name(Path(self._records.run_dir).name, kind, run_id),
            self._records.run()["config"],
            id=run_id,
            dir=self._records.run_dir,
        )
        if (place := self._tracker.place()) is not None:
            self._records.note("tracked_at", place)

    def log(self, round: Round) -> dict[str, float]:
        """Tell of a round, unless it was told before; its numbers."""
        totals = self.collector.totals(round.index)
        metrics = round_metrics(round, self._records.reward_record(round.index), totals)
        if self._active:
            self._tables.update(round.index)
            if round.index > self._told:
                with keeps_going("Logging a round"):
                    self._tracker.log(metrics, step=round.index)
                    self._tracker.log_tables(self._tables, step=round.index)
                self._told = round.index
                write_json(self._told_path, {"through": self._told})
        return metrics

    def close(self) -> None:
        """Add the report, and where the dataset is; write out what is pending."""
        if self._active:
            from equal_hf.tracking.trainer_callbacks import report_folder

            with keeps_going("Adding the report"):
                self._tracker.attach(report_folder(self._records.run_dir), published(self._records.run_dir))
        with keeps_going("Ending the tracker's run"):
            self._tracker.finish()


def _told(path: Path) -> int:
    import json

    return int(json.loads(path.read_text(encoding="utf-8"))["through"]) if path.exists() else -1
