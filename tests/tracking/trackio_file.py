"""Reading back what trackio wrote on this machine."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path


def trackio_rows(folder: Path) -> list[tuple[str, dict[str, object]]]:
    """Run name and numbers of every row, in the order they were logged."""
    return [
        (name, json.loads(text)) for name, text in _select(folder, "select run_name, metrics from metrics order by id")
    ]


def trackio_configs(folder: Path) -> dict[str, dict[str, object]]:
    """What each run's configuration says."""
    return {name: json.loads(text) for name, text in _select(folder, "select run_name, config from configs")}


def _select(folder: Path, query: str) -> list[tuple[str, str]]:
    (database,) = folder.glob("*.db")
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def trackio_artifact(folder: Path, kind: str) -> set[str]:
    """Paths of the files in the newest artifact of that type."""
    query = (
        "select artifacts.name, manifest from artifact_versions join artifacts on artifacts.id = artifact_id "
        f"where type = '{kind}' order by artifact_versions.id"
    )
    return {entry["path"] for entry in json.loads(_select(folder, query)[-1][1])}
