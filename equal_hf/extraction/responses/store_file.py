"""The SQLite file of a response store: its tables, earlier versions of them, and who may read it."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
import time
from pathlib import Path

from equal_hf.errors import RecordError
from equal_hf.extraction.responses.batch_table import TABLES

# Tells our files from other programs' SQLite files; the bytes spell "EQUA".
_APPLICATION_ID = 0x45515541
_VERSION = 5
# Creating what is missing brings a file up to date: version 1 had no ledger, version 3 no leases, version 4 no
# batches; version 2 called a dialect a flavour. Version 4 knew no cached or reasoning tokens, nor where attempts went.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    max_new_tokens INTEGER NOT NULL,
    dialect TEXT NOT NULL,
    model TEXT NOT NULL,
    created_unix_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    sent_unix_s REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS attempts_by_run ON attempts (run);
CREATE TABLE IF NOT EXISTS leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, ends_unix_s REAL NOT NULL) WITHOUT ROWID;
"""
_SCHEMA += TABLES
_COUNT, _TEXT = "INTEGER NOT NULL DEFAULT 0", "TEXT NOT NULL DEFAULT ''"
_LATER_COLUMNS = {
    "responses": {"cached_tokens": _COUNT, "reasoning_tokens": _COUNT, "reasoning": _TEXT, "cost": "INTEGER"},
    "attempts": {
        "cached_tokens": _COUNT,
        "reasoning_tokens": _COUNT,
        "model": _TEXT,
        "tier": _TEXT,
        "endpoint": _TEXT,
        "day": _TEXT,  # of UTC, on which it was sent, or ended
    },
}
# What an earlier file says of them.
_FILL_IN = """
UPDATE attempts SET day = date(sent_unix_s, 'unixepoch'),
    model = coalesce((SELECT model FROM responses WHERE responses.key = attempts.key), '');
UPDATE responses SET cost = paid.cost
FROM (SELECT key, cost, max(sent_unix_s) FROM attempts WHERE state = 'answered' GROUP BY key) AS paid
WHERE responses.key = paid.key
"""
_IN_USE_TIMEOUT_S = 10.0
_BUSY_TIMEOUT_S = 60.0


def open_file(path: Path) -> sqlite3.Connection:
    """Open a store's file, brought up to date, or make one.

    Args:
        path (`Path`): The file; its folder is there.

    Raises:
        [`RecordError`]: If it is another program's, or of a later version. It is left as it is.
        `sqlite3.DatabaseError`: If it is damaged.
    """
    _keep_private(path)
    deadline_s = time.monotonic() + _IN_USE_TIMEOUT_S
    while True:
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            if _prepare(connection, path):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        if time.monotonic() > deadline_s:
            raise RecordError(
                f"the response store {path} was written by an earlier version of EQUAL-HF, and another process has it "
                "open: wait until that one ends, or stop it, and try again"
            )
        # Others that would bring it up to date are in each other's way, so each waits for a time of its own.
        time.sleep(random.uniform(0.05, 0.3))


def _prepare(connection: sqlite3.Connection, path: Path) -> bool:
    """Bring a file up to date; returns whether that could be done, for one of an earlier version is left alone while
    another process has it open."""

    def number(query: str) -> int:
        return connection.execute(query).fetchone()[0]

    application, version = number("PRAGMA application_id"), number("PRAGMA user_version")
    tables = number("SELECT count(*) FROM sqlite_master")
    is_ours = application == _APPLICATION_ID and 0 < version <= _VERSION
    if (application or version or tables) and not is_ours:
        raise RecordError(
            f"{path} is an SQLite file of another program or version, so it cannot hold responses. "
            "Choose another path for the response store."
        )
    if version not in (0, _VERSION) and not _is_alone(connection):
        return False
    # Another process may be creating the same file: changing the journal mode does not wait for it by itself.
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous = FULL")
    if version != _VERSION:
        _bring_up_to_date(connection)
    return True


def _is_alone(connection: sqlite3.Connection) -> bool:
    """Whether no other connection to the file is open: only then does SQLite leave WAL mode."""
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return False
    return True


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    def columns(table: str) -> set[str]:
        return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}

    # One transaction: a kill leaves the file as it was or a whole store.
    connection.execute("BEGIN IMMEDIATE")
    if "flavour" in columns("responses"):
        connection.execute("ALTER TABLE responses RENAME COLUMN flavour TO dialect")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    for table, later in _LATER_COLUMNS.items():
        for name in later.keys() - columns(table):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {later[name]}")
    if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:  # nobody else was faster
        for statement in _FILL_IN.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")


def _keep_private(path: Path) -> None:
    """Make a new file readable to its owner alone, as replies may hold what documents do, and an earlier one too.

    One that its group may write to is shared on purpose. SQLite gives the files beside it the same permissions.
    """
    with contextlib.suppress(OSError):  # it is there, or SQLite will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return
    with contextlib.suppress(OSError):  # somebody else's
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077 and not mode & 0o020:
            path.chmod(0o600)
