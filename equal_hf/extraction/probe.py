"""The first contact with an endpoint: is it there, what is it, does it heed a schema, how are prompts bounded?"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from equal_hf.errors import EndpointError
from equal_hf.extraction.budget import Prices
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.first_ledger import FirstLedger
from equal_hf.extraction.first_requests import MESSAGES, FirstReplies, FirstRequests
from equal_hf.extraction.prompts.refine_judge import SecondPass
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.requests.chunking import TokenBounds, Tokenizer
from equal_hf.extraction.requests.request import Settings
from equal_hf.extraction.transport.chat_body import Capabilities
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.dialects import OLLAMA_CONTEXT, Server, identify, with_loaded_context
from equal_hf.extraction.transport.faults import TransportFault
from equal_hf.extraction.transport.schema_forms import JSON_MODE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the first contact told.

    Args:
        server ([`Server`]): What it is.
        replies ([`FirstReplies`]): What its first replies told; `None` where no chat request was made.
        bounds ([`TokenBounds`]): How its prompts are bounded.
        overheads (`tuple[int, ...]`): By how much each second prompt, empty, exceeds the first.
    """

    server: Server
    replies: FirstReplies | None
    bounds: TokenBounds
    overheads: tuple[int, ...]

    @property
    def schema(self) -> str:
        """What became of the schema: see [`FirstReplies`]."""
        return "unknown" if self.replies is None else self.replies.schema

    @property
    def capabilities(self) -> Capabilities:
        """What the server takes in a chat request."""
        return Capabilities() if self.replies is None else self.replies.capabilities


async def probe(
    client: ChatClient,
    config: EndpointConfig,
    prompt: PromptTemplate,
    sampling: dict[str, Any] | None = None,
    second: Sequence[SecondPass] = (),
    tokenizer: Tokenizer | None = None,
    *,
    generate: bool = True,
    ledger: FirstLedger | None = None,
) -> Findings:
    """Ask a server what it is and how it counts, and make one short chat request.

    Args:
        client ([`ChatClient`]): The endpoint.
        config ([`EndpointConfig`]): What the user says about it.
        prompt ([`PromptTemplate`]): The prompt in use.
        sampling (`dict[str, Any]`, *optional*): Sampling parameters.
        second (`Sequence[SecondPass]`, *optional*): Second requests to come.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's tokenizer, to count without asking.
        generate (`bool`, *optional*, defaults to `True`): Whether to make the chat request.
        ledger ([`FirstLedger`], *optional*): Where that is booked.

    Raises:
        `EndpointError`: If the endpoint cannot be used.
    """
    server: Server | None = None
    try:
        await _wait_until_loaded(client, config.load_timeout_s)
        try:
            server = await identify(client.get, config.dialect, config.model or client.address.deployment)
        except EndpointError as error:
            raise client.key_error or client.error(str(error)) from None
        replies = None
        if generate:
            first = FirstRequests(
                client,
                server,
                sampling or {},
                config.extra_body,
                config.completion_limit,
                prompt.schema,
                json_mode=_names_json(prompt, second),
                ledger=ledger,
            )
            replies = await first.ask()
            server = await with_loaded_context(client.get, server)
        server = _bounded(client, server, config)
        seen = None if replies is None else replies.prompt_tokens
        bounds = await TokenBounds.measure(client.post, server, prompt, MESSAGES, seen, tokenizer)
        overheads = [
            await bounds.counted(client.post, step.messages("", [], repair=True)) - bounds.empty - bounds.repair
            for step in second
        ]
    except TransportFault as fault:
        if fault.kind == "malformed" and server is not None and server.is_known:
            raise client.error(_not_understood(server, fault)) from fault
        if fault.kind == "malformed":
            raise client.error("what answers is no model server. Correct `extractor_url`.") from fault
        raise client.error(f"it keeps failing: {fault}. {fault.remedy}") from fault
    return Findings(server, replies, bounds, tuple(overheads))


def _names_json(prompt: PromptTemplate, second: Sequence[SecondPass]) -> bool:
    """Whether every request says that JSON is wanted, without which providers refuse JSON mode."""
    asked = [prompt.messages(""), *(step.messages("", []) for step in second)]
    return all("json" in "".join(message["content"] for message in messages).lower() for messages in asked)


