"""What an endpoint tells about itself for nothing: kind, limits, token counts. No chat request is made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from equal_hf.cli.planning import SampledDocument
from equal_hf.errors import EndpointError
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.requests.chunking import Chunker, TokenBounds
from equal_hf.extraction.requests.documents import sendable
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.dialects import Server, identify
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.utils.event_loop import LoopThread

logger = logging.getLogger(__name__)

BYTES_PER_TOKEN = 4
_MESSAGES = [{"role": "user", "content": "Hello."}]


@dataclass(frozen=True, slots=True)
class Survey:
    """What was learned.

    Args:
        documents (`list[SampledDocument]`): Each document as it would be sent.
        server ([`Server`], *optional*): The endpoint; `None` where it cannot be reached.
        problem (`str`, *optional*): Why not.
        counted (`bool`): Whether the endpoint counted tokens, or they follow from bytes.
    """

    documents: list[SampledDocument]
    server: Server | None
    problem: str | None
    counted: bool


def survey(
    texts: Sequence[str],
    config: EndpointConfig,
    prompt: PromptTemplate,
    timeout_s: float = 30.0,
) -> Survey:
    """Measure documents as an endpoint would be sent them.

    Args:
        texts (`Sequence[str]`): The sample.
        config ([`EndpointConfig`]): The endpoint; its first where there are several. Without one, or where it cannot
            be reached, tokens are estimated.
        prompt ([`PromptTemplate`]): The prompt.
        timeout_s (`float`, *optional*, defaults to `30.0`): Limit of one question.
    """
    if not config.url:
        return Survey(_by_bytes(texts, prompt, config.max_input_tokens), None, "`extractor_url` is not set", False)
    thread = LoopThread()
    address = config.addresses()[0]

    async def ask() -> Survey:
        client = ChatClient(address, timeout_s)
        try:
            state, fault = await client.state()
            if state != "up":
                raise EndpointError(f"it is {state}: {fault}")
            server = await identify(client.get, config.dialect, config.model)
            bounds = await TokenBounds.measure(client.post, server, prompt, _MESSAGES, None)
            limits = (server.prompt_limit(config.max_new_tokens), config.max_input_tokens)
            limit = min((limit for limit in limits if limit is not None), default=None)
            if not bounds.counts:
                return Survey(_by_bytes(texts, prompt, limit), server, None, False)
            bounds.require_room(limit)
            chunker = Chunker(client.post, bounds, prompt, limit)
            documents = []
            for text in texts:
                chunks = await chunker.plan(sendable(text), tight=True)
                tokens = sum(chunk.prompt_tokens for chunk in chunks)
                documents.append(
                    SampledDocument(tokens, max(1, tokens - len(chunks) * bounds.empty), len(chunks) or 1)
                )
            return Survey(documents, server, None, True)
        finally:
            await client.close()

    try:
        return thread.run(ask())
    except (EndpointError, TransportFault, Refusal) as error:
        return Survey(_by_bytes(texts, prompt, config.max_input_tokens), None, str(error), False)
    finally:
        thread.stop()


def _by_bytes(texts: Sequence[str], prompt: PromptTemplate, limit: int | None) -> list[SampledDocument]:
    frame = _tokens(prompt.messages("")[0]["content"])
    documents = []
    for text in texts:
        tokens = _tokens(text)
        requests = 1 if limit is None else max(1, -(-tokens // max(1, limit - frame)))
        documents.append(SampledDocument(tokens + requests * frame, tokens, requests))
    return documents


def _tokens(text: str) -> int:
    return max(1, len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
