"""What is asked about one chunk of a document: its pairs, then to refine and to judge them; each at most twice."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from equal_hf.extraction.budget import NANO
from equal_hf.extraction.prompts.degenerate import degenerate_reasons
from equal_hf.extraction.prompts.early_stop import ReplyWatch
from equal_hf.extraction.prompts.parse_reply import Parsed, parse_pairs
from equal_hf.extraction.prompts.refine_judge import REFINE, Pair, SecondPass
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.prompts.thoughts import split_thoughts
from equal_hf.extraction.requests.attempts import BudgetSpentError, DocumentReservation, StepReservation
from equal_hf.extraction.requests.cached_requests import CachedRequests
from equal_hf.extraction.requests.chunking import MARGIN_TOKENS, Chunk, TokenBounds
from equal_hf.extraction.requests.request import Request
from equal_hf.extraction.requests.steps import Outcome, Step, drive
from equal_hf.extraction.responses.ledger import Response
from equal_hf.extraction.transport.dialects import PostJson
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.types import Allowance, Document, Extraction, QAPair, Rejection, Usage

logger = logging.getLogger(__name__)

# A valid empty list is an answer; these are not.
_WORTH_REPAIR = ("empty_reply", "not_json", "wrong_schema")
_LOOP_CHARACTERS = 32
_CUT = {"length": "truncated", "stopped_early": "stopped_early"}
# Where nobody counts, a prompt is bounded by its bytes: so many are set aside for each token of quoted pairs.
_BYTES_PER_TOKEN = 4


@dataclass
class _Pairs:
    """A chunk's pairs so far, and what was rejected."""

    pairs: list[Pair]
    grades: list[int | None]
    rejected: list[Rejection]
    finish_reason: str
    method: str
    key: str
    reasoning: str


Steps = Generator[Step, Outcome | None, _Pairs | None]