def _not_understood(server: Server, fault: TransportFault) -> str:
    """What a model server answered that cannot be read, and what to do about it."""
    if fault.begins is None:
        return f"it serves {server.model}, but its answer was not understood: {fault}. {fault.remedy}"
    if fault.begins.startswith(("data:", "event:", "id:", ":")):
        remedy = "It is a stream, which was not asked for: let the server or its gateway answer in one piece."
    else:
        remedy = (
            "Look at the log of the server or of the gateway before it; an answer needs `choices` with a `message`."
        )
    return f"it serves {server.model}, but its chat answer was not understood: {fault.shown}. {remedy}"


async def _wait_until_loaded(client: ChatClient, load_timeout_s: float) -> None:
    asked_at = time.monotonic()
    state, fault = await client.state()
    if state == "down":
        raise client.error(f"{fault}. {fault.remedy if fault else ''}")
    if state == "up":
        return
    logger.warning("%s is loading: waiting up to %.0f s for it.", client.address.shown, load_timeout_s)
    while state != "up":
        if time.monotonic() - asked_at > load_timeout_s:
            raise client.error(
                f"it is still {state} after {load_timeout_s:.0f} s. Look at the server's log, or raise "
                "`extractor_load_timeout_s`."
            )
        await asyncio.sleep(min(1.0, load_timeout_s / 10))
        state, _ = await client.state()
    logger.warning("%s is ready.", client.address.shown)


def _bounded(client: ChatClient, server: Server, config: EndpointConfig) -> Server:
    """An Ollama server with the context that it has where nobody says otherwise; others as they are."""
    if server.dialect != "ollama":
        return server
    context = server.max_total_tokens
    if context is None and config.max_input_tokens is None:
        context = OLLAMA_CONTEXT
    logger.warning(
        "%s is Ollama, which cuts prompts beyond its context without a word%s. Raise it on the server by "
        "OLLAMA_CONTEXT_LENGTH or `PARAMETER num_ctx` of the model%s.",
        client.address.shown,
        "" if context is None else f": documents are split to fit into {context} tokens",
        "" if server.max_total_tokens else ", and tell it by `extractor_max_input_tokens`",
    )
    return replace(server, max_total_tokens=context)


def agree(
    findings: Sequence[Findings],
    shown: Sequence[str],
    config: EndpointConfig,
    sampling: dict[str, Any],
    prices: Prices,
) -> Settings:
    """Settings that hold for all endpoints: one model, the smallest limit, a schema and parameters if all take them.

    Args:
        findings (`Sequence[Findings]`): What each is.
        shown (`Sequence[str]`): Its URL, as it may be shown.
        config ([`EndpointConfig`]): What the user asks for.
        sampling (`dict[str, Any]`): Sampling parameters that change a reply.
        prices ([`Prices`]): What tokens cost.

    Raises:
        `EndpointError`: If they serve different models or revisions.
    """
    first = findings[0].server
    for url, found in zip(shown, findings, strict=True):
        if (found.server.model, found.server.revision) != (first.model, first.revision):
            raise EndpointError(
                f"{shown[0]} serves {first.model} at revision {first.revision}, and {url} {found.server.model} at "
                f"{found.server.revision}. Pairs of one run come from one model: correct `extractor_url`."
            )
    revision = first.revision or config.model_revision
    if revision is None:
        logger.warning(
            "%s does not tell the revision of %s: records will say 'unknown'. Set `extractor_model_revision`.",
            shown[0],
            first.model,
        )
    elif config.model_revision not in (None, revision):
        logger.warning(
            "%s serves %s at revision %s, not at `extractor_model_revision` %s: records name what is served.",
            shown[0],
            first.model,
            revision,
            config.model_revision,
        )
    limits = [found.server.prompt_limit(config.completion_limit) for found in findings]
    limits += [
        config.max_input_tokens,
        None if config.tokens_per_minute is None else config.tokens_per_minute - config.completion_limit,
    ]
    left_out = {name for found in findings for name in found.capabilities.left_out}
    return Settings(
        model=first.model,
        revision=revision or "unknown",
        max_new_tokens=config.max_new_tokens,
        prompt_limit=min((limit for limit in limits if limit is not None), default=None),
        completion_limit=config.completion_limit,
        sampling={name: value for name, value in sampling.items() if name not in left_out},
        asked_sampling=sampling,
        guided=all(found.schema not in ("refused", JSON_MODE) for found in findings),
        prices=prices,
        record_reasoning=config.record_reasoning,
        service_tier=config.service_tier or "",
        extra=config.extra_body,
    )
