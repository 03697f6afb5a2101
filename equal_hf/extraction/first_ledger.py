"""The first requests to an endpoint in the ledger, under a name of their own: no allowance counts them.

Each is written down at the most it can cost before it is sent, so that a kill leaves none that nobody knows of.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from equal_hf.extraction.budget import TIERS, Prices
from equal_hf.extraction.responses.ledger import AttemptFailed, AttemptStarted, PaidBeside, Write
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.dialects import Server
from equal_hf.extraction.transport.faults import TransportFault
from equal_hf.types import Usage

# What the ledger calls the requests of first contacts.
PROBES = "probes"
# What a chat template may take.
_TEMPLATE_TOKENS = 512


class FirstLedger:
    """Books first requests.

    Args:
        store ([`ResponseStore`]): Where the ledger is.
        prices ([`Prices`]): What tokens cost; what an endpoint lists where they are not set.
    """

    def __init__(self, store: ResponseStore, prices: Prices) -> None:
        self.store, self.prices = store, prices

    async def ask(self, client: ChatClient, server: Server, body: dict[str, Any], max_tokens: int) -> ChatResponse:
        """Send a chat request once, and book it before and after; with the errors of [`ChatClient.chat`].

        Args:
            client ([`ChatClient`]): The endpoint.
            server ([`Server`]): What it is.
            body (`dict[str, Any]`): What is sent.
            max_tokens (`int`): Limit of the reply.
        """
        prices, shown = self.prices.or_listed([server.listed_prices]), client.address.shown
        told: list[ChatResponse] = []
        attempt = secrets.randbits(62)
        prompt = sum(len(message["content"].encode()) for message in body["messages"]) + _TEMPLATE_TOKENS
        worst = Usage(prompt, max_tokens, 1)
        tier = str(body.get("service_tier") or "")
        cost = prices.cost(worst, tier if tier == "priority" else "")
        await self._commit(AttemptStarted(attempt, PROBES, "", worst, cost, server.model, "", shown))
        before, client.on_reply = client.on_reply, told.append
        try:
            response = await client.chat(body)
        except TransportFault as fault:
            used = fault.usage if fault.maybe_billed else None
            cost = 0 if used is None else prices.cost(used)
            await self._commit(AttemptFailed(attempt, fault.maybe_billed, used, cost, shown))
            raise
        except Exception:
            await self._commit(AttemptFailed(attempt, maybe_billed=False))
            raise
        finally:
            client.on_reply = before
        writes: list[Write] = [AttemptFailed(attempt, maybe_billed=False)]
        for reply in told:  # none where it was an error that says that the model only thought
            served = reply.tier if reply.tier in TIERS else ""
            usage, paid = reply.usage(0, 0), reply.price(prices)
            writes.append(PaidBeside(secrets.randbits(62), PROBES, usage, paid, server.model, shown, served))
            if before is not None:
                before(reply)
        await self._commit(*writes)
        return response

    async def _commit(self, *writes: Write) -> None:
        await asyncio.to_thread(self.store.commit, writes)
