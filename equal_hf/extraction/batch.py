"""One call of `extract`: each document is planned, admitted, asked about, read, asked about once more, and booked."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from equal_hf.extraction.admission import Admission
from equal_hf.extraction.cache import Reply, ResponseStore, response_key
from equal_hf.extraction.client import ChatClient
from equal_hf.extraction.flavours import Server, guided
from equal_hf.extraction.parse import Parsed, parse_pairs
from equal_hf.extraction.parts import Part, PromptBounds, plan_parts
from equal_hf.extraction.prompts import PromptTemplate
from equal_hf.extraction.retry import Refusal, TransportFault
from equal_hf.types import Allowance, Document, Extraction, Messages, QAPair, Rejection, Usage

logger = logging.getLogger(__name__)

# A valid empty list is an answer; these are not.
_WORTH_REPAIR = ("empty_reply", "not_json", "wrong_schema")
_PLANNING_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """What one extractor asks of one server.

    Args:
        revision (`str`): The model's revision, or `"unknown"`.
        max_new_tokens (`int`): Limit of a reply.
        prompt_limit (`int`, *optional*): Limit of a prompt.
        sampling (`dict[str, Any]`): Sampling parameters that change a reply.
        schema (`dict[str, Any]`, *optional*): The schema that replies are guided by.
        concurrency (`int`): Requests under way at a time.
    """

    revision: str
    max_new_tokens: int
    prompt_limit: int | None
    sampling: dict[str, Any]
    schema: dict[str, Any] | None
    concurrency: int


class Batch:
    """The documents of one call of `extract`, within one event loop.

    Args:
        client (`ChatClient`): The endpoint.
        server (`Server`): What it is.
        bounds (`PromptBounds`): How its prompts are bounded.
        prompt (`PromptTemplate`): What is asked.
        settings (`Settings`): How it is asked.
        store (`ResponseStore`, *optional*): Where replies are kept.
    """

    def __init__(
        self,
        client: ChatClient,
        server: Server,
        bounds: PromptBounds,
        prompt: PromptTemplate,
        settings: Settings,
        store: ResponseStore | None,
    ) -> None:
        self.client, self.server, self.bounds, self.prompt = client, server, bounds, prompt
        self.settings, self.store = settings, store
        self._body = settings.sampling | (guided(server.flavour, settings.schema) if settings.schema else {})
        self._asking = asyncio.Semaphore(settings.concurrency)
        self._planning = asyncio.Semaphore(_PLANNING_CONCURRENCY)
        # Two requests for the same reply, as of two copies of a paragraph, become one.
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._came_back = asyncio.Event()
        self._told_over_bound = False

    async def run(self, documents: Sequence[Document], allowance: Allowance | None) -> list[Extraction]:
        """Extract from all documents, as [`EndpointExtractor.extract`] says."""
        from tqdm.auto import tqdm

        allowance = allowance or Allowance()
        with tqdm(total=len(documents), desc="extract", unit="document", disable=None) as bar:
            try:
                extractions = await self._run(documents, allowance, bar.update)
            except ExceptionGroup as group:
                # Several requests fail at once when an endpoint goes; one of them tells all.
                raise group.exceptions[0] from None
        usage = sum((extraction.usage for extraction in extractions), Usage())
        pairs = sum(len(extraction.pairs) for extraction in extractions)
        logger.info(
            "%d documents gave %d pairs for %d prompt and %d completion tokens in %d requests",
            len(documents),
            pairs,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.requests,
        )
        return extractions

    async def _run(
        self, documents: Sequence[Document], allowance: Allowance, done: Callable[[], Any]
    ) -> list[Extraction]:
        limited = allowance != Allowance()
        admission = Admission(allowance)
        outcomes: list[Extraction | asyncio.Task[Extraction]] = []
        async with asyncio.TaskGroup() as tasks:
            tight = allowance.prompt_tokens is not None
            plans = [tasks.create_task(self._plan(document, tight)) for document in documents]
            for document, planning in zip(documents, plans, strict=True):
                plan = await planning
                if isinstance(plan, Rejection):
                    outcomes.append(Extraction(document.id, finish_reason="error", rejected=(plan,)))
                    done()
                    continue
                worst = self._worst(document, plan) if limited else Usage()
                while (verdict := admission.decide(worst)) == "wait":
                    self._came_back.clear()
                    await self._came_back.wait()
                if verdict == "refused":
                    outcomes.append(Extraction(document.id, finish_reason="budget"))
                    done()
                    continue
                extracting = tasks.create_task(self._extract(document, plan, worst, admission))
                extracting.add_done_callback(lambda _: done())
                outcomes.append(extracting)
        return [outcome if isinstance(outcome, Extraction) else outcome.result() for outcome in outcomes]

    async def _plan(self, document: Document, tight: bool) -> list[Part] | Rejection:
        try:
            async with self._planning:
                limit = self.settings.prompt_limit
                return await plan_parts(self.client, self.bounds, self.prompt, _text(document), limit, tight=tight)
        except Refusal as refusal:
            return Rejection(document.id, "refused", raw=str(refusal))
        except TransportFault as fault:
            return Rejection(document.id, "transport_error", raw=str(fault))

    def _worst(self, document: Document, parts: Sequence[Part]) -> Usage:
        """The most a document can use: each part asked twice, each time at its bound."""
        worst = Usage()
        for part in parts:
            for attempt in (0, 1):
                bound = self._bound(part, attempt)
                # A reply paid for under a higher `max_new_tokens` still serves, so it counts as what it is.
                _, _, held = self._look_up(document, part, attempt)
                used = held.usage if held else Usage()
                completion = max(self.settings.max_new_tokens, used.completion_tokens)
                worst += Usage(max(bound, used.prompt_tokens), completion, 1)
        return worst

    async def _extract(
        self, document: Document, parts: Sequence[Part], worst: Usage, admission: Admission
    ) -> Extraction:
        used = Usage()
        try:
            outcomes = await asyncio.gather(*(self._extract_part(document, part) for part in parts))
            used = sum((outcome.usage for outcome in outcomes), used)
        finally:
            admission.settle(worst, used)
            self._came_back.set()
        reasons = {outcome.finish_reason for outcome in outcomes}
        return Extraction(
            document.id,
            pairs=tuple(pair for outcome in outcomes for pair in outcome.pairs),
            usage=used,
            finish_reason=next((reason for reason in ("error", "length") if reason in reasons), "stop"),
            rejected=tuple(rejection for outcome in outcomes for rejection in outcome.rejected),
        )

    async def _extract_part(self, document: Document, part: Part) -> Extraction:
        """One part, as if it were a document of its own."""
        used = Usage()
        try:
            reply = await self._ask(document, part, 0)
            used += reply.usage
            parsed = _read(reply)
            if reply.finish_reason == "stop" and parsed.reason in _WORTH_REPAIR:
                reply = await self._ask(document, part, 1)
                used += reply.usage
                parsed = _read(reply)
        except TransportFault as fault:
            rejection = Rejection(document.id, "transport_error", raw=str(fault))
            return Extraction(document.id, usage=used, finish_reason="error", rejected=(rejection,))
        finish_reason = {"refused": "error"}.get(reply.finish_reason, reply.finish_reason)
        reasons = {"refused": ["refused"], "length": ["truncated"]}.get(reply.finish_reason)
        if reasons is None:
            reasons = [parsed.reason] if parsed.reason else ["invalid_pair"] * parsed.invalid
        # The raw reply is kept once, however many of its entries are broken.
        raws = [reply.text, *[""] * len(reasons)]
        rejected = tuple(Rejection(document.id, reason, raw=raw) for reason, raw in zip(reasons, raws, strict=False))
        pairs = tuple(self._pair(document, part, question, answer) for question, answer in parsed.pairs)
        return Extraction(document.id, pairs, used, finish_reason, rejected)

    async def _ask(self, document: Document, part: Part, attempt: int) -> Reply:
        """The stored reply, or a new one, stored before it is returned."""
        key, messages, held = self._look_up(document, part, attempt)
        if held is not None:
            return held
        limit, model = self.settings.max_new_tokens, self.server.requested_model
        async with self._one_at_a_time[key]:
            # Another request may have brought the reply while this one waited.
            if self.store is not None and (held := self.store.get(key, limit)) is not None:
                return held
            bound = self._bound(part, attempt)
            async with self._asking:
                try:
                    completion = await self.client.chat(messages, model, limit, self._body)
                except Refusal as refusal:
                    reply = Reply(str(refusal), "refused", Usage(requests=1))
                else:
                    # Where the server does not count, the bounds do.
                    prompt = bound if completion.prompt_tokens is None else completion.prompt_tokens
                    tokens = limit if completion.completion_tokens is None else completion.completion_tokens
                    reply = Reply(
                        completion.text, "length" if completion.cut_short else "stop", Usage(prompt, tokens, 1)
                    )
                    self._compare(reply.usage, bound)
            if self.store is None:
                return reply
            return await asyncio.to_thread(
                self.store.put, key, reply, limit, flavour=self.server.flavour, model=self.server.model
            )

    def _look_up(self, document: Document, part: Part, attempt: int) -> tuple[str, Messages, Reply | None]:
        messages = part.messages
        if attempt:
            messages = self.prompt.messages(_text(document)[slice(*part.span)], repair=True)
        settings = self.settings
        key = response_key(self.server.model, settings.revision, messages, settings.sampling, settings.schema, attempt)
        held = self.store.get(key, settings.max_new_tokens) if self.store is not None else None
        return key, messages, held

    def _bound(self, part: Part, attempt: int) -> int:
        return part.prompt_tokens + (self.bounds.repair if attempt else 0)

    def _compare(self, usage: Usage, bound: int) -> None:
        over = usage.prompt_tokens > bound or usage.completion_tokens > self.settings.max_new_tokens
        if over and not self._told_over_bound:
            self._told_over_bound = True
            logger.warning(
                "%s reports %s for a request bounded by %d prompt and %d completion tokens: its counts cannot be "
                "trusted, and an allowance may be passed by the difference.",
                self.client.address.shown,
                usage,
                bound,
                self.settings.max_new_tokens,
            )

    def _pair(self, document: Document, part: Part, question: str, answer: str) -> QAPair:
        return QAPair(
            question,
            answer,
            document_id=document.id,
            cluster=document.cluster,
            span=(part.span.start, part.span.end),
            method="endpoint",
            model=self.server.model,
            model_revision=self.settings.revision,
            prompt_hash=self.prompt.prompt_hash,
        )


def _read(reply: Reply) -> Parsed:
    return Parsed() if reply.finish_reason == "refused" else parse_pairs(reply.text)


def _text(document: Document) -> str:
    """The document as it can be sent: a lone surrogate has no UTF-8. Positions stay the same."""
    return document.text.encode("utf-8", "replace").decode()
