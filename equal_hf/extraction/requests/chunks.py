"""What is asked about one chunk of a document: its pairs, once more if the reply is no JSON, then refine and judge."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from equal_hf.extraction.prompts.parse_reply import PAIRS_SCHEMA, Parsed, parse_pairs
from equal_hf.extraction.prompts.refine_judge import REFINE, Pair, SecondPass
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.requests.cached_requests import CachedRequests, DocumentReservation, Request
from equal_hf.extraction.requests.chunking import MARGIN_TOKENS, Chunk, TokenBounds
from equal_hf.extraction.responses.ledger import Response
from equal_hf.extraction.transport.dialects import PostJson
from equal_hf.types import Allowance, Document, Extraction, QAPair, Rejection, Usage
from equal_hf.utils.retry import Refusal, TransportFault

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A valid empty list is an answer; these are not.
_WORTH_REPAIR = ("empty_reply", "not_json", "wrong_schema")
_LOOP_CHARACTERS = 32
# Where nobody counts, a prompt is bounded by its bytes: so many are set aside for each token of quoted pairs.
_BYTES_PER_TOKEN = 4


class ChunkExtractor:
    """The requests about a chunk, each at most twice.

    Args:
        requests ([`CachedRequests`]): Gets replies.
        prompt ([`PromptTemplate`]): What is asked first.
        bounds ([`TokenBounds`]): How prompts are bounded.
        post (`Callable`): Posts to a path of a server that counts.
        second (`Sequence[SecondPass]`): What is asked about the pairs then.
        overheads (`Sequence[int]`): By how much each of these prompts, without document and pairs, exceeds the first.
        judge_min_score (`int`): Pairs graded below are rejected.
    """

    def __init__(
        self,
        requests: CachedRequests,
        prompt: PromptTemplate,
        bounds: TokenBounds,
        post: PostJson,
        second: Sequence[SecondPass],
        overheads: Sequence[int],
        judge_min_score: int,
    ) -> None:
        self.requests, self.prompt, self.bounds, self._post = requests, prompt, bounds, post
        self.second = list(zip(second, overheads, strict=True))
        self.judge_min_score = judge_min_score
        self._told_too_long = False

    @staticmethod
    def reserve(max_new_tokens: int, overheads: Sequence[int], *, counts: bool) -> int:
        """Tokens that a second prompt may take beyond the first about the same chunk."""
        quoted = max_new_tokens * (1 if counts else _BYTES_PER_TOKEN) + MARGIN_TOKENS
        return max((max(0, overhead) + quoted for overhead in overheads), default=0)

    def worst(self, text: str, chunks: Sequence[Chunk], allowance: Allowance) -> tuple[Usage, int]:
        """The most a document can use, and the most it can cost in billionths of the currency.

        Each chunk is asked twice in each pass, each time at its bound. What is stored already costs nothing.
        """
        worst, cost = Usage(), 0
        limit = self.requests.settings.max_new_tokens
        for chunk in chunks:
            for attempt in (0, 1):
                request = self._first(chunk, attempt)
                held = self.requests.look_up(request)
                # A reply paid for under a higher `max_new_tokens` still serves, so it counts as what it is.
                used = held.usage if held else Usage()
                worst += Usage(max(request.bound, used.prompt_tokens), max(limit, used.completion_tokens), 1)
            for _, overhead in self.second:
                at_most = Usage(self._second_bound(chunk, overhead), limit, 1)
                worst += at_most + at_most
            if allowance.cost is not None:
                cost += self._unpaid(text[slice(*chunk.span)], chunk)
        return worst, cost

    def _unpaid(self, text: str, chunk: Chunk) -> int:
        """The most that asking about a chunk can cost beyond what is stored."""
        settings = self.requests.settings

        def at_most(bound: int) -> int:
            return settings.prices.cost(Usage(bound, settings.max_new_tokens, 1))

        missing, parsed = self._stored_twice(lambda attempt: self._first(chunk, attempt), parse_pairs, _needs_repair)
        cost = (missing == 2) * at_most(chunk.prompt_tokens)
        cost += (missing >= 1) * at_most(chunk.prompt_tokens + self.bounds.repair)
        pairs = list(parsed.pairs) if parsed else []
        known = missing == 0
        for step, overhead in self.second:
            if known and not pairs:
                break
            missing, values = self._stored_second(step, text, pairs) if known else (2, None)
            cost += missing * at_most(self._second_bound(chunk, overhead))
            known = known and missing == 0
            if step is REFINE and values is not None:
                pairs = [value for value in values if value is not None]
        return cost

    def _stored_second(self, step: SecondPass, text: str, pairs: list[Pair]) -> tuple[int, list[Any] | None]:
        def request(attempt: int) -> Request:
            messages = step.messages(text, pairs, repair=bool(attempt))
            return self.requests.request(messages, 0, step.schema, attempt)

        return self._stored_twice(request, lambda reply: step.read(reply, len(pairs)), _unreadable)

    def _stored_twice(
        self, request: Callable[[int], Request], read: Callable[[str], T], again: Callable[[Response, Any], bool]
    ) -> tuple[int, T | None]:
        """How many of a request and its repair may still have to be paid for, and what the stored replies say."""
        for attempt in (0, 1):
            held = self.requests.look_up(request(attempt))
            if held is None:
                return 2 - attempt, None
            value = read("" if held.finish_reason == "refused" else held.text)
            if not again(held, value):
                break
        return 0, value

    async def extract(
        self, document: Document, text: str, chunk: Chunk, reservation: DocumentReservation
    ) -> Extraction:
        """One chunk, as if it were a document of its own."""
        uses: list[Usage] = []
        try:
            request, reply, parsed = await self._ask_twice(
                lambda attempt: self._first(chunk, attempt), parse_pairs, _needs_repair, reservation, uses
            )
        except TransportFault as fault:
            rejection = Rejection(document.id, "transport_error", raw=str(fault))
            return Extraction(document.id, usage=sum(uses, Usage()), finish_reason="error", rejected=(rejection,))
        finish_reason = {"refused": "error"}.get(reply.finish_reason, reply.finish_reason)
        reasons = {"refused": ["refused"], "length": [_cut_short(reply.text)]}.get(reply.finish_reason)
        if reasons is None:
            reasons = [parsed.reason] if parsed.reason else ["invalid_pair"] * parsed.invalid
        # The raw reply is kept once, however many of its entries are broken.
        raws = [reply.text, *[""] * len(reasons)]
        rejected = [Rejection(document.id, reason, raw=raw) for reason, raw in zip(reasons, raws, strict=False)]
        pairs = list(parsed.pairs)
        method, source = "endpoint", request.key
        for step, overhead in self.second:
            if not pairs:
                break
            key, values = await self._again(step, overhead, text[slice(*chunk.span)], chunk, pairs, reservation, uses)
            if step is REFINE:
                if values is None:
                    continue
                method, source = "endpoint+refine", key
                lost = [pair for pair, value in zip(pairs, values, strict=True) if value is None]
                rejected += [Rejection(document.id, "refined_away", *pair) for pair in lost]
                pairs = [value for value in values if value is not None]
            else:
                grades = values or [0] * len(pairs)
                for pair, grade in zip(pairs, grades, strict=True):
                    if grade < self.judge_min_score:
                        reason = "judged_low" if grade else "not_judged"
                        rejected.append(Rejection(document.id, reason, *pair, raw=f"grade {grade}" if grade else ""))
                pairs = [pair for pair, grade in zip(pairs, grades, strict=True) if grade >= self.judge_min_score]
        kept = tuple(self._pair(document, chunk, pair, method, source) for pair in pairs)
        return Extraction(document.id, kept, sum(uses, Usage()), finish_reason, tuple(rejected))

    async def _again(
        self,
        step: SecondPass,
        overhead: int,
        text: str,
        chunk: Chunk,
        pairs: list[Pair],
        reservation: DocumentReservation,
        uses: list[Usage],
    ) -> tuple[str, list[Any] | None]:
        """Ask about pairs: the reply's key, and what it says; `None` where it cannot be read, or its prompt does not
        fit what was set aside for it."""
        asked = [step.messages(text, pairs, repair=repair) for repair in (False, True)]
        try:
            bounds = [await self.bounds.counted(self._post, messages) for messages in asked]
        except (TransportFault, Refusal):
            return "", None
        limit = self.requests.settings.prompt_limit
        if max(bounds) > self._second_bound(chunk, overhead) or (limit is not None and max(bounds) > limit):
            if not self._told_too_long:
                self._told_too_long = True
                logger.warning("Some pairs are too long to %s within `extractor_max_new_tokens`.", step.name)
            return "", None
        try:
            request, _, values = await self._ask_twice(
                lambda attempt: self.requests.request(asked[attempt], bounds[attempt], step.schema, attempt),
                lambda reply: step.read(reply, len(pairs)),
                _unreadable,
                reservation,
                uses,
            )
        except TransportFault:
            return "", None
        return request.key, values

    async def _ask_twice(
        self,
        request: Callable[[int], Request],
        read: Callable[[str], T],
        again: Callable[[Response, T], bool],
        reservation: DocumentReservation,
        uses: list[Usage],
    ) -> tuple[Request, Response, T]:
        """Ask, and once more where the reply cannot be read; `uses` takes down what each reply used."""
        asked = request(0)
        reply = await self.requests.ask(asked, reservation)
        uses.append(reply.usage)
        value = read("" if reply.finish_reason == "refused" else reply.text)
        if again(reply, value):
            asked = request(1)
            reply = await self.requests.ask(asked, reservation)
            uses.append(reply.usage)
            value = read("" if reply.finish_reason == "refused" else reply.text)
        return asked, reply, value

    def _first(self, chunk: Chunk, attempt: int) -> Request:
        messages = chunk.messages
        if attempt:
            messages = self.prompt.repaired(messages)
        bound = chunk.prompt_tokens + (self.bounds.repair if attempt else 0)
        return self.requests.request(messages, bound, PAIRS_SCHEMA, attempt)

    def _second_bound(self, chunk: Chunk, overhead: int) -> int:
        limit = self.requests.settings.max_new_tokens
        reserve = self.reserve(limit, [overhead], counts=self.bounds.counts)
        return chunk.prompt_tokens + self.bounds.repair + reserve

    def _pair(self, document: Document, chunk: Chunk, pair: Pair, method: str, key: str) -> QAPair:
        settings = self.requests.settings
        return QAPair(
            *pair,
            document_id=document.id,
            cluster=document.cluster,
            span=(chunk.span.start, chunk.span.end),
            method=method,
            model=settings.model,
            model_revision=settings.revision,
            prompt_hash=self.prompt.prompt_hash,
            response_key=key,
        )


def _cut_short(text: str) -> str:
    # Guided decoding allows blanks between tokens of JSON, and some models never stop writing them.
    return "whitespace_loop" if len(text) - len(text.rstrip()) >= _LOOP_CHARACTERS else "truncated"


def _unreadable(reply: Response, values: list[Any] | None) -> bool:
    return reply.finish_reason == "stop" and values is None


def _needs_repair(reply: Response, parsed: Parsed) -> bool:
    return reply.finish_reason == "stop" and parsed.reason in _WORTH_REPAIR
