"""Provider batches that are under way, as the response store holds them: written before each step is taken.

A batch's row and the attempts of its requests are there before anything is uploaded, the file's id before a batch is
made of it, and the batch's id before it is first polled. So whatever a kill interrupts, the next process that opens
the store knows what to look for. As long as a request is in a batch nobody but the batch's keeper may ask for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from equal_hf.types import Usage

TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    terms TEXT NOT NULL,
    file_id TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    made_unix_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch_requests (key TEXT PRIMARY KEY, batch TEXT NOT NULL, attempt INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_requests_by_batch ON batch_requests (batch)
"""
OPEN = "SELECT name, endpoint, terms, file_id, batch_id, made_unix_s FROM batches ORDER BY made_unix_s, name"
REQUESTS = """
SELECT batch_requests.key, attempt, run, prompt_tokens, completion_tokens, cost
FROM batch_requests JOIN attempts ON attempts.id = attempt
"""
ATTEMPT = "SELECT state, prompt_tokens, completion_tokens, cost FROM attempts WHERE id = ?"
# Who holds the lease of the batch that a request is in.
KEEPER = (
    "SELECT owner FROM batch_requests LEFT JOIN leases ON leases.key = 'batch ' || batch WHERE batch_requests.key = ?"
)
_ATTEMPTS = "(SELECT attempt FROM batch_requests WHERE batch = ?)"

Execute = Callable[..., Any]


def lease_key(name: str) -> str:
    """The key under which a batch itself is leased, by whoever polls it."""
    return f"batch {name}"


@dataclass(frozen=True, slots=True)
class BatchPlanned:
    """A batch is about to be uploaded; its attempts are started in the same transaction.

    Args:
        name (`str`): Unique; the provider is told it too, so that a batch can be found again by it.
        endpoint (`str`): Where it goes, without secrets.
        terms (`str`): What its answers are stored under, as JSON.
        requests (`tuple[tuple[str, int], ...]`): Key and attempt of each request.
    """

    name: str
    endpoint: str
    terms: str
    requests: tuple[tuple[str, int], ...]

    def apply(self, execute: Execute, now: float) -> None:
        """Write it."""
        execute("INSERT INTO batches VALUES (?, ?, ?, '', '', ?)", (self.name, self.endpoint, self.terms, now))
        for key, attempt in self.requests:
            execute("INSERT OR REPLACE INTO batch_requests VALUES (?, ?, ?)", (key, self.name, attempt))


@dataclass(frozen=True, slots=True)
class BatchUploaded:
    """The requests of a batch lie at the provider.

    Args:
        name (`str`): The batch.
        file_id (`str`): The provider's id of the file.
    """

    name: str
    file_id: str

    def apply(self, execute: Execute, now: float) -> None:
        """Write it."""
        execute("UPDATE batches SET file_id = ? WHERE name = ?", (self.file_id, self.name))


@dataclass(frozen=True, slots=True)
class BatchSubmitted:
    """The provider has a batch.

    Args:
        name (`str`): The batch.
        batch_id (`str`): The provider's id of it.
    """

    name: str
    batch_id: str

    def apply(self, execute: Execute, now: float) -> None:
        """Write it."""
        execute("UPDATE batches SET batch_id = ? WHERE name = ?", (self.batch_id, self.name))


@dataclass(frozen=True, slots=True)
class BatchRequestDone:
    """A request is in its batch no more: it was answered, or will not be. What became of its attempt is written in the
    same transaction.

    Args:
        name (`str`): The batch.
        key (`str`): Key of the response.
    """

    name: str
    key: str

    def apply(self, execute: Execute, now: float) -> None:
        """Write it."""
        execute("DELETE FROM batch_requests WHERE key = ? AND batch = ?", (self.key, self.name))


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """A batch is over; what is still in it was not answered.

    Args:
        name (`str`): The batch.
        maybe_billed (`bool`): Whether that may have been billed all the same; else its attempts were none.
    """

    name: str
    maybe_billed: bool

    def apply(self, execute: Execute, now: float) -> None:
        """Write it."""
        if self.maybe_billed:
            execute(f"UPDATE attempts SET state = 'lost' WHERE state = 'sent' AND id IN {_ATTEMPTS}", (self.name,))
        else:
            execute(f"DELETE FROM attempts WHERE state = 'sent' AND id IN {_ATTEMPTS}", (self.name,))
        execute("DELETE FROM batch_requests WHERE batch = ?", (self.name,))
        execute("DELETE FROM batches WHERE name = ?", (self.name,))
        execute("DELETE FROM leases WHERE key = ?", (lease_key(self.name),))


BatchWrite = BatchPlanned | BatchUploaded | BatchSubmitted | BatchRequestDone | BatchEnded


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that is under way, or was when a process ended.

    Args:
        name (`str`): Unique; in the provider's metadata.
        endpoint (`str`): Where it is, without secrets.
        terms (`str`): What its answers are stored under, as JSON.
        file_id (`str`): The provider's id of its file; empty before it is known.
        batch_id (`str`): The provider's id of the batch; empty before it is known.
        made_unix_s (`float`): When it was planned.
    """

    name: str
    endpoint: str
    terms: str
    file_id: str
    batch_id: str
    made_unix_s: float


@dataclass(frozen=True, slots=True)
class BatchedRequest:
    """A request in an open batch.

    Args:
        key (`str`): Key of the response.
        attempt (`int`): Its attempt in the ledger.
        run (`str`): The run that pays.
        prompt_tokens, completion_tokens (`int`): The most it can use.
        cost (`int`): The most it can cost, in billionths of the currency.
    """

    key: str
    attempt: int
    run: str
    prompt_tokens: int
    completion_tokens: int
    cost: int

    @property
    def worst(self) -> Usage:
        """The most it can use."""
        return Usage(self.prompt_tokens, self.completion_tokens, 1)