class ChunkExtractor:
    """The requests about a chunk: bounded for the budget, then sent.

    Args:
        requests ([`CachedRequests`]): Gets responses.
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
        self._warned_too_long = False

    @staticmethod
    def reserve(max_new_tokens: int, overheads: Sequence[int], *, counts: bool) -> int:
        """Tokens that a second prompt may take beyond the first about the same chunk."""
        quoted = max_new_tokens * (1 if counts else _BYTES_PER_TOKEN) + MARGIN_TOKENS
        return max((max(0, overhead) + quoted for overhead in overheads), default=0)

    def worst(
        self, document: Document, text: str, chunks: Sequence[Chunk], allowance: Allowance, *, repairs: bool
    ) -> tuple[Usage, int]:
        """The most a document can use, and the most it can cost in billionths of the currency.

        Tokens are bounded as if nothing were stored, so that what is stored decides about no document; money is
        bounded without what is stored.

        Args:
            document, text, chunks: The document.
            allowance ([`Allowance`]): What is limited.
            repairs (`bool`): Whether each step's second request counts.
        """
        settings, requests = self.requests.settings, 2 if repairs else 1
        worst, cost = Usage(), 0

        def bound_tokens(step: Step) -> None:
            nonlocal worst
            for attempt, bound in enumerate(step.bounds[:requests]):
                stored = self._look_up(step, attempt)
                # A response obtained under a higher `max_new_tokens` still serves, so it counts as what it is.
                used = stored[1].usage if stored else Usage()
                worst += Usage(
                    max(bound, used.prompt_tokens), max(settings.completion_limit, used.completion_tokens), 1
                )

        def bound_cost(step: Step) -> Outcome | None:
            nonlocal cost
            missing, outcome = self._stored(step)
            unpaid = step.bounds[len(step.bounds) - missing : requests]
            worst_uses = (Usage(bound, settings.completion_limit, 1) for bound in unpaid)
            cost += sum(settings.prices.cost(use, self.requests.batches.worst_tier) for use in worst_uses)
            return outcome

        for chunk in chunks:
            drive(self._steps(document, text, chunk), bound_tokens)
            if allowance.cost is not None:
                drive(self._steps(document, text, chunk), bound_cost)
        return worst, cost

    def carried(self, document: Document, text: str, chunks: Sequence[Chunk]) -> tuple[Usage, int]:
        """What the ledger holds already for a document's requests, in batches from before: tokens, and money in
        billionths of the currency."""
        usage, cost, carried = Usage(), 0, self.requests.batches.carried

        def add(step: Step) -> Outcome | None:
            nonlocal usage, cost
            missing, outcome = self._stored(step)
            stored = len(step.bounds) - missing
            for attempt, messages in enumerate((step.messages or ())[: stored + 1]):
                key = self.requests.request(messages, step.bounds[attempt], step.schema, attempt).key
                if attempt < stored:
                    self.requests.batches.carried.pop(
                        key, None
                    )  # answered since the allowance was told: it counts there
                elif (held := self.requests.batches.carried.get(key)) is not None:
                    usage += held.worst
                    cost += held.cost
            return outcome

        for chunk in chunks if carried else ():
            drive(self._steps(document, text, chunk), add)
        return usage, cost

    async def extract(
        self, document: Document, text: str, chunk: Chunk, reservation: DocumentReservation
    ) -> Extraction:
        """Extract one chunk, as if it were a document of its own."""
        replies: list[Response] = []
        steps = self._steps(document, text, chunk)
        outcome: Outcome | None = None
        try:
            while True:
                step = steps.send(outcome)
                outcome = await self._ask(step, reservation, replies)
        except StopIteration as end:
            result: _Pairs = end.value
        except (TransportFault, BudgetSpentError) as fault:
            reason = "budget" if isinstance(fault, BudgetSpentError) else "error"
            rejection = Rejection(document.id, "transport_error", raw=str(fault))
            usage = sum((reply.usage for reply in replies), Usage())
            return Extraction(document.id, usage=usage, finish_reason=reason, rejected=(rejection,))
        cost = _share([reply.cost for reply in replies], len(result.pairs))
        pairs = tuple(
            self._pair(document, chunk, pair, grade, result, cost)
            for pair, grade in zip(result.pairs, result.grades, strict=True)
        )
        usage = sum((reply.usage for reply in replies), Usage())
        return Extraction(document.id, pairs, usage, result.finish_reason, tuple(result.rejected))

    # -- what is asked ---------------------------------------------------------------------------------------------

    def _steps(self, document: Document, text: str, chunk: Chunk) -> Steps:
        """What to ask about a chunk, in order. Sent what came of each step, or `None` where that is not known yet;
        returns the pairs, or `None` where they are not known."""
        outcome = yield self._first_step(chunk)
        result = _first_pairs(document, outcome, self.prompt.grade) if outcome else None
        for second, overhead in self.second:
            if result is not None and not result.pairs:
                break
            outcome = yield self._second_step(second, overhead, text[slice(*chunk.span)], chunk, result)
            if outcome is None or result is None:
                result = None
            elif second is REFINE:
                _refine(document, result, outcome)
            else:
                self._judge(document, result, outcome)
        return result

    def _first_step(self, chunk: Chunk) -> Step:
        def readable(parsed: Parsed) -> bool:
            return parsed.reason not in _WORTH_REPAIR

        messages = (chunk.messages, self.prompt.repaired(chunk.messages))
        bounds = (chunk.prompt_tokens, chunk.prompt_tokens + self.bounds.repair)
        return Step("extract", bounds, messages, self.prompt.schema, parse_pairs, readable)

    def _second_step(self, second: SecondPass, overhead: int, text: str, chunk: Chunk, result: _Pairs | None) -> Step:
        limit = self.requests.settings.max_new_tokens
        reserve = self.reserve(limit, [overhead], counts=self.bounds.counts)
        bound = chunk.prompt_tokens + self.bounds.repair + reserve
        pairs = list(result.pairs) if result else []
        messages = (
            (second.messages(text, pairs), second.messages(text, pairs, repair=True)) if result is not None else None
        )

        def read(reply_text: str) -> list[Any] | None:
            return second.read(reply_text, len(pairs))

        return Step(second.name, (bound, bound), messages, second.schema, read, lambda values: values is not None)

    # -- what is stored, and what is sent --------------------------------------------------------------------------

    def _look_up(self, step: Step, attempt: int) -> tuple[Request, Response] | None:
        if step.messages is None:
            return None
        request = self.requests.request(step.messages[attempt], step.bounds[attempt], step.schema, attempt)
        response = self.requests.look_up(request)
        return None if response is None else (request, response)

    def _stored(self, step: Step) -> tuple[int, Outcome | None]:
        """How many of a step's two requests may still have to be paid for, and what the stored responses say."""
        outcome = None
        for attempt in (0, 1):
            stored = self._look_up(step, attempt)
            if stored is None:
                return 2 - attempt, None
            outcome = step.outcome(*stored)
            if step.is_done(outcome):
                break
        return 0, outcome

    async def _ask(self, step: Step, reservation: DocumentReservation, replies: list[Response]) -> Outcome:
        """Send a step's request, and the second one where the first response cannot be read and that is paid for;
        `replies` takes down each response.

        A second pass is done without where it cannot be asked: it gets an outcome without a response.
        """
        assert step.messages is not None, "a chunk that is sent knows its pairs"
        outcome, held = Outcome(), StepReservation(reservation)
        try:
            bounds = step.bounds if step.name == "extract" else await self._counted(step)
            for attempt, bound in enumerate(bounds):
                if attempt and not held.spare:
                    break
                held.spare = held.spare and not attempt
                request = self.requests.request(step.messages[attempt], bound, step.schema, attempt)
                # Replies of second passes go by the pairs' places, so theirs may repeat themselves.
                watch = ReplyWatch if step.name == "extract" else None
                response = await self.requests.ask(request, held, watch)
                replies.append(response)
                outcome = step.outcome(request, response)
                if step.is_done(outcome):
                    break
        except (TransportFault, Refusal, BudgetSpentError) as fault:
            if isinstance(fault, BudgetSpentError) and outcome.response is not None:
                return outcome
            if step.name == "extract":
                raise
            return Outcome()
        return outcome

    async def _counted(self, step: Step) -> list[int]:
        """The tokens of a second pass's prompts, which quote pairs of any length; none where they are too many."""
        bounds = [await self.bounds.counted(self._post, messages) for messages in step.messages or ()]
        limit = self.requests.settings.prompt_limit
        if max(bounds) <= step.bounds[0] and (limit is None or max(bounds) <= limit):
            return bounds
        if not self._warned_too_long:
            self._warned_too_long = True
            logger.warning("Some pairs are too long to %s within `extractor_max_new_tokens`.", step.name)
        return []

    # -- what came of it -------------------------------------------------------------------------------------------

    def _judge(self, document: Document, result: _Pairs, outcome: Outcome) -> None:
        scores = outcome.value or [0] * len(result.pairs)
        for pair, score in zip(result.pairs, scores, strict=True):
            if score < self.judge_min_score:
                reason = "judged_low" if score else "not_judged"
                raw = f"grade {score}" if score else ""
                result.rejected.append(Rejection(document.id, reason, *pair, raw=raw))
        passed = [score >= self.judge_min_score for score in scores]
        result.pairs, result.grades = list(compress(result.pairs, passed)), list(compress(result.grades, passed))

    def _pair(
        self, document: Document, chunk: Chunk, pair: Pair, grade: int | None, result: _Pairs, cost: float | None
    ) -> QAPair:
        settings = self.requests.settings
        return QAPair(
            *pair,
            document_id=document.id,
            cluster=document.cluster,
            span=(chunk.span.start, chunk.span.end),
            method=result.method,
            model=settings.model,
            model_revision=settings.revision,
            prompt_hash=self.prompt.prompt_hash,
            response_key=result.key,
            grade=grade,
            cost=cost,
            reasoning=result.reasoning if settings.record_reasoning else None,
        )


