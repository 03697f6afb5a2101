"""What a run reports to Weights & Biases and trackio: the numbers of [`equal_hf.tracking.metrics`], one set a round.

A trainer logs them through its own `log`, a run without a trainer through [`RunTracker`]; the names are the same
([`equal_hf.tracking.trainer_callbacks`] keeps transformers from putting `train/` before them). Beside them go the
tables `equal/arms` and `equal/pairs_sample` and the picture `equal/clusters` ([`RoundTables`]), updated every round,
and at the end the report, as an artifact. A resumed run goes on as the same run, by the id in `run.json`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import ConfigError
from equal_hf.tracking.keeps_going import keeps_going
from equal_hf.tracking.media import (
    attach_to_trackio,
    attach_to_wandb,
    import_tracker,
    trackio_media,
    trackio_place,
    trackio_rounds,
    wandb_media,
    wandb_place,
)
from equal_hf.tracking.wandb_setup import earlier_folders, prepare_wandb, start_wandb
from equal_hf.utils.redaction import sanitise

if TYPE_CHECKING:
    from equal_hf.tracking.tables import RoundTables

TRACKERS = ("wandb", "trackio")


def keep_trackio_local(args: Any) -> None:
    """Keep transformers from publishing trackio's numbers with the model, unless a Space was asked for.

    With `push_to_hub`, transformers would make a Space of its own accord, and a public one.

    Args:
        args (`TrainingArguments`): The trainer's arguments; `trackio_static_space_id` is set to `False` where neither
            it nor `trackio_space_id` names a Space.
    """
    if args.trackio_space_id is None and args.trackio_static_space_id is None:
        args.trackio_static_space_id = False


@contextmanager
def tracked(args: Any, *, name: str, config: Mapping[str, Any] | None = None, id: str | None = None) -> Iterator[None]:
    """Give what a trainer reports inside the block runs of its own, on the trackers that `report_to` names.

    A trainer goes on with a W&B run that is open, so that two runs in one process would be mixed up without this. An
    open W&B run of the caller's is used, and left open.

    Args:
        args (`TrainingArguments`): The trainer's arguments. Inside the block `run_name` is what it was, or the output
            folder's name, with `-name` after it.
        name (`str`): What tells this run from others of the same script.
        config (`Mapping[str, Any]`, *optional*): What is shown of the run besides `args`; secrets are taken out.
        id (`str`, *optional*): The run's id, from `run.json`, under which a tracker goes on with it after a restart.
    """
    before = args.run_name
    args.run_name = run_name(before or Path(args.output_dir).name, name, id)
    opened, failed = None, True
    if "trackio" in args.report_to:
        keep_trackio_local(args)
    if "wandb" in args.report_to and args.process_index == 0:
        prepare_wandb(args.project)
        if import_tracker("wandb").run is None:
            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
            opened = start_wandb(
                project=os.environ["WANDB_PROJECT"],
                name=args.run_name,
                config=sanitise(config or {}),
                dir=args.output_dir,
                id=id,
                resume=None if id is None else "allow",
            )
    try:
        yield
        failed = False
    finally:
        args.run_name = before
        if opened is not None:
            with keeps_going("Ending the W&B run"):
                opened.finish(exit_code=int(failed))


def run_name(base: str, kind: str, id: str | None) -> str:
    """The name that trackers show: it ends in a part of the run's id, since trackio knows runs by their names alone.

    >>> run_name("quickstart", "equal", None), run_name("quickstart", "equal", "0123456789ab")
    ('quickstart-equal', 'quickstart-equal-01234567')
    """
    return "-".join(part for part in (base, kind, (id or "")[:8]) if part)


class RunTracker:
    """Logs a run that has no trainer to W&B, trackio, or both.

    Args:
        report_to (`list[str]` or `str`): Of `"wandb"` and `"trackio"`; `"none"` or an empty list for neither.
        project (`str`, *optional*, defaults to `"equal-hf"`): The project.
        name (`str`, *optional*): The run's name; the tracker makes one up where it is left out.
        config (`Mapping[str, Any]`, *optional*): The configuration; secrets are taken out.
        id (`str`, *optional*): The run's id, from `run.json`, under which W&B goes on with it after a restart; trackio
            goes by the name.
        dir (`str` or `Path`, *optional*): Where W&B writes its files; its own default where left out.

    Raises:
        [`ConfigError`]: If a tracker is not one of these.
        [`MissingDependencyError`]: If one is not installed.
    """

    def __init__(
        self,
        report_to: Sequence[str] | str,
        project: str = "equal-hf",
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        dir: str | Path | None = None,
    ) -> None:
        names = [report_to] if isinstance(report_to, str) else list(report_to)
        names = [tracker for tracker in names if tracker != "none"]
        if unknown := [tracker for tracker in names if tracker not in TRACKERS]:
            raise ConfigError(
                f"`report_to` names {unknown[0]!r}, which a run without a trainer cannot log to: use "
                f"{' or '.join(TRACKERS)}, or none"
            )
        clean = sanitise(config or {})
        self._wandb: Any = None
        self._trackio: Any = None
        if "wandb" in names:
            prepare_wandb()
            self._wandb = start_wandb(
                project=os.environ.get("WANDB_PROJECT", project),
                name=name,
                config=clean,
                id=id,
                resume=None if id is None else "allow",
                dir=dir,
                reinit="create_new",
            )
        if "trackio" in names:
            trackio = import_tracker("trackio")
            with keeps_going("Starting trackio"):
                self._trackio = trackio.init(
                    project=project,
                    name=name,
                    config=clean,
                    resume="never" if id is None else "allow",
                    private=True,  # the Space that TRACKIO_SPACE_ID names, if it is made; else all stays here
                    embed=False,
                )
        # What earlier starts logged offline is logged again from the records, so that one folder holds all of it.
        self._replaced = [] if self._wandb is None or dir is None else earlier_folders(dir, self._wandb)
        self._trackio_rounds = set() if self._trackio is None else trackio_rounds(self._trackio)

    def log(self, metrics: Mapping[str, float], step: int, tables: RoundTables | None = None) -> None:
        """Log the numbers of one round, and the tables and the cluster map as they stand after it.

        A round that a tracker holds already, from an earlier start, is not logged again.

        Args:
            metrics (`Mapping[str, float]`): From [`round_metrics`].
            step (`int`): The round's index; steps must grow.
            tables ([`RoundTables`], *optional*): The tables.
        """
        # Of a run that goes on online, the server says at which step; offline there is none.
        if self._wandb is not None and step >= self._wandb.starting_step:
            with keeps_going("Logging to W&B"):
                self._wandb.log({**metrics, **(wandb_media(tables) if tables else {})}, step=step)
        if self._trackio is not None and step not in self._trackio_rounds:
            with keeps_going("Logging to trackio"):
                self._trackio.log({**metrics, **(trackio_media(tables) if tables else {})}, step=step)

    def forget_earlier_folders(self) -> None:
        """Remove what earlier starts of the run logged offline; call it when all their rounds are logged again."""
        for folder in self._replaced:
            shutil.rmtree(folder, ignore_errors=True)
        self._replaced = []

    def place(self) -> str | None:
        """Where the run is tracked, for the dataset card; `None` without a tracker."""
        if self._wandb is not None:
            return wandb_place(self._wandb)
        return trackio_place(self._trackio) if self._trackio is not None else None

    def attach(self, report: Path | None, dataset: Mapping[str, str] | None) -> None:
        """Add the report as an artifact, and say where the dataset is.

        Args:
            report (`Path`, *optional*): Folder of the report.
            dataset (`Mapping[str, str]`, *optional*): `url` and `revision` of the dataset on the Hub.
        """
        if self._wandb is not None:
            attach_to_wandb(self._wandb, report, dataset)
        if self._trackio is not None:
            attach_to_trackio(self._trackio, report, dataset)

    def finish(self) -> None:
        """Write out what is pending."""
        if self._wandb is not None:
            with keeps_going("Ending the W&B run"):
                self._wandb.finish()
        if self._trackio is not None:
            trackio = import_tracker("trackio")
            with keeps_going("Ending the trackio run"):
                if trackio.context_vars.current_run.get() is self._trackio:
                    trackio.finish()  # which forgets the run, where the run's own would be called again at exit
                else:
                    self._trackio.finish()
        self._wandb = self._trackio = None
