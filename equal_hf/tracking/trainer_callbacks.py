"""transformers' W&B and trackio callbacks, with the run's own numbers under their own names, its tables and report.

transformers puts `train/` before every name that is not an evaluation's, so that the same run would be told under
other names with a trainer than without one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TrackioCallback, WandbCallback

from equal_hf.publishing.hub import published
from equal_hf.tracking.media import (
    attach_to_trackio,
    attach_to_wandb,
    keeps_going,
    trackio_media,
    trackio_place,
    wandb_media,
    wandb_place,
)
from equal_hf.tracking.tables import RoundTables
from equal_hf.tracking.trackers import keep_trackio_local
from equal_hf.tracking.wandb_setup import masked_command

PREFIX = "equal/"


class _TellsRounds(ABC):
    """What both have in common: rounds under their own names, tables and report; and a tracker fails no run.

    Args:
        tables ([`RoundTables`]): Of the run.
    """

    tracker: ClassVar[str]

    def __init__(self, tables: RoundTables) -> None:
        super().__init__()
        self.tables = tables

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
        ours, theirs = split_logs(logs or {})
        with keeps_going(f"Logging to {self.tracker}"):
            super().on_log(args, state, control, model=model, logs=theirs, **kwargs)  # type: ignore[misc]
            if ours and state.is_world_process_zero:
                self.tables.update(int(ours["equal/round"]))
                self.tell({**ours, "train/global_step": state.global_step})

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
        with keeps_going(f"Adding the report to {self.tracker}"):
            if state.is_world_process_zero:
                run_dir = self.tables.records.run_dir
                self.attach(report_folder(run_dir), published(run_dir))
        with keeps_going(f"Ending what is told to {self.tracker}"):
            super().on_train_end(  # type: ignore[misc]
                args, state, control, model=model, processing_class=processing_class, **kwargs
            )

    @abstractmethod
    def tell(self, numbers: dict[str, Any]) -> None:
        """Log numbers, and the tables as they are now."""

    @abstractmethod
    def attach(self, report: Path | None, dataset: Any) -> None:
        """Add the report, and where the dataset is."""


class RoundWandbCallback(_TellsRounds, WandbCallback):
    """Tells W&B of rounds."""

    tracker = "W&B"

    def setup(self, args: TrainingArguments, state: TrainerState, model: Any, **kwargs: Any) -> None:
        """Start the W&B run, unless one is open."""
        with masked_command():
            super().setup(args, state, model, **kwargs)
        if state.is_world_process_zero and self._wandb is not None and self._wandb.run is not None:
            self.tables.records.note("tracked_at", wandb_place(self._wandb.run))

    def tell(self, numbers: dict[str, Any]) -> None:
        """As of the base class."""
        if self._wandb is not None:
            self._wandb.log({**numbers, **wandb_media(self.tables)})

    def attach(self, report: Path | None, dataset: Any) -> None:
        """As of the base class."""
        if self._wandb is not None and self._wandb.run is not None:
            attach_to_wandb(self._wandb.run, report, dataset)


class RoundTrackioCallback(_TellsRounds, TrackioCallback):
    """Tells trackio of rounds."""

    tracker = "trackio"

    def setup(self, args: TrainingArguments, state: TrainerState, model: Any, **kwargs: Any) -> None:
        """Start the trackio run."""
        super().setup(args, state, model, **kwargs)
        if state.is_world_process_zero and "wandb" not in (args.report_to or ()):
            self.tables.records.note("tracked_at", trackio_place(self._trackio.context_vars.current_run.get()))

    def tell(self, numbers: dict[str, Any]) -> None:
        """As of the base class."""
        self._trackio.log({**numbers, **trackio_media(self.tables)})

    def attach(self, report: Path | None, dataset: Any) -> None:
        """As of the base class."""
        if self._initialized:
            attach_to_trackio(self._trackio.context_vars.current_run.get(), report, dataset)


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