def _first_pairs(document: Document, outcome: Outcome, graded: bool) -> _Pairs:
    response, parsed = outcome.response, outcome.value
    assert response is not None, "without a response there is an error"
    reasons = [parsed.reason] if parsed.reason else ["invalid_pair"] * parsed.invalid
    if response.finish_reason == "refused":
        reasons = ["refused"]
    elif response.finish_reason in _CUT:
        # Guided decoding allows blanks between tokens of JSON, and some models never stop writing them.
        blanks = len(response.text) - len(response.text.rstrip())
        reasons = ["whitespace_loop" if blanks >= _LOOP_CHARACTERS else _CUT[response.finish_reason]]
        answer, thoughts = split_thoughts(response.text)
        thinks = bool(response.reasoning or response.usage.reasoning_tokens or thoughts)
        if response.finish_reason == "length" and thinks and not answer.strip():
            reasons = ["thought_only"]
    # The raw reply text is kept once, however many of its entries are broken.
    rejected = [
        Rejection(document.id, reason, raw="" if position else response.text)
        for position, reason in enumerate(reasons)
    ]
    finish_reason = "error" if response.finish_reason == "refused" else response.finish_reason
    grades = parsed.grades if graded and parsed.grades else [None] * len(parsed.pairs)
    judged = list(zip(parsed.pairs, grades, degenerate_reasons(parsed.pairs), strict=True))
    rejected += [Rejection(document.id, reason, *pair) for pair, _, reason in judged if reason]
    pairs = [pair for pair, _, reason in judged if not reason]
    kept = [grade for _, grade, reason in judged if not reason]
    return _Pairs(pairs, kept, rejected, finish_reason, "endpoint", outcome.key, response.reasoning)


def _refine(document: Document, result: _Pairs, outcome: Outcome) -> None:
    if outcome.value is None:
        return
    refined = list(zip(result.pairs, outcome.value, strict=True))
    result.rejected += [Rejection(document.id, "refined_away", *pair) for pair, value in refined if value is None]
    result.pairs = [value for _, value in refined if value is not None]
    result.grades = [grade for grade, (_, value) in zip(result.grades, refined, strict=True) if value is not None]
    result.method, result.key = "endpoint+refine", outcome.key
    result.reasoning = outcome.response.reasoning if outcome.response is not None else ""


def _share(costs: Sequence[int | None], pairs: int) -> float | None:
    """What each of so many pairs cost, in the currency; `None` where a reply's cost is not known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) / NANO / pairs if pairs and len(known) == len(costs) else None
