"""Endpoints after the first contact: what they are, what is asked of them, and the traffic to them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.extraction.batch.openai_batches import require_batches
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.first_ledger import FirstLedger
from equal_hf.extraction.probe import Findings, agree, probe
from equal_hf.extraction.prompts.refine_judge import SecondPass
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.requests.chunking import Chunker, Tokenizer
from equal_hf.extraction.requests.chunks import ChunkExtractor
from equal_hf.extraction.requests.request import Settings
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.concurrency import ConcurrencyLimit
from equal_hf.extraction.transport.endpoint_state import EndpointState
from equal_hf.extraction.transport.load_balancer import LoadBalancer
from equal_hf.extraction.transport.rate_limit import RateLimiter
from equal_hf.extraction.transport.streamed_chat import tells_usage
from equal_hf.extraction.transport.url import Address
from equal_hf.utils.hub_retry import wait_for_hub
from equal_hf.utils.printable import first_line
from equal_hf.utils.waiting import waiting

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connection:
    """Endpoints that serve one model, within one event loop.

    Args:
        balancer ([`LoadBalancer`]): The traffic to them.
        chunker ([`Chunker`]): Turns documents into requests within their limits.
        settings ([`Settings`]): What is asked of them all.
        findings (`list[Findings]`): What each of them is.
    """

    balancer: LoadBalancer
    chunker: Chunker
    settings: Settings
    findings: list[Findings]

    @classmethod
    async def open(
        cls,
        addresses: Sequence[Address],
        config: EndpointConfig,
        prompt: PromptTemplate,
        sampling: dict[str, Any],
        second: Sequence[SecondPass],
        ledger: FirstLedger,
    ) -> Connection:
        """Contact the endpoints.

        Args:
            addresses (`Sequence[Address]`): Where they are.
            config ([`EndpointConfig`]): What the user says about them.
            prompt ([`PromptTemplate`]): The prompt in use.
            sampling (`dict[str, Any]`): Sampling parameters.
            second (`Sequence[SecondPass]`): Second requests to come.
            ledger ([`FirstLedger`]): Where first requests are booked; knows what tokens cost.

        Raises:
            `EndpointError`: If one cannot be used, or they serve different models.
            `ConfigError`: If the prompt or `max_new_tokens` leave no room within their limits.
        """
        tokenizer = _load_tokenizer(config.tokenizer) if config.tokenizer is not None else None
        clients = [ChatClient(address, config.request_timeout_s) for address in addresses]
        replies: list[ChatResponse] = []
        for client in clients:
            client.on_reply = replies.append
        prices = ledger.prices
        try:
            contacts = (
                probe(client, config, prompt, sampling, second, tokenizer, ledger=ledger) for client in clients
            )
            shown = [client.address.shown for client in clients]
            with waiting(f"the first reply of {', '.join(shown)}"):
                findings = await asyncio.gather(*contacts)
            listed = prices.or_listed([found.server.listed_prices for found in findings])
            if listed != prices:
                logger.info(
                    "%s lists its prices: %g a million prompt tokens, %g cached ones, %g completion tokens.",
                    ", ".join(shown),
                    listed.prompt,
                    listed.prompt if listed.cached is None else listed.cached,
                    listed.completion,
                )
            settings = agree(findings, shown, config, sampling, listed)
            # It can be set for a whole project, too.
            tiers = (config.body_tier, *(reply.tier for reply in replies))
            if "priority" in tiers and listed.priority > 1:
                settings = replace(settings, dearest_tier="priority")
            bounds = findings[0].bounds
            reserve = ChunkExtractor.reserve(config.max_new_tokens, findings[0].overheads, counts=bounds.counts)
            bounds.require_room(settings.prompt_limit, reserve)
            if config.batch:
                await require_batches(addresses[0])
        except BaseException:
            for client in clients:
                await client.close()
            raise
        # What one refuses is sent to none: the replies of a run are sampled alike.
        left_out = frozenset(name for found in findings for name in found.capabilities.left_out)
        for client in clients:
            client.on_reply = None
        endpoints = [
            EndpointState(
                client,
                found.server,
                ConcurrencyLimit(min(config.concurrency, found.server.max_concurrent or config.concurrency)),
                RateLimiter(config.requests_per_minute),
                RateLimiter(config.tokens_per_minute),
                config.stream == "true" or (config.stream == "auto" and tells_usage(found.server.dialect)),
                replace(found.capabilities, left_out=left_out),
            )
            for client, found in zip(clients, findings, strict=True)
        ]
        for endpoint in endpoints:
            logger.info(
                "%s (%s) serves %s: prompts of up to %s tokens, up to %d requests at a time.",
                endpoint.client.address.shown,
                endpoint.server.dialect,
                settings.model,
                settings.prompt_limit or "any number of",
                endpoint.concurrency.limit,
            )
        balancer = LoadBalancer(endpoints, config)
        chunker = Chunker(balancer.post, bounds, prompt, settings.prompt_limit, reserve)
        return cls(balancer, chunker, settings, findings)

    async def close(self) -> None:
        """Close all connections."""
        for endpoint in self.balancer.endpoints:
            await endpoint.client.close()

    def describe(self) -> list[dict[str, Any]]:
        """What each endpoint is, as JSON types: no secret."""
        return [
            {
                "url": endpoint.client.address.shown,
                "dialect": endpoint.server.dialect,
                "model": endpoint.server.model,
                "revision": endpoint.server.revision,
                "schema": findings.schema,
                "schema_form": endpoint.capabilities.schema_form,
                "limit_field": endpoint.capabilities.limit_field,
                "left_out": sorted(endpoint.capabilities.left_out),
                "thinks": findings.replies is not None and findings.replies.thinks,
                "listed_prices": None if (prices := endpoint.server.listed_prices) is None else dict(prices),
                "counts_tokens": findings.bounds.counts,
                "max_prompt_tokens": self.settings.prompt_limit,
                "max_concurrent": endpoint.concurrency.limit,
                "streamed": endpoint.streams,
            }
            for endpoint, findings in zip(self.balancer.endpoints, self.findings, strict=True)
        ]


def _load_tokenizer(name: str) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer = wait_for_hub(lambda: AutoTokenizer.from_pretrained(name), f"loading the tokenizer {name}")
    except Exception as error:  # whatever the libraries that read one raise, the name or what it names is wrong
        raise ConfigError(
            f"The tokenizer {name} cannot be loaded: {first_line(error)}. Correct `extractor_tokenizer`."
        ) from error
    tokenizer.model_max_length = sys.maxsize  # counting what is too long is the point
    if not tokenizer.chat_template:
        raise ConfigError(f"The tokenizer {name} has no chat template. Leave out `extractor_tokenizer`.")
    return tokenizer
