"""transformers' W&B and trackio callbacks, with the run's own numbers under their own names, its tables and report.

transformers puts `train/` before every name that is not an evaluation's, so that the same run would be logged under
other names with a trainer than without one.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TrackioCallback, WandbCallback
from transformers.integrations.integration_utils import rewrite_logs

from equal_hf.publishing.hub import published
from equal_hf.records.run_file import RunFile
from equal_hf.tracking.keeps_going import keeps_going
from equal_hf.tracking.media import (
    attach_to_trackio,
    attach_to_wandb,
    trackio_media,
    trackio_place,
    trackio_rounds,
    wandb_media,
    wandb_place,
)
from equal_hf.tracking.tables import RoundTables
from equal_hf.tracking.trackers import keep_trackio_local
from equal_hf.tracking.wandb_setup import earlier_folders, masked_command, prepare_wandb, start_wandb

PREFIX = "equal/"
# What transformers logs once, at a training's end: for a summary, not for a curve.
SUMMARY = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")


class _TracksRounds(ABC):
    """What both have in common: rounds under their own names, tables and report; and a tracker fails no run.

    The pool is a training of its own, whose steps begin at 0 again: its numbers are `pool/…`, over `pool/global_step`.

    Args:
        tables ([`RoundTables`]): Of the run.
    """

    tracker: ClassVar[str]

    def __init__(self, tables: RoundTables) -> None:
        super().__init__()
        self.tables = tables
        self.works = True
        self._began = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Start the tracker's run; log again what it lacks of what the checkpoint's training logged."""
        if not self.works:
            return
        self.works = False
        with keeps_going(f"Starting {self.tracker}"):
            super().on_train_begin(args, state, control, model=model, **kwargs)  # type: ignore[misc]
            self.works = True
        if self.works and not self._began and state.is_world_process_zero:
            with keeps_going(f"Logging earlier rounds to {self.tracker}"):
                self.catch_up([(entry, self._in_pool(args)) for entry in state.log_history])
        self._began = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Log the round's numbers as they are called, and the tables."""
        if not self.works:
            return
        with keeps_going(f"Logging to {self.tracker}"):
            if self._in_pool(args):
                if state.is_world_process_zero:
                    self.replay({**(logs or {}), "step": state.global_step}, pool=True)
                return
            ours, theirs = split_logs(logs or {})
            super().on_log(args, state, control, model=model, logs=theirs, **kwargs)  # type: ignore[misc]
            if ours and state.is_world_process_zero:
                self._log_round(ours, state.global_step)

    def replay(self, entry: dict[str, Any], pool: bool) -> None:
        """Log an entry of a trainer's history.

        Args:
            entry (`dict[str, Any]`): What was logged, and its `step`.
            pool (`bool`): Whether it is of the training on the pool.
        """
        logs = {name: value for name, value in entry.items() if name != "step" and name not in SUMMARY}
        if pool:
            self.log({**{f"pool/{name}": value for name, value in logs.items()}, "pool/global_step": entry["step"]})
            return
        ours, theirs = split_logs(logs)
        if ours:
            self._log_round(ours, entry["step"])
        elif theirs:
            self.log({**rewrite_logs(theirs), "train/global_step": entry["step"]})

    def _log_round(self, ours: dict[str, Any], step: int) -> None:
        self.tables.update(int(ours["equal/round"]))
        self.log_round({**ours, "train/global_step": step})

    def _in_pool(self, args: TrainingArguments) -> bool:
        return Path(str(args.output_dir)) == self.tables.records.run_dir / "pool"

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        """Add the report, and where the dataset is."""
        if not self.works:
            return
        with keeps_going(f"Adding the report to {self.tracker}"):
            if state.is_world_process_zero:
                run_dir = self.tables.records.run_dir
                self.attach(report_folder(run_dir), published(run_dir))
        with keeps_going(f"Ending the run on {self.tracker}"):
            super().on_train_end(  # type: ignore[misc]
                args, state, control, model=model, processing_class=processing_class, **kwargs
            )

    @abstractmethod
    def log(self, numbers: dict[str, Any]) -> None:
        """Log numbers."""

    @abstractmethod
    def log_round(self, numbers: dict[str, Any]) -> None:
        """Log the numbers of a round, and the tables as they are now."""

    @abstractmethod
    def catch_up(self, entries: list[tuple[dict[str, Any], bool]]) -> None:
        """Log what the tracker lacks of a trainer's history; each entry with whether it is of the pool."""

    @abstractmethod
    def attach(self, report: Path | None, dataset: Any) -> None:
        """Add the report, and where the dataset is."""


