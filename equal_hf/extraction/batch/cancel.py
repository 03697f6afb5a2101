"""Ends the batches that are under way, for good: what was answered is stored and paid, and nothing more is done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from equal_hf.errors import EndpointError
from equal_hf.extraction.batch.keeper import Answered, BatchCancelledError, BatchKeeper
from equal_hf.extraction.batch.provider import BatchProvider
from equal_hf.extraction.batch.submission import Patience
from equal_hf.extraction.responses.batch_table import OpenBatch, lease_key
from equal_hf.extraction.responses.leases import RENEW_EVERY_S, owner_id
from equal_hf.extraction.responses.ledger import LeaseWanted
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.transport.faults import Refusal, TransportFault


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a batch.

    Args:
        batch (`str`): The provider's id of it, or its name where it had none.
        endpoint (`str`): Where it was.
        requests (`int`): Requests that had no answer in the store before.
        answered (`int`): Those of them that were answered; they are stored.
        cost (`int`): What these cost, in billionths of the currency.
    """

    batch: str
    endpoint: str
    requests: int
    answered: int
    cost: int


async def cancel_batches(
    store: ResponseStore, provider: Callable[[str], BatchProvider], patience: Patience, *, forget: bool = False
) -> list[Cancelled]:
    """Cancel all open batches of a store, and keep what was answered.

    Args:
        store ([`ResponseStore`]): Where they are written down.
        provider (`Callable`): The provider at an endpoint, by its name in the store.
        patience ([`Patience`]): How long to wait for their end.
        forget (`bool`, *optional*, defaults to `False`): Whether batches that the provider does not know are booked at
            the most they can cost, and are over.

    Raises:
        `EndpointError`: If a process that goes on keeps one, or a provider cannot be asked or does not know one.
    """
    owner = owner_id()
    renewing = asyncio.create_task(_renew(store, owner))
    try:
        return [
            await _cancel(store, batch, provider(batch.endpoint), patience, owner, forget)
            for batch in store.open_batches()
        ]
    finally:
        renewing.cancel()
        store.release_leases(owner)


async def _cancel(
    store: ResponseStore, batch: OpenBatch, provider: BatchProvider, patience: Patience, owner: str, forget: bool
) -> Cancelled:
    answered: list[Answered] = []

    def answer(key: str, outcome: Answered | Exception) -> None:
        if isinstance(outcome, Answered):
            answered.append(outcome)

    try:
        if store.commit([LeaseWanted(lease_key(batch.name), owner, 0)]) != [True]:
            raise EndpointError(
                f"{batch.batch_id or batch.name} is waited for by a run that goes on: stop that first, by Ctrl-C or "
                "SIGTERM, and cancel then"
            )
        keeper = BatchKeeper(provider, store, batch, answer, patience)
        keeper.is_own = forget
        if await keeper.take_up():
            # One that has ended meanwhile cannot be cancelled, and is read as it is.
            with contextlib.suppress(TransportFault, Refusal):
                await provider.cancel(keeper.status.id if keeper.status else batch.batch_id)
            with contextlib.suppress(BatchCancelledError):
                await keeper.see_through()
        name = keeper.status.id if keeper.status else batch.batch_id or batch.name
        return Cancelled(name, batch.endpoint, keeper.total, len(answered), sum(one.cost for one in answered))
    finally:
        await provider.close()


async def _renew(store: ResponseStore, owner: str) -> None:
    while True:
        await asyncio.sleep(RENEW_EVERY_S)
        await asyncio.to_thread(store.renew_leases, owner)
