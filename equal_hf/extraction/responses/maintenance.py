"""Looking after a response store: taking responses out as a table, deleting those nobody needs."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equal_hf.errors import ConfigError, RecordError
from equal_hf.extraction.budget import NANO
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.utils.files import replacing
from equal_hf.utils.known_secrets import mask_known

_DAY_S = 86_400
_COLUMNS = (
    "key text finish_reason prompt_tokens completion_tokens max_new_tokens dialect model created_unix_s cached_tokens "
    "reasoning_tokens reasoning cost"
).split()
_ROWS_AT_A_TIME = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which responses of a store are meant; all conditions have to hold.

    Args:
        model (`str`, *optional*): Those of this model.
        finish_reason (`str`, *optional*): Those that ended so: `"stop"`, `"stopped_early"`, `"length"` or
            `"refused"`.
        older_than_days (`float`, *optional*): Those that came longer ago.
        reason (`str`, *optional*): Refusals that say this, in whatever case; `"refused"` for every refusal.
    """

    model: str | None = None
    finish_reason: str | None = None
    older_than_days: float | None = None
    reason: str | None = None

    def where(self, now: float) -> tuple[str, list[Any]]:
        """The condition in SQL, and its values.

        >>> Selection(model="org/m", older_than_days=1).where(100_000.0)
        ('model = ? AND created_unix_s < ?', ['org/m', 13600.0])
        """
        conditions: dict[str, Any] = {}
        if self.model is not None:
            conditions["model = ?"] = self.model
        if self.finish_reason is not None:
            conditions["finish_reason = ?"] = self.finish_reason
        if self.older_than_days is not None:
            conditions["created_unix_s < ?"] = now - self.older_than_days * _DAY_S
        if self.reason is not None:
            reason = self.reason.lower()
            conditions["finish_reason = 'refused' AND instr('refused ' || lower(text), ?) > 0"] = reason
        return " AND ".join(conditions) or "1", list(conditions.values())


def export(path: str | Path, target: str | Path, selection: Selection) -> int:
    """Write responses to a file, one row each: `.jsonl` or `.parquet`.

    Args:
        path (`str` or `Path`): The store.
        target (`str` or `Path`): The file; overwritten.
        selection ([`Selection`]): Which.

    Returns:
        `int`: How many.

    Raises:
        [`ConfigError`]: If the file's ending is neither.
        [`RecordError`]: If there is no store, or it cannot be read.
    """
    target = Path(target)
    if target.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"cannot export to {target}: let the name end in .jsonl or .parquet")
    count = 0
    with connect(path) as connection, replacing(target) as partial:
        batches = _batches(connection, selection)
        if target.suffix == ".jsonl":
            with partial.open("w", encoding="utf-8") as file:
                for rows in batches:
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                    count += len(rows)
        else:
            count = _write_parquet(partial, batches)
    return count


def prune(path: str | Path, selection: Selection, *, dry_run: bool = False) -> int:
    """Delete responses, and give the space back. The ledger stays: what was paid was paid.

    Args:
        path (`str` or `Path`): The store.
        selection ([`Selection`]): Which; at least one condition.
        dry_run (`bool`, *optional*, defaults to `False`): Only count them.

    Returns:
        `int`: How many.

    Raises:
        [`ConfigError`]: If nothing says which.
        [`RecordError`]: If there is no store, or it cannot be written.
    """
    if selection == Selection():
        raise ConfigError("say which responses to delete: --reason, --model, --finish-reason or --older-than-days")
    condition, values = selection.where(time.time())
    with connect(path) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM responses WHERE {condition}", values).fetchone()
        if count and not dry_run:
            connection.execute(f"DELETE FROM responses WHERE {condition}", values)
            connection.execute("VACUUM")
    return count


def _batches(connection: sqlite3.Connection, selection: Selection) -> Iterator[list[dict[str, Any]]]:
    condition, values = selection.where(time.time())
    query = f"SELECT {', '.join(_COLUMNS)} FROM responses WHERE {condition} ORDER BY key"
    cursor = connection.execute(query, values)
    while rows := cursor.fetchmany(_ROWS_AT_A_TIME):
        batch = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        for row in batch:
            row["text"] = mask_known(row["text"])  # earlier versions stored it as it came
            row["cost"] = None if row["cost"] is None else row["cost"] / NANO
        yield batch


def _write_parquet(path: Path, batches: Iterator[list[dict[str, Any]]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = {"created_unix_s": pa.float64(), "cost": pa.float64()}
    kinds = {name: pa.int64() if name.endswith("_tokens") else pa.string() for name in _COLUMNS} | numbers
    schema = pa.schema(list(kinds.items()))
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for rows in batches:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            count += len(rows)
    return count


def open_store(path: str | Path) -> ResponseStore:
    """A store that is there.

    Raises:
        [`RecordError`]: If there is none, or it cannot be used.
    """
    if not Path(path).is_file():
        raise RecordError(f"there is no response store at {path}: name the file, or a run folder that holds one")
    return ResponseStore(path)


class connect:
    """The store's database: checked to be one of ours by opening it as a store, then opened plainly."""

    def __init__(self, path: str | Path) -> None:
        open_store(path).close()
        self._closing = closing(sqlite3.connect(path, isolation_level=None, timeout=60.0))
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        return self._closing.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._closing.__exit__(kind, error, trace)
        if isinstance(error, sqlite3.DatabaseError):
            raise RecordError(f"the response store {self._path} cannot be used: {error}") from error
