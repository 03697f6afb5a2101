"""Exact match of a model that a server has: asked as a chat over HTTP, read and kept like any other.

The transport is that of extraction: what passes is tried again, 429 is waited for, what is refused for good is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.concurrency import ConcurrencyLimit
from equal_hf.extraction.transport.dialects import identify
from equal_hf.extraction.transport.endpoint_state import EndpointState
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.extraction.transport.load_balancer import ChatRequest, LoadBalancer
from equal_hf.extraction.transport.rate_limit import RateLimiter
from equal_hf.extraction.transport.url import Address
from equal_hf.training.exact_match.forms import chat_messages
from equal_hf.training.exact_match.generation import Reply
from equal_hf.training.exact_match.measure import Question, compare, require_verifier, telling
from equal_hf.training.exact_match.reply_file import ReplyFile
from equal_hf.types import Usage
from equal_hf.utils.hashing import content_hash

logger = logging.getLogger(__name__)

GREEDY = {"temperature": 0.0}


def measure_served(asked: Question, url: str, config: EndpointConfig, *, folder: Path, name: str) -> dict[str, float]:
    """Measure exact match of a served model in the form `chat`; replies on record are not asked for again.

    Args:
        asked ([`Question`]): What is asked.
        url (`str`): Where the server is.
        config ([`EndpointConfig`]): The model's name there, the key, how many requests at a time.
        folder (`Path`): Where replies are kept.
        name (`str`): What they are called there.

    Returns:
        `dict[str, float]`: `exact_match` and `exact_match_stderr`; empty without an item.

    Raises:
        [`EndpointError`]: If the server cannot be used.
        [`MissingDependencyError`]: If an item's result is a formula and math_verify is not installed.
    """
    if not asked.items:
        return {}
    require_verifier(asked)
    address = Address.parse(url, config.api_key)
    questions = content_hash("\n".join(f"{item.question}\n{item.final}" for item in asked.items))
    identity = {"url": address.shown, "model": config.model, "questions": questions, "new_tokens": asked.new_tokens}
    kept = ReplyFile(folder, name, identity)
    if (result := kept.result()) is not None:
        return result
    replies = kept.replies()
    with telling("exact match over HTTP", len(asked.items), len(replies)) as done:

        def keep(new: Mapping[int, Reply]) -> None:
            replies.update(new)
            kept.add(new)
            done(len(new))

        asyncio.run(_ask_all(address, asked, config, set(replies), keep))
    return compare(asked, replies, kept)


async def _ask_all(
    address: Address,
    asked: Question,
    config: EndpointConfig,
    known: set[int],
    keep: Callable[[dict[int, Reply]], None],
) -> None:
    client = ChatClient(address, config.request_timeout_s)
    refused = 0
    try:
        try:
            server = await identify(client.get, config.dialect, config.model or address.deployment)
        except TransportFault as fault:
            raise client.error(f"it does not answer: {fault}. {fault.remedy}") from fault
        endpoint = EndpointState(
            client,
            server,
            ConcurrencyLimit(min(config.concurrency, server.max_concurrent or config.concurrency)),
            RateLimiter(config.requests_per_minute),
            RateLimiter(config.tokens_per_minute),
        )
        balancer = LoadBalancer([endpoint], config)

        async def ask(place: int) -> None:
            nonlocal refused
            messages = chat_messages(asked.items[place])
            try:
                answer, _ = await balancer.chat(ChatRequest(messages, asked.new_tokens, 0, GREEDY, None), _NoBooks())
            except Refusal:
                refused += 1
                keep({place: Reply("", 0, False)})
                return
            except TransportFault as fault:
                raise client.error(f"it keeps failing: {fault}. {fault.remedy}") from fault
            keep({place: _reply(answer)})

        async with asyncio.TaskGroup() as tasks:
            for place in range(len(asked.items)):
                if place not in known:
                    tasks.create_task(ask(place))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        await client.close()
    if refused:
        logger.warning("%d questions were refused by the server and count as wrong.", refused)


def _reply(answer: ChatResponse) -> Reply:
    return Reply(answer.text, answer.completion_tokens or 0, not answer.cut_short)


class _NoBooks:
    """A measurement has no budget: every attempt may be made."""

    async def sending(self) -> None:
        """As of [`AttemptLog`]."""

    async def unanswered(self, *, maybe_billed: bool, usage: Usage | None = None, endpoint: str = "") -> bool:
        """As of [`AttemptLog`]."""
        return True
