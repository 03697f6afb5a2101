"""`run.json`: what a run is. Its id, fingerprint and sanitised configuration, and what was found out on the way.

One process at a time goes on with a run, and under the same fingerprint only; what of it may change, and what it was
before, is in [`equal_hf.records.changes`].
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equal_hf.errors import RecordError, ResumeError
from equal_hf.records.changes import changed_values, in_words, is_endpoints_own, not_changeable
from equal_hf.records.json_files import read_json, reading, write_json
from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.schema import SCHEMA_VERSION, installed_version

# Measures of a run at its end, and the final training on all its pairs.
OF_A_FINISHED_RUN = ("result.json", "summary.json", "pool")


class RunFile:
    """Reads and writes `run.json` of one run folder.

    Args:
        run_dir (`str` or `Path`): The run folder; created by [`open`].
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self.path = self.run_dir / "run.json"
        self._lock: Any = None

    def open(self, fingerprint: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
        """Start a run in this folder, or take up the one that is there.

        Args:
            fingerprint (`Mapping[str, Any]`): JSON-able; everything that decides what the records hold. What of it
                may change is left as it is, for [`change`].
            config (`Mapping[str, Any]`): The sanitised configuration, kept for readers.

        Returns:
            `bool`: Whether there was a run to take up.

        Raises:
            [`ResumeError`]: If the folder holds a run with another fingerprint or of another version, if records lie
                there without `run.json`, or if another process has the folder open.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        rounds = RoundRecords(self.run_dir)
        rounds.clear_unfinished()
        wanted = json.loads(json.dumps(fingerprint))
        if self.exists():
            self._require_same(wanted, rounds)
            return True
        if rounds.indices():
            raise ResumeError(
                f"{self.run_dir} holds round records but no run.json that says what run they belong to: "
                "set `output_dir` to a new folder"
            )
        made_by = {"equal_hf": installed_version(), "schema": SCHEMA_VERSION}
        write_json(self.path, {"id": uuid.uuid4().hex, **made_by, "fingerprint": wanted, "config": dict(config)})
        return False

    def _require_same(self, wanted: Mapping[str, Any], rounds: RoundRecords) -> None:
        """Refuse the run of another version, and one with other settings where these may not change."""
        run = self.read()
        if (schema := run.get("schema", 1)) != SCHEMA_VERSION:
            raise ResumeError(
                f"{self.run_dir} was written by EQUAL-HF {run.get('equal_hf', '0.1')} (records of schema "
                f"{schema}), and this is {installed_version()} (schema {SCHEMA_VERSION}). `report`, `inspect`, "
                "`replay` and `publish` read it. To go on with it, use the version that wrote it; to start "
                "another run, set `output_dir` to a new folder."
            )
        changed = changed_values(run["fingerprint"], wanted)
        settings = [key for key in changed if not is_endpoints_own(key, changed)]
        if fixed := not_changeable(settings, under_review=run.get("reviewed") == len(rounds.indices())):
            words = list(dict.fromkeys(in_words(key, *changed[key]) for key in fixed))[:8]
            raise ResumeError(
                f"{self.run_dir} holds a run with other settings: {'; '.join(words)}. "
                "Change them back to resume it, or set `output_dir` to a new folder to start another run."
            )

    def exists(self) -> bool:
        """Whether a run began in this folder."""
        return self.path.exists()

    def run_id(self) -> str:
        """Names this run in ledgers and trackers; made when it starts, and kept."""
        return self.read()["id"]

    def note(self, name: str, value: Any) -> None:
        """Write down something that was found out; it decides nothing."""
        run = self.read()
        if run.get(name) != value:
            write_json(self.path, run | {name: value})

    def change(
        self, fingerprint: Mapping[str, Any], config: Mapping[str, Any], *, from_round: int, goes_on: bool
    ) -> None:
        """Take up changed settings from a round on, which [`open`] found to be free to change.

        Args:
            fingerprint, config: As of [`open`], and as they are now.
            from_round (`int`): The first round under the new ones.
            goes_on (`bool`): Whether more rounds may follow. What was measured at the end of the run is out of date
                then, and removed.
        """
        run, wanted = self.read(), json.loads(json.dumps(fingerprint))
        changed = changed_values(run["fingerprint"], wanted)
        if not changed:
            return
        if goes_on:
            for name in OF_A_FINISHED_RUN:
                path = self.run_dir / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        changes = [*run.get("changes", []), {"from_round": from_round, "changed": changed}]
        write_json(self.path, run | {"fingerprint": wanted, "config": dict(config), "changes": changes})

    def read(self) -> dict[str, Any]:
        """What it says.

        Raises:
            [`RecordError`]: If there is none, if it cannot be read or is no run's, or if a later version wrote it.
        """
        if not self.exists():
            raise RecordError(f"{self.path} is missing: is {self.run_dir} a run folder?")
        run = read_json(self.path)
        if not isinstance(run.get("fingerprint"), dict):
            raise RecordError(f"{self.path} describes no run: is {self.run_dir} a run folder?")
        with reading(self.path):
            for name, kind in (
                ("config", Mapping),
                ("corpus", Mapping),
                ("schema", int),
                ("id", str),
                ("changes", list),
            ):
                if name in run and not isinstance(run[name], kind):
                    raise TypeError(f"`{name}` is of type {type(run[name]).__name__}")
        if run.get("schema", 1) > SCHEMA_VERSION:
            raise RecordError(
                f"{self.run_dir} was written by EQUAL-HF {run.get('equal_hf')} (records of schema {run['schema']}), "
                f"and this is {installed_version()} (schema {SCHEMA_VERSION}): use that version or a later one"
            )
        return run

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        from filelock import FileLock, Timeout

        lock = FileLock(self.run_dir / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ResumeError(
                f"another process is running in {self.run_dir}: wait for it or stop it, "
                "or set `output_dir` to a new folder"
            ) from None
        self._lock = lock

    def close(self) -> None:
        """Let other processes open the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