class RoundWandbCallback(_TracksRounds, WandbCallback):
    """Logs rounds to W&B."""

    tracker = "W&B"
    _wandb: Any

    def setup(self, args: TrainingArguments, state: TrainerState, model: Any, **kwargs: Any) -> None:
        """Start the W&B run, unless one is open."""
        if state.is_world_process_zero and self._wandb.run is None:
            run_dir = self.tables.records.run_dir
            prepare_wandb(args.project)
            settings = {"id": RunFile(run_dir).run_id(), "resume": "allow", "dir": str(run_dir)}
            if start_wandb(project=os.environ["WANDB_PROJECT"], name=args.run_name, **settings) is None:
                self._wandb = None
                return
        with masked_command():
            super().setup(args, state, model, **kwargs)
        if state.is_world_process_zero:
            self._wandb.define_metric("pool/global_step")
            self._wandb.define_metric("pool/*", step_metric="pool/global_step")
            RunFile(self.tables.records.run_dir).note("tracked_at", wandb_place(self._wandb.run))

    def log(self, numbers: dict[str, Any]) -> None:
        """As of the base class."""
        if self._wandb is not None:
            self._wandb.log(numbers)

    def log_round(self, numbers: dict[str, Any]) -> None:
        """As of the base class."""
        if self._wandb is not None:
            self._wandb.log({**numbers, **wandb_media(self.tables)})

    def catch_up(self, entries: list[tuple[dict[str, Any], bool]]) -> None:
        """Offline, all of it: each start begins another folder, and this one then takes the place of the others."""
        if self._wandb is None or not self._wandb.run.offline:
            return
        for entry, pool in [*((entry, False) for entry in self.tables.earlier_logs), *entries]:
            self.replay(entry, pool)
        for folder in earlier_folders(self.tables.records.run_dir, self._wandb.run):
            shutil.rmtree(folder, ignore_errors=True)

    def attach(self, report: Path | None, dataset: Any) -> None:
        """As of the base class."""
        if self._wandb is not None and self._wandb.run is not None:
            attach_to_wandb(self._wandb.run, report, dataset)


class RoundTrackioCallback(_TracksRounds, TrackioCallback):
    """Logs rounds to trackio."""

    tracker = "trackio"

    def setup(self, args: TrainingArguments, state: TrainerState, model: Any, **kwargs: Any) -> None:
        """Start the trackio run."""
        super().setup(args, state, model, **kwargs)
        if state.is_world_process_zero and "wandb" not in (args.report_to or ()):
            place = trackio_place(self._trackio.context_vars.current_run.get())
            RunFile(self.tables.records.run_dir).note("tracked_at", place)

    def log(self, numbers: dict[str, Any]) -> None:
        """As of the base class."""
        self._trackio.log(numbers)

    def log_round(self, numbers: dict[str, Any]) -> None:
        """As of the base class."""
        if int(numbers["equal/round"]) not in self._held:
            self._trackio.log({**numbers, **trackio_media(self.tables)})

    def catch_up(self, entries: list[tuple[dict[str, Any], bool]]) -> None:
        """The rounds that an earlier start was killed before trackio wrote them down; none twice."""
        self._held = trackio_rounds(self._trackio.context_vars.current_run.get())
        for entry in [*self.tables.earlier_logs, *(entry for entry, pool in entries if not pool)]:
            if "equal/round" in entry:
                self.replay(entry, pool=False)

    def attach(self, report: Path | None, dataset: Any) -> None:
        """As of the base class."""
        if self._initialized:
            attach_to_trackio(self._trackio.context_vars.current_run.get(), report, dataset)

    _held: frozenset[int] | set[int] = frozenset()


def track_rounds(trainer: Trainer, tables: RoundTables) -> None:
    """Put these callbacks in the place of transformers' own, where a trainer has those.

    They come last, so that at the end of training they see what a publisher has pushed by then.

    Args:
        trainer (`Trainer`): Any trainer that logs a run's rounds by their names.
        tables ([`RoundTables`]): Of the run.
    """
    ours: dict[type, type] = {WandbCallback: RoundWandbCallback, TrackioCallback: RoundTrackioCallback}
    for theirs, own in ours.items():
        if (callback := trainer.pop_callback(theirs)) is not None:
            if theirs is TrackioCallback:
                keep_trackio_local(trainer.args)
            trainer.add_callback(callback if isinstance(callback, own) else own(tables))


def split_logs(logs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run's own numbers, and all others.

    >>> split_logs({"equal/round": 3, "loss": 2.5, "epoch": 4.0})
    ({'equal/round': 3}, {'loss': 2.5, 'epoch': 4.0})
    """
    ours = {name: value for name, value in logs.items() if name.startswith(PREFIX)}
    return ours, {name: value for name, value in logs.items() if name not in ours}


def report_folder(run_dir: str | Path) -> Path | None:
    """The run's report, written now; `None` where that fails, which is no reason for a run to."""
    from equal_hf.report.write_report import write_report

    with keeps_going("Writing the report"):
        return write_report(run_dir).parent
    return None
