"""Requests of one call of `extract`, gathered until nobody has another one, then sent as a batch and answered.

Batches that another process left are taken up first: what is in one is never sent again while it is under way.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
import time
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from equal_hf.errors import EndpointError
from equal_hf.extraction.batch.jsonl import parts
from equal_hf.extraction.batch.keeper import Answered, BatchKeeper
from equal_hf.extraction.batch.provider import BatchProvider
from equal_hf.extraction.batch.submission import Patience
from equal_hf.extraction.requests.activity import Activity
from equal_hf.extraction.requests.answers import Terms
from equal_hf.extraction.responses.batch_table import BatchPlanned, OpenBatch, lease_key
from equal_hf.extraction.responses.ledger import AttemptStarted, LeaseWanted, Write
from equal_hf.extraction.responses.response_store import ResponseStore, StoreWriter

logger = logging.getLogger(__name__)

# How long the files of a batch that is over may take to be deleted.
_TIDY_S = 10.0


class TooFewError(Exception):
    """There are too few requests for a batch: each is to be sent by itself."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A request on its way into a batch."""

    started: AttemptStarted
    text: bytes


class BatchSender:
    """Batches of one call of `extract`, within one event loop.

    Args:
        provider ([`BatchProvider`]): Where they go.
        store ([`ResponseStore`]): Where they are written down.
        writer ([`StoreWriter`]): Writes there.
        owner (`str`): Whose leases they are kept by.
        terms ([`Terms`]): What answers are stored under and cost.
        patience ([`Patience`]): How long to wait.
        activity ([`Activity`]): Tells when nobody has another request.
        fewest (`int`): Fewer requests are no batch.
        most (`int`, *optional*): A batch has no more requests than that, and the next one is sent when it is over.
    """

    def __init__(
        self,
        provider: BatchProvider,
        store: ResponseStore,
        writer: StoreWriter,
        owner: str,
        terms: Terms,
        patience: Patience,
        activity: Activity,
        fewest: int = 1,
        most: int | None = None,
    ) -> None:
        self.provider, self.store, self.writer, self.owner = provider, store, writer, owner
        self.terms, self.patience, self.activity = terms, patience, activity
        self.fewest, self.most = fewest, most
        # Where a provider limits what is queued, batches are sent in turn.
        self._turn: AbstractAsyncContextManager[Any] = asyncio.Lock() if most is not None else nullcontext()
        self._stopped: Exception | None = None
        self._lines: dict[str, _Line] = {}  # gathered, by key
        self._answers: dict[str, asyncio.Future[Answered]] = {}  # waited for, by key
        self._keepers: dict[str, BatchKeeper] = {}  # by name of the batch
        self._batch_of: dict[str, str] = {}  # by key, as long as it has no answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = 0
        activity.on_quiet = self._flush

    async def answer(self, key: str, body: dict[str, Any], started: AttemptStarted) -> Answered:
        """The answer to a request, in whatever batch it is or will be; the caller holds its lease.

        Args:
            key (`str`): Key of the response.
            body (`dict[str, Any]`): What would be posted.
            started ([`AttemptStarted`]): Its attempt, which is written down with its batch.

        Raises:
            `TransportFault`: If it got none. Its attempt is settled.
            [`TooFewError`]: If it is to be sent by itself. Nothing was written.
            `EndpointError`: If there are no batches to be had.
        """
        future = self._answers[key] = asyncio.get_running_loop().create_future()
        if key not in self._batch_of:
            self._lines[key] = _Line(started, self.provider.line(key, body))
        try:
            with self.activity.parked():
                return await future
        finally:
            self._lines.pop(key, None)
            self._answers.pop(key, None)

    def holds(self, key: str) -> bool:
        """Whether a request is in a batch that is kept here."""
        return key in self._batch_of

    async def adopt(self) -> None:
        """Take up the batches of this provider that nobody keeps.

        Raises:
            `EndpointError`: If the provider cannot be asked.
        """
        for batch in await asyncio.to_thread(self.store.open_batches):
            if batch.endpoint != self.provider.shown or batch.name in self._keepers:
                continue
            if await self.writer.write(LeaseWanted(lease_key(batch.name), self.owner, 0)) is not True:
                continue
            keeper = await asyncio.to_thread(self._keeper, batch)
            if await keeper.take_up():
                self._keep(keeper)
                self._hold(keeper.see_through(), batch.name)

    def told(self) -> str:
        """How far the batches are, in words; empty where none is waited for."""
        under_way = [keeper.progress() for keeper in list(self._keepers.values()) if keeper.requests]
        more = f", and {len(under_way) - 1} more" if len(under_way) > 1 else ""
        return under_way[0] + more if under_way else ""

    def stop(self, error: Exception) -> None:
        """Wait for no batch any more: whoever does gets this error."""
        self._stopped = error
        for key in list(self._answers):
            self._resolve(key, error)

    async def leave(self, timeout_s: float) -> None:
        """Send nothing more, and tell what goes on at the provider; what is being sent has so much time."""
        self._lines.clear()
        self._stopped = EndpointError("Extraction was interrupted.")
        ends_s = time.monotonic() + timeout_s
        while self._sending and time.monotonic() < ends_s:
            await asyncio.sleep(0.05)
        for keeper in self._keepers.values():
            if keeper.requests and keeper.is_sent:
                logger.warning(
                    "%s. It goes on at %s; the same command takes it up, and pays for nothing twice.",
                    keeper.progress(),
                    self.provider.shown,
                )
            elif keeper.requests:
                logger.warning("%s was on its way: the same command finds out what became of it.", keeper.label)

    async def close(self) -> None:
        """Keep no batch any more: they go on at the provider. One that is over is put away first."""
        self.activity.on_quiet = None
        over = [task for task in self._tasks if (keeper := self._keepers.get(task.get_name())) and not keeper.requests]
        if over:
            await asyncio.wait(over, timeout=_TIDY_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.provider.close()

    # -- sending ---------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Nobody has another request: send those that are there."""
        lines, self._lines = self._lines, {}
        if 0 < len(lines) < self.fewest:
            for key in lines:
                self._resolve(key, TooFewError())
            return
        provider = self.provider
        most = min(provider.max_requests, self.most or provider.max_requests)
        for part in parts(lines.values(), lambda one: len(one.text), most, provider.max_bytes):
            name = f"equal-hf-{secrets.token_hex(8)}"
            for one in part:
                self._batch_of[one.started.key] = name
            self._hold(self._send(name, part), name)

    async def _send(self, name: str, lines: Sequence[_Line]) -> None:
        async with self._turn:
            if self._stopped is not None:
                raise self._stopped
            try:
                keeper = await self._sent(name, lines)
                await keeper.see_through()
            except Exception as error:  # before the next one has its turn
                self._stopped = self._stopped or error
                raise

    async def _sent(self, name: str, lines: Sequence[_Line]) -> BatchKeeper:
        self._sending += 1
        try:
            requests = tuple((line.started.key, line.started.attempt) for line in lines)
            planned = BatchPlanned(name, self.provider.shown, self.terms.text(), requests)
            writes: list[Write] = [
                *(line.started for line in lines),
                planned,
                LeaseWanted(lease_key(name), self.owner, 0),
            ]
            await asyncio.to_thread(self.store.commit, writes)
            batch = OpenBatch(name, planned.endpoint, planned.terms, "", "", time.time())
            keeper = await asyncio.to_thread(self._keeper, batch)
            self._keep(keeper)
            with tempfile.TemporaryFile() as file:
                file.writelines(line.text for line in lines)
                await keeper.send(file)
        finally:
            self._sending -= 1
        return keeper

    # -- keeping ---------------------------------------------------------------------------------------------------

    def _keeper(self, batch: OpenBatch) -> BatchKeeper:
        return BatchKeeper(self.provider, self.store, batch, self._resolve, self.patience)

    def _keep(self, keeper: BatchKeeper) -> None:
        self._keepers[keeper.batch.name] = keeper
        self._batch_of |= dict.fromkeys(keeper.requests, keeper.batch.name)

    def _hold(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do it beside the requests; what they wait for ends with it."""

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            error = task.exception() or EndpointError("a batch ended without an answer to each of its requests")
            for key in [key for key, batch in self._batch_of.items() if batch == name]:
                self._resolve(key, error)

        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(done)

    def _resolve(self, key: str, outcome: Answered | BaseException) -> None:
        self._batch_of.pop(key, None)
        future = self._answers.get(key)
        if future is None or future.done():
            return
        if isinstance(outcome, Answered):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
