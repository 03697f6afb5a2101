"""Documents as an endpoint would be sent them, measured for a plan: tokens and requests. Nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from equal_hf.errors import EndpointError
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.probe import probe
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.requests.chunking import Chunker
from equal_hf.extraction.requests.documents import sendable
from equal_hf.extraction.requests.pace import pace
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.dialects import Server
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.utils.event_loop import LoopThread
from equal_hf.utils.waiting import waiting

# What English text comes to in most tokenizers, for endpoints that count no tokens.
_BYTES_PER_TOKEN = 4
# A plan is read by somebody who waits for it.
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class SampledDocument:
    """One document of the sample.

    Args:
        prompt_tokens (`int`): Of its requests together, prompt and chat template included.
        document_tokens (`int`): Of its text alone.
        requests (`int`): How many it is split into.
    """

    prompt_tokens: int
    document_tokens: int
    requests: int


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


def survey(texts: Sequence[str], config: EndpointConfig, prompt: PromptTemplate) -> Survey:
    """Measure documents as an endpoint would be sent them; it is asked to count, never to generate.

    Args:
        texts (`Sequence[str]`): The sample.
        config ([`EndpointConfig`]): The endpoint; its first where there are several. Without one, or where it cannot
            be reached, tokens are estimated.
        prompt ([`PromptTemplate`]): The prompt.
    """
    if not config.url:
        return Survey(_by_bytes(texts, prompt, config.max_input_tokens), None, "`extractor_url` is not set", False)
    client = ChatClient(config.addresses()[0], _TIMEOUT_S)

    async def ask() -> Survey:
        try:
            with waiting(f"{client.address.shown} to say what it serves"):
                found = await probe(client, replace(config, load_timeout_s=0), prompt, generate=False)
            server, bounds = found.server, found.bounds
            limits = (server.prompt_limit(config.completion_limit), config.max_input_tokens)
            limit = min((limit for limit in limits if limit is not None), default=None)
            if not bounds.counts:
                return Survey(_by_bytes(texts, prompt, limit), server, None, False)
            bounds.require_room(limit)
            chunker = Chunker(client.post, bounds, prompt, limit)
            documents: list[SampledDocument] = []

            def told(seconds: float) -> str:
                return f"{client.address.shown} counts tokens: {pace(len(documents), len(texts), seconds)}"

            with waiting("counts", told):
                for text in texts:
                    chunks = await chunker.plan(sendable(text), tight=True)
                    tokens = sum(chunk.prompt_tokens for chunk in chunks)
                    of_text = max(1, tokens - len(chunks) * bounds.empty)
                    documents.append(SampledDocument(tokens, of_text, len(chunks) or 1))
            return Survey(documents, server, None, True)
        finally:
            await client.close()

    thread = LoopThread()
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
    return max(1, len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)
