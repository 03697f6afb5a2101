"""Every reply that was paid for, on disk before anything uses it.

The store is one SQLite file in WAL mode. A reply is found by what determines it: model and revision, the messages as
sent, the sampling parameters that change a reply, the schema, and which attempt it was. How many tokens were allowed
is no part of that: a reply serves again unless it was cut short by length and more is allowed now.

>>> import tempfile
>>> key = response_key("org/model", "abc123", [{"role": "user", "content": "Hello"}], {"temperature": 0.0})
>>> with tempfile.TemporaryDirectory() as folder, ResponseStore(f"{folder}/responses.sqlite") as store:
...     reply = store.put(key, Reply("Hello!", "stop", Usage(3, 2, 1)), max_new_tokens=16)
...     store.get(key, max_new_tokens=1024).text
'Hello!'
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from equal_hf.errors import RecordError
from equal_hf.types import Messages, Usage

# Tells our files from other programs' SQLite files; the bytes spell "EQUA".
_APPLICATION_ID = 0x45515541
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    max_new_tokens INTEGER NOT NULL,
    flavour TEXT NOT NULL,
    model TEXT NOT NULL,
    created_unix_s REAL NOT NULL
) WITHOUT ROWID
"""
# A second reply replaces the first only where the first would not serve, so all processes agree on one reply.
_PUT = """
INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    text = excluded.text, finish_reason = excluded.finish_reason, prompt_tokens = excluded.prompt_tokens,
    completion_tokens = excluded.completion_tokens, max_new_tokens = excluded.max_new_tokens,
    flavour = excluded.flavour, created_unix_s = excluded.created_unix_s
WHERE (finish_reason = 'length' AND excluded.max_new_tokens > max_new_tokens)
    OR (finish_reason = 'refused' AND excluded.max_new_tokens < max_new_tokens)
"""
_BUSY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint answered.

    Args:
        text (`str`): The raw reply; for a refusal, the server's error.
        finish_reason (`str`): `"stop"`, `"length"` (cut short), or `"refused"` (it will be refused every time).
        usage (`Usage`): Tokens of this one request.
    """

    text: str
    finish_reason: str
    usage: Usage

    def serves(self, paid_max_new_tokens: int, max_new_tokens: int) -> bool:
        """Whether a reply obtained under one limit answers a request under another.

        >>> Reply("", "stop", Usage()).serves(16, 1024), Reply("", "length", Usage()).serves(16, 1024)
        (True, False)
        """
        if self.finish_reason == "length":
            return max_new_tokens <= paid_max_new_tokens
        if self.finish_reason == "refused":  # asking for fewer tokens may fit the context after all
            return max_new_tokens >= paid_max_new_tokens
        return True


def response_key(
    model: str,
    revision: str,
    messages: Messages,
    sampling: Mapping[str, Any],
    schema: Mapping[str, Any] | None = None,
    attempt: int = 0,
) -> str:
    """The address of a reply: SHA-256 over everything that determines it.

    Args:
        model (`str`): Model id.
        revision (`str`): The model's revision, or `"unknown"`.
        messages (`list[dict[str, str]]`): The messages as sent.
        sampling (`Mapping[str, Any]`): Sampling parameters that change the reply, such as `temperature` and `seed`.
        schema (`Mapping[str, Any]`, *optional*): The JSON schema that guides decoding.
        attempt (`int`, *optional*, defaults to `0`): 0 for the first request, 1 for its repair.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    parts = [model, revision, messages, dict(sampling), dict(schema) if schema is not None else None, attempt]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class ResponseStore:
    """Replies by key, in one SQLite file that several threads and processes may share.

    A reply is synced to the disk when `put` returns. The file has to be on a local disk: WAL needs shared memory.

    Args:
        path (`str` or `Path`): The file; it and its folder are created if missing.

    Raises:
        `RecordError`: If the file is damaged, or was not written by this library. It is left as it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._guard():
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def get(self, key: str, max_new_tokens: int) -> Reply | None:
        """The stored reply that answers a request under this limit, if there is one.

        Args:
            key (`str`): From [`response_key`].
            max_new_tokens (`int`): How many tokens the request allows.
        """
        with self._guard():
            row = self._select(key)
        if row is None:
            return None
        reply, paid = row
        return reply if reply.serves(paid, max_new_tokens) else None

    def put(self, key: str, reply: Reply, max_new_tokens: int, *, flavour: str = "", model: str = "") -> Reply:
        """Store a reply for good.

        Args:
            key (`str`): From [`response_key`].
            reply (`Reply`): The reply.
            max_new_tokens (`int`): How many tokens the request allowed.
            flavour (`str`, *optional*): The dialect it was asked in, for information.
            model (`str`, *optional*): The model id, for information.

        Returns:
            `Reply`: What the store holds now: where another process was faster, its reply.
        """
        usage = reply.usage
        row = (key, reply.text, reply.finish_reason, usage.prompt_tokens, usage.completion_tokens, max_new_tokens)
        with self._guard():
            self._connection.execute(_PUT, (*row, flavour, model, time.time()))
            held = self._select(key)
        return held[0] if held else reply

    def __len__(self) -> int:
        with self._guard():
            return self._connection.execute("SELECT count(*) FROM responses").fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> ResponseStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _select(self, key: str) -> tuple[Reply, int] | None:
        columns = "text, finish_reason, prompt_tokens, completion_tokens, max_new_tokens"
        row = self._connection.execute(f"SELECT {columns} FROM responses WHERE key = ?", (key,)).fetchone()
        return row and (Reply(row[0], row[1], Usage(row[2], row[3], 1)), row[4])

    def _open(self) -> None:
        application, version = self._pragma("application_id"), self._pragma("user_version")
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (application or version or tables) and (application, version) != (_APPLICATION_ID, _VERSION):
            raise RecordError(
                f"{self.path} is an SQLite file of another program or version, so it cannot hold responses. "
                "Choose another path for the response store."
            )
        # Another process may be creating the same file: changing the journal mode does not wait for it by itself.
        deadline = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._connection.execute("PRAGMA synchronous = FULL")
        if application != _APPLICATION_ID:
            # One transaction: a kill leaves an empty file or a whole store.
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_SCHEMA)
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            self._connection.execute("COMMIT")

    def _pragma(self, name: str) -> int:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """One thread at a time; what SQLite cannot read or write is told as a `RecordError`."""
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise RecordError(
                    f"The response store {self.path} cannot be used: {error}. If it is damaged, move it away: "
                    "replies are then asked for, and paid for, again. If the disk is full, make room."
                ) from error
