"""Every response that was paid for, on disk before anything uses it, and what each run paid.

The store is one SQLite file in WAL mode. A response is found by what determines it: model and revision, the messages
as sent, the sampling parameters that change it, the schema, and which attempt it was. How many tokens were allowed is
no part of that: a response serves again unless it was cut short by length and more is allowed now.

Beside the responses stands the ledger. An attempt is written down before it is sent, with the most it can cost; what
it did cost is written in the same transaction as its response. One that a kill or a broken connection left unanswered
keeps its worst case, so no run ever paid more than the ledger says.

>>> import tempfile
>>> from equal_hf.extraction.responses.ledger import response_key
>>> key = response_key("org/model", "abc123", [{"role": "user", "content": "Hello"}], {"temperature": 0.0})
>>> with tempfile.TemporaryDirectory() as folder, ResponseStore(f"{folder}/responses.sqlite") as store:
...     response = store.put(key, Response("Hello!", "stop", Usage(3, 2, 1)), max_new_tokens=16)
...     store.get(key, max_new_tokens=1024).text
'Hello!'
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from equal_hf.errors import RecordError
from equal_hf.extraction.responses.batch_table import (
    ATTEMPT,
    KEEPER,
    OPEN,
    REQUESTS,
    BatchedRequest,
    BatchWrite,
    OpenBatch,
)
from equal_hf.extraction.responses.leases import LEASE_S, is_gone
from equal_hf.extraction.responses.ledger import (
    AttemptFailed,
    AttemptStarted,
    LeaseReleased,
    LeaseWanted,
    Paid,
    PaidBeside,
    Response,
    ResponseReceived,
    Write,
)
from equal_hf.extraction.responses.ledger_lines import LINES, LedgerLine
from equal_hf.extraction.responses.store_file import open_file
from equal_hf.types import Usage
from equal_hf.utils.known_secrets import mask_known

# A second response replaces the first only where the first would not serve, so all processes agree on one response.
# Columns are named, so that later versions can add some while this one has the file open.
_PUT = """
INSERT INTO responses (
    key, text, finish_reason, prompt_tokens, completion_tokens, max_new_tokens, dialect, model, created_unix_s,
    cached_tokens, reasoning_tokens, reasoning, cost
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    text = excluded.text, finish_reason = excluded.finish_reason, prompt_tokens = excluded.prompt_tokens,
    completion_tokens = excluded.completion_tokens, max_new_tokens = excluded.max_new_tokens,
    dialect = excluded.dialect, created_unix_s = excluded.created_unix_s, cached_tokens = excluded.cached_tokens,
    reasoning_tokens = excluded.reasoning_tokens, reasoning = excluded.reasoning, cost = excluded.cost
WHERE (finish_reason = 'length' AND excluded.max_new_tokens > max_new_tokens)
    OR (finish_reason = 'refused'
        AND (excluded.finish_reason <> 'refused' OR excluded.max_new_tokens < max_new_tokens))
"""
_GET = """
SELECT text, finish_reason, prompt_tokens, completion_tokens, max_new_tokens, cached_tokens, reasoning_tokens,
    reasoning, cost
FROM responses WHERE key = ?
"""
_STARTED = """
INSERT INTO attempts (
    id, run, key, state, prompt_tokens, completion_tokens, cost, sent_unix_s, model, tier, endpoint, day
) VALUES (?, ?, ?, 'sent', ?, ?, ?, ?, ?, ?, ?, date(?, 'unixepoch'))
"""
_PAID_BESIDE = """
INSERT INTO attempts (
    id, run, key, state, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cost, sent_unix_s, model,
    endpoint, tier, day
) VALUES (?, ?, '', 'answered', ?, ?, ?, ?, ?, ?, ?, ?, ?, date(?, 'unixepoch'))
"""
# What an attempt became; a day is the one it ended on, and an endpoint the one it was sent to.
_ENDED = "day = date(?, 'unixepoch'), endpoint = coalesce(nullif(?, ''), endpoint)"
_BOOKED = "prompt_tokens = ?, completion_tokens = ?, cached_tokens = ?, reasoning_tokens = ?, cost = ?"
_ANSWERED = f"UPDATE attempts SET state = 'answered', {_BOOKED}, {_ENDED}, tier = coalesce(?, tier) WHERE id = ?"
_LOST = f"UPDATE attempts SET state = 'lost', {_ENDED} WHERE id = ?"
_LOST_SO_MUCH = f"UPDATE attempts SET state = 'lost', {_BOOKED}, {_ENDED} WHERE id = ?"
_UNBILLED = "DELETE FROM attempts WHERE id = ?"
_RENEW = "UPDATE leases SET ends_unix_s = ? WHERE owner = ?"
_LEASED = "SELECT owner, ends_unix_s FROM leases WHERE key = ?"
_LEASE = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)"


class ResponseStore:
    """Responses by key, in one SQLite file that several threads and processes may share.

    A response is synced to the disk when `put` returns. The file has to be on a local disk: WAL needs shared memory.

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
            self._connection = open_file(self.path)

    def get(self, key: str, max_new_tokens: int) -> Response | None:
        """The stored response that answers a request under this limit, if there is one.

        Args:
            key (`str`): From [`response_key`].
            max_new_tokens (`int`): How many tokens the request allows.
        """
        with self._guard():
            row = self._select(key)
        if row is None:
            return None
        response, paid = row
        return response if response.serves(paid, max_new_tokens) else None

    def put(
        self, key: str, response: Response, max_new_tokens: int, *, dialect: str = "", model: str = ""
    ) -> Response:
        """Store a response for good; see [`ResponseReceived`].

        Returns:
            `Response`: What the store holds now: where another process was faster, its response.
        """
        (stored,) = self.commit([ResponseReceived(key, response, max_new_tokens, dialect, model)])
        return stored if isinstance(stored, Response) else response

    def renew_leases(self, owner: str) -> None:
        """Renew every lease of an asker."""
        with self._guard():
            self._connection.execute(_RENEW, (time.time() + LEASE_S, owner))

    def release_leases(self, owner: str) -> None:
        """Give up every lease of an asker."""
        with self._guard():
            self._connection.execute("DELETE FROM leases WHERE owner = ?", (owner,))

    def commit(self, writes: Sequence[Write]) -> list[Response | bool | None]:
        """Write all of these in one transaction, which is on the disk when this returns.

        Args:
            writes (`Sequence[Write]`): In order.

        Returns:
            `list[Response | bool | None]`: For each [`ResponseReceived`] what the store holds now: where another
            process was faster, its response. For each [`LeaseWanted`] the stored response if it serves, else whether
            the lease is now the asker's.
        """
        now = time.time()
        with self._guard():
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            try:
                results = [self._write(write, now) for write in writes]
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise
        return results

    def paid(self, run: str) -> Paid:
        """What a run paid so far."""
        query = """
            SELECT state = 'answered', count(*), sum(cost), sum(prompt_tokens), sum(completion_tokens),
                sum(cached_tokens), sum(reasoning_tokens)
            FROM attempts WHERE run = ? GROUP BY state = 'answered'
        """
        with self._guard():
            rows = self._connection.execute(query, (run,)).fetchall()
        cost, used = 0, {False: Usage(), True: Usage()}
        for answered, requests, paid, prompt, completion, cached, reasoning in rows:
            cost += paid
            used[bool(answered)] += Usage(prompt, completion, requests, cached, reasoning)
        return Paid(cost, used[True], used[False].requests, used[False])

    def lines(self, run: str | None = None) -> list[LedgerLine]:
        """The ledger, added up by all that tells attempts apart, oldest first.

        Args:
            run (`str`, *optional*): What this run paid alone.
        """
        with self._guard():
            return [LedgerLine.read(row) for row in self._connection.execute(LINES, (run,))]

    def open_batches(self) -> list[OpenBatch]:
        """Batches that no process has seen the end of, oldest first."""
        with self._guard():
            return [OpenBatch(*row) for row in self._connection.execute(OPEN)]

    def batched(self, *, batch: str | None = None, run: str | None = None) -> list[BatchedRequest]:
        """Requests in open batches.

        Args:
            batch (`str`, *optional*): Those of this batch.
            run (`str`, *optional*): Those that this run pays for.
        """
        query = f"{REQUESTS} WHERE batch = coalesce(?, batch) AND run = coalesce(?, run)"
        with self._guard():
            return [BatchedRequest(*row) for row in self._connection.execute(query, (batch, run))]

    def attempt(self, attempt: int) -> tuple[str, Usage, int]:
        """What became of an attempt: `"sent"`, `"answered"`, `"lost"` or, where it was none after all, `"unbilled"`;
        what it used, and what it cost.

        Args:
            attempt (`int`): Its id.
        """
        with self._guard():
            row = self._connection.execute(ATTEMPT, (attempt,)).fetchone()
        return ("unbilled", Usage(), 0) if row is None else (row[0], Usage(row[1], row[2], 1), row[3])

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

    def _select(self, key: str) -> tuple[Response, int] | None:
        row = self._connection.execute(_GET, (key,)).fetchone()
        # Earlier versions stored what a server echoed as it came.
        if row is None:
            return None
        text, finish_reason, prompt, completion, limit, cached, thought, reasoning, cost = row
        usage = Usage(prompt, completion, 1, cached, thought)
        return Response(mask_known(text), finish_reason, usage, reasoning, cost), limit

    def _lease(self, wanted: LeaseWanted, now: float) -> Response | bool:
        """The stored response if it serves; else whether the lease is now the asker's."""
        stored = self._select(wanted.key)
        if stored and stored[0].finish_reason != "refused" and stored[0].serves(stored[1], wanted.max_new_tokens):
            return stored[0]
        keeper = self._connection.execute(KEEPER, (wanted.key,)).fetchone()
        if keeper and keeper[0] != wanted.owner:  # it is in a batch, and paid for there
            return False
        lease = self._connection.execute(_LEASED, (wanted.key,)).fetchone()
        if lease and lease[0] != wanted.owner and lease[1] > now and not is_gone(lease[0]):
            return False
        self._connection.execute(_LEASE, (wanted.key, wanted.owner, now + LEASE_S))
        return True

    def _write(self, write: Write, now: float) -> Response | bool | None:
        execute = self._connection.execute
        if isinstance(write, BatchWrite):
            write.apply(execute, now)
            return None
        if isinstance(write, LeaseWanted):
            return self._lease(write, now)
        if isinstance(write, LeaseReleased):
            execute("DELETE FROM leases WHERE key = ? AND owner = ?", (write.key, write.owner))
            return None
        if isinstance(write, AttemptStarted):
            tokens = (write.worst.prompt_tokens, write.worst.completion_tokens)
            sent_to = (write.model, write.tier, write.endpoint)
            execute(_STARTED, (write.attempt, write.run, write.key, *tokens, write.cost, now, *sent_to, now))
            return None
        if isinstance(write, PaidBeside):
            paid = (*_counts(write.usage), write.cost, now, write.model, write.endpoint, write.tier, now)
            execute(_PAID_BESIDE, (write.attempt, write.run, *paid))
            return None
        if isinstance(write, AttemptFailed):
            if write.usage is not None:
                execute(_LOST_SO_MUCH, (*_counts(write.usage), write.cost, now, write.endpoint, write.attempt))
            elif write.maybe_billed:
                execute(_LOST, (now, write.endpoint, write.attempt))
            else:
                execute(_UNBILLED, (write.attempt,))
            return None
        response = write.response
        prompt, completion, *parts = _counts(response.usage)
        reply = (mask_known(response.text), response.finish_reason, prompt, completion, write.max_new_tokens)
        further = (*parts, response.reasoning and mask_known(response.reasoning), write.cost)
        execute("DELETE FROM leases WHERE key = ?", (write.key,))
        changed = execute(_PUT, (write.key, *reply, write.dialect, write.model, now, *further)).rowcount
        if write.attempt is not None:
            booked = (prompt, completion, *parts, write.cost)
            execute(_ANSWERED, (*booked, now, write.endpoint, write.tier, write.attempt))
        if changed:
            return response
        stored = self._select(write.key)
        return stored[0] if stored else response

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """One thread at a time; what SQLite cannot read or write is told as a `RecordError`."""
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise RecordError(
                    f"The response store {self.path} cannot be used: {error}. If it is damaged, move it away: "
                    "responses are then asked for, and paid for, again. If the disk is full, make room."
                ) from error


def _counts(usage: Usage) -> tuple[int, int, int, int]:
    return usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens


class StoreWriter:
    """Writes to a store from one event loop.

    A commit waits for the disk. With hundreds of requests under way, one commit each would be most of the work; those
    that arrive during one commit share the next.

    Args:
        store ([`ResponseStore`]): The store.
    """

    def __init__(self, store: ResponseStore) -> None:
        self.store = store
        self._pending: list[tuple[Write, asyncio.Future[Response | bool | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, write: Write) -> Response | bool | None:
        """Write, and return when it is on the disk; what [`ResponseStore.commit`] gives for it."""
        future: asyncio.Future[Response | bool | None] = asyncio.get_running_loop().create_future()
        self._pending.append((write, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        # A request that is cancelled must not take the others' commit with it.
        return await asyncio.shield(future)

    async def _drain(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                results = await asyncio.to_thread(self.store.commit, [write for write, _ in batch])
            except Exception as error:
                for _, future in batch:
                    future.set_exception(error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    future.set_result(result)
        self._task = None
