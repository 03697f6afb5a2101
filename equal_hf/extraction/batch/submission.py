"""A batch on its way to the provider: each step is written down when it is done, and found out about when it may be.

| what a kill interrupts | what is in the store | what the next process does |
|---|---|---|
| the upload | the batch's name | deletes the file, if one of that name arrived; nothing was paid |
| making the batch | the file's id | looks for the batch by name; if there is none, deletes the file and looks again |
| polling | the batch's id | polls |
| reading | the batch's id, some answers | reads again, and skips what is stored |

Of a file that is gone no batch can be made, so a request to make one that was still on its way comes to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import BinaryIO, TypeVar

from equal_hf.errors import EndpointError
from equal_hf.extraction.batch.provider import BatchProvider, BatchStatus
from equal_hf.extraction.responses.batch_table import BatchEnded, BatchSubmitted, BatchUploaded, OpenBatch
from equal_hf.extraction.responses.ledger import Write
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.utils.retry import backoff_s

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A request that was sent just before a kill may arrive this much later.
LATE_S = 1.0
# A client error that names no cause passes at once or never.
_ODD_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and how often to try.

    Args:
        poll_s (`float`): Longest time between two looks at a batch.
        max_retries (`int`): How often what brings a batch on its way is tried again.
        away_s (`float`): How long a provider may be away while a batch is under way.
    """

    poll_s: float = 60.0
    max_retries: int = 10
    away_s: float = 600.0


class UncertainError(EndpointError):
    """What was begun may have been done: nothing is written off, and the next process looks."""


class Submission:
    """Brings one batch on its way, or finds out how far it got.

    Args:
        provider ([`BatchProvider`]): Where it goes.
        store ([`ResponseStore`]): Where each step is written down.
        batch ([`OpenBatch`]): The batch.
        patience ([`Patience`]): How often to try.

    Attributes:
        file_id (`str`): The provider's id of its file.
        was_discarded (`bool`): Whether its file was deleted, so that it cannot succeed.
    """

    def __init__(self, provider: BatchProvider, store: ResponseStore, batch: OpenBatch, patience: Patience) -> None:
        self.provider, self.store, self.batch, self.patience = provider, store, batch, patience
        self.file_id = batch.file_id
        self.was_discarded = False
        self._random = Random()

    async def send(self, file: BinaryIO) -> BatchStatus:
        """Upload the requests and make a batch of them.

        Raises:
            `EndpointError`: If the provider takes none. Where it is certain that no batch was made, nothing is left.
        """
        name, provider = self.batch.name, self.provider

        async def upload() -> str:
            file.seek(0)
            return await provider.upload(name, file)

        async def submit() -> BatchStatus:
            return await provider.submit(name, self.file_id)

        try:
            self.file_id = await self._persist(upload, lambda: provider.find_upload(name))
            await self.commit(BatchUploaded(name, self.file_id))
            status = await self._persist(submit, self._find)
        except UncertainError:
            raise
        except (EndpointError, Refusal) as error:
            await self.commit(BatchEnded(name, maybe_billed=False))
            await self.discard(self.file_id)
            raise error if isinstance(error, EndpointError) else self._not_taken(error) from error
        await self.commit(BatchSubmitted(name, status.id))
        return status

    async def find_again(self) -> BatchStatus | None:
        """The batch, where a process ended before it wrote down its id; `None` if there is and will be none."""
        name, provider = self.batch.name, self.provider
        if not self.file_id:
            if (file_id := await self._persist(lambda: provider.find_upload(name))) is not None:
                await self._persist(lambda: provider.discard(file_id))
            return None
        status = await self._persist(self._find)
        if status is None:
            await self._persist(lambda: provider.discard(self.file_id))
            self.was_discarded = True
            await asyncio.sleep(LATE_S)
            status = await self._persist(self._find)
        if status is not None:
            await self.commit(BatchSubmitted(name, status.id))
        return status

    async def commit(self, *writes: Write) -> None:
        """Write, and return when it is on the disk."""
        if writes:
            await asyncio.to_thread(self.store.commit, writes)

    async def discard(self, *file_ids: str) -> None:
        """Delete files that nobody needs any more, as far as that goes."""
        for file_id in filter(None, file_ids):
            try:
                await self.provider.discard(file_id)
            except (TransportFault, Refusal, EndpointError) as error:
                logger.debug("%s was not deleted: %s", file_id, error)

    async def _find(self) -> BatchStatus | None:
        return await self.provider.find(self.batch.name, self.file_id, self.batch.made_unix_s)

    async def _persist(
        self, act: Callable[[], Awaitable[T]], found: Callable[[], Awaitable[T | None]] | None = None
    ) -> T:
        """Do it, again and again; before it is done again, look whether it was done after all."""
        for attempt in count():
            try:
                if attempt and found is not None and (it := await found()) is not None:
                    return it
                return await act()
            except TransportFault as fault:
                retries = self.patience.max_retries
                if attempt >= (min(retries, _ODD_RETRIES) if fault.kind == "odd" else retries):
                    raise UncertainError(
                        f"The endpoint {self.provider.shown} cannot be used: it keeps failing: {fault}. "
                        "What was begun is taken up when you run again."
                    ) from fault
                await asyncio.sleep(fault.retry_after_s or backoff_s(attempt, self._random))
            except (EndpointError, Refusal) as error:
                if attempt:  # an earlier try may have come through
                    raise UncertainError(str(error)) from error
                raise
        raise AssertionError("unreachable")

    def _not_taken(self, refusal: Refusal) -> EndpointError:
        return EndpointError(f"{self.provider.shown} takes no batch of these requests: {refusal}.")
