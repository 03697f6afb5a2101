"""Writes of many requests, committed together: as many as came while the last commit ran."""

from __future__ import annotations

import asyncio

from equal_hf.extraction.responses.ledger import Write
from equal_hf.extraction.responses.reply import Reply
from equal_hf.extraction.responses.store import ResponseStore


class StoreWriter:
    """Writes to a store from one event loop.

    A commit waits for the disk. With hundreds of requests under way, one commit each would be most of the work; those
    that arrive during one commit share the next.

    Args:
        store ([`ResponseStore`]): The store.
    """

    def __init__(self, store: ResponseStore) -> None:
        self.store = store
        self._pending: list[tuple[Write, asyncio.Future[Reply | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, write: Write) -> Reply | None:
        """Write, and return when it is on the disk; what [`ResponseStore.commit`] gives for it."""
        future: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
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
