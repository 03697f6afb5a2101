"""Tables, pictures and reports in the forms that trackers take."""

from __future__ import annotations

import importlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import MissingDependencyError
from equal_hf.tracking.keeps_going import keeps_going

if TYPE_CHECKING:
    from equal_hf.tracking.tables import RoundTables

logger = logging.getLogger(__name__)


def wandb_media(tables: RoundTables) -> dict[str, Any]:
    """Tables and cluster map as W&B takes them."""
    wandb, image = import_tracker("wandb"), import_tracker("PIL.Image")
    media: dict[str, Any] = {
        f"equal/{name}": wandb.Table(columns=list(columns), data=rows)
        for name, (columns, rows) in tables.all().items()
    }
    if (picture := tables.picture()) is not None:
        media["equal/clusters"] = wandb.Image(image.open(io.BytesIO(picture)), file_type="png")
    return media


def trackio_media(tables: RoundTables) -> dict[str, Any]:
    """Tables and cluster map as trackio takes them."""
    trackio, image, pandas = import_tracker("trackio"), import_tracker("PIL.Image"), import_tracker("pandas")
    media: dict[str, Any] = {
        f"equal/{name}": trackio.Table(dataframe=pandas.DataFrame(rows, columns=list(columns)))
        for name, (columns, rows) in tables.all().items()
    }
    if (picture := tables.picture()) is not None:
        media["equal/clusters"] = trackio.Image(image.open(io.BytesIO(picture)))
    return media


def wandb_place(run: Any) -> str:
    """A W&B run's address; of one that is logged offline, what it will be called when it is synced."""
    return str(run.url) if not run.offline and run.url else f"W&B {run.project}/{run.id}"


def trackio_place(run: Any) -> str:
    """A trackio run's project and name."""
    return f"trackio {run.project}/{run.name}"


def trackio_rounds(run: Any) -> set[int]:
    """The rounds that a trackio run on this machine holds already; none of one whose numbers are on a Space."""
    storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    rounds: set[int] = set()
    with keeps_going("Reading what trackio holds"):
        logs = storage.get_logs(run.project, run.name, scalar_only=True)
        rounds = {int(log["equal/round"]) for log in logs if log.get("equal/round") is not None}
    return rounds


def attach_to_wandb(run: Any, report: Path | None, dataset: Mapping[str, str] | None) -> None:
    """Add a report to a W&B run as an artifact, and the dataset's address and revision to its summary."""
    if dataset:
        run.summary.update({f"dataset_{name}": value for name, value in dataset.items()})
    if report is not None and report.is_dir():
        artifact = import_tracker("wandb").Artifact(f"report-{run.id}", type="report", metadata=dict(dataset or {}))
        artifact.add_dir(str(report))
        run.log_artifact(artifact)


def attach_to_trackio(run: Any, report: Path | None, dataset: Mapping[str, str] | None) -> None:
    """Add a report to a trackio run as an artifact, with the dataset's address and revision."""
    link = {f"dataset_{name}": value for name, value in (dataset or {}).items()}
    if link:
        run.config |= link
    if report is not None and report.is_dir():
        artifact = import_tracker("trackio").Artifact(f"report-{run.name}", type="report", metadata=link)
        artifact.add_dir(str(report))
        run.log_artifact(artifact)


def import_tracker(package: str) -> Any:
    """A tracker's package.

    Raises:
        [`MissingDependencyError`]: If it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        remedy = f'`report_to` names {name}, which is not installed: pip install "equal-hf[{name}]"'
        if name == "PIL":
            remedy = "trackers take pictures as Pillow's, which is not installed: pip install pillow"
        elif name == "pandas":
            remedy = "trackio takes tables as pandas', which is not installed: pip install pandas"
        raise MissingDependencyError(remedy) from error
