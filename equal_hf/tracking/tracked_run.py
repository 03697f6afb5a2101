"""A run without a trainer, logged to trackers: the same names, tables and report as with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.publishing.hub import published
from equal_hf.tracking.keeps_going import keeps_going
from equal_hf.tracking.metrics import round_metrics
from equal_hf.tracking.tables import RoundTables
from equal_hf.tracking.trackers import RunTracker, run_name
from equal_hf.types import Round

if TYPE_CHECKING:
    from equal_hf.collection.collector import EqualDataCollector


class TrackedRun:
    """Logs each round of a run once, also over restarts: what the records hold, the trackers hold.

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
        self._recorded = self._records.indices()[-1:]  # the last round of earlier starts
        self._tables = RoundTables(self._records, collector.corpus)
        self._active = [report_to] if isinstance(report_to, str) else list(report_to)
        self._active = [name for name in self._active if name != "none"]
        run_file = collector.run_file
        run_id = run_file.run_id()
        self._tracker = RunTracker(
            self._active,
            project,
            run_name(Path(self._records.run_dir).name, kind, run_id),
            run_file.read()["config"],
            id=run_id,
            dir=self._records.run_dir,
        )
        if (place := self._tracker.place()) is not None:
            run_file.note("tracked_at", place)

    def log(self, round: Round) -> dict[str, float]:
        """Log a round, unless the trackers hold it already; its numbers."""
        totals = self.collector.totals(round.index)
        metrics = round_metrics(round, self._records.reward_record(round.index), totals)
        if self._active:
            self._tables.update(round.index)
            self._tracker.log(metrics, round.index, self._tables)
            if [round.index] == self._recorded:
                self._tracker.forget_earlier_folders()
        return metrics

    def close(self) -> None:
        """Add the report, and where the dataset is; write out what is pending."""
        if self._active:
            from equal_hf.tracking.trainer_callbacks import report_folder

            with keeps_going("Adding the report"):
                self._tracker.attach(report_folder(self._records.run_dir), published(self._records.run_dir))
        self._tracker.finish()
