"""One call of `extract`: each document is planned, admitted, asked about and booked, many at a time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from equal_hf.errors import EndpointError
from equal_hf.extraction.budget import Admission, Verdict
from equal_hf.extraction.requests.attempts import DocumentReservation
from equal_hf.extraction.requests.cached_requests import CachedRequests
from equal_hf.extraction.requests.chunking import Chunk, Chunker
from equal_hf.extraction.requests.chunks import ChunkExtractor
from equal_hf.extraction.requests.pace import pace, waits_for
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.types import Allowance, Document, Extraction, Rejection, Usage
from equal_hf.utils.printable import escape
from equal_hf.utils.retry import backoff_s
from equal_hf.utils.waiting import is_shown_elsewhere, waiting

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

_PLANNED_AHEAD = 16
# A document of so many requests is told of before it is sent.
_MANY_PARTS = 50
# How long an interrupt waits for responses that are paid for: most come in that time, and nobody waits much longer.
WIND_DOWN_S = 10.0


class ExtractCall:
    """The documents of one call of `extract`, within one event loop.

    No more documents are in memory than can be under way, give or take; the rest is only looked at in its turn.

    Args:
        requests ([`CachedRequests`]): Gets responses.
        chunker ([`Chunker`]): Turns documents into requests.
        chunk_extractor ([`ChunkExtractor`]): What is asked about each chunk.

    Attributes:
        done, total (`int`): Documents done, and in all.
        ended (`threading.Event`): Set once nothing is in flight any more.
    """

    def __init__(self, requests: CachedRequests, chunker: Chunker, chunk_extractor: ChunkExtractor) -> None:
        self.requests, self.chunker, self.chunk_extractor = requests, chunker, chunk_extractor
        self.done = self.total = 0
        self.ended = threading.Event()
        self._random = Random()
        self._came_back = asyncio.Event()
        self._error: BaseException | None = None
        self._activity = requests.activity

    async def run(self, documents: Sequence[Document], allowance: Allowance | None) -> list[Extraction]:
        """Extract from all documents, as [`EndpointExtractor.extract`] says."""
        from tqdm.auto import tqdm

        def on_bar(text: str) -> None:
            bar.set_postfix_str(waits_for(self.requests.balancer.endpoints))  # how far it is stands there already

        self.total = len(documents)
        hidden = True if is_shown_elsewhere() else None  # by default on a terminal only
        try:
            with (
                tqdm(total=len(documents), desc="extract", unit="document", disable=hidden) as bar,
                waiting("replies", self._told, None if bar.disable else on_bar),
            ):
                extractions = await self._run(documents, allowance or Allowance(), bar)
        finally:
            with anyio.CancelScope(shield=True):
                await self.requests.close()
            self.ended.set()
        usage = sum((extraction.usage for extraction in extractions), Usage())
        logger.info(
            "%d documents gave %d pairs for %d prompt and %d completion tokens in %d requests",
            len(documents),
            sum(len(extraction.pairs) for extraction in extractions),
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.requests,
        )
        return extractions

    def _told(self, seconds: float) -> str:
        """What is waited for after so many seconds; on a thread of its own."""
        batches = self.requests.batches.sender
        waited_for = (batches and batches.told()) or waits_for(self.requests.balancer.endpoints)
        return f"{waited_for}: {pace(self.done, self.total, seconds)}"

    async def _run(self, documents: Sequence[Document], allowance: Allowance, bar: tqdm[Any]) -> list[Extraction]:
        limited = allowance != Allowance()
        admission = Admission(allowance)
        balancer = self.requests.balancer
        # As many as all windows together can ever hold, and as many again to take their place; a batch holds any.
        limits = sum(endpoint.concurrency.limit for endpoint in balancer.endpoints)
        room = asyncio.Semaphore(len(documents) if self.requests.batches.sends else 2 * limits + _PLANNED_AHEAD)
        outcomes: list[Extraction | asyncio.Task[Extraction]] = []
        tasks: set[asyncio.Task[Any]] = set()

        def done(task: asyncio.Task[Extraction]) -> None:
            room.release()
            tasks.discard(task)
            self.done += 1
            bar.set_postfix_str(f"{balancer.in_flight} in flight", refresh=False)
            bar.update()
            if not task.cancelled() and (error := task.exception()) is not None:
                self._fail(error)

        plans = self._plans(documents, tight=allowance.prompt_tokens is not None or allowance.cost is not None)
        try:
            with self._activity.active():
                for position, (document, planning) in enumerate(plans):
                    plan = await planning
                    balancer.queue.to_come = len(documents) - position - 1
                    if isinstance(plan, Rejection):
                        outcomes.append(Extraction(document.id, finish_reason="error", rejected=(plan,)))
                        bar.update()
                        continue
                    if (told := told_of_size(document.id, plan, admission.allowance)) is not None:
                        logger.warning("%s", told)
                    reservation = await self._admitted(document, plan, admission, limited=limited)
                    if self._error is not None:
                        break
                    if reservation is None:
                        outcomes.append(Extraction(document.id, finish_reason="budget"))
                        bar.update()
                        continue
                    with self._activity.parked():
                        await room.acquire()
                    task = asyncio.create_task(self._extract(document, plan, reservation))
                    tasks.add(task)
                    task.add_done_callback(done)
                    outcomes.append(task)
            # Also after an error: what is under way is paid for, and its responses belong in the store.
            while tasks:
                await asyncio.wait(tasks)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await self._wind_down(tasks)
            raise
        finally:
            balancer.queue.to_come = 0
            plans.close()
            for task in tasks:
                task.cancel()
        if self._error is not None:
            raise self._error
        return [outcome if isinstance(outcome, Extraction) else outcome.result() for outcome in outcomes]

    async def _admitted(
        self, document: Document, chunks: Sequence[Chunk], admission: Admission, *, limited: bool
    ) -> DocumentReservation | None:
        """Wait until a document may go, with its repairs or, where these do not fit, without; `None` where it is
        refused."""
        if not limited:
            return DocumentReservation(admission)
        text = sendable(document.text)
        bounds = [
            (repairs, *self.chunk_extractor.worst(document, text, chunks, admission.allowance, repairs=repairs))
            for repairs in (True, False)
        ]
        held, held_cost = self.chunk_extractor.carried(document, text, chunks)
        admission.move(held, held_cost)
        # What is held may be for a repair that is under way.
        for repairs, worst, cost in bounds[: 1 if held.requests else 2]:
            if await self._decide(admission, worst, cost) == "go":
                return DocumentReservation(admission, worst, cost, repairs)
        admission.move(Usage() - held, -held_cost)
        return None

    async def _decide(self, admission: Admission, worst: Usage, worst_cost: int) -> Verdict:
        """Wait until what may be used and paid fits, or never will."""
        while (verdict := admission.decide(worst, worst_cost)) == "wait" and self._error is None:
            self._came_back.clear()
            with self._activity.parked():
                await self._came_back.wait()
        return verdict

    async def _wind_down(self, tasks: set[asyncio.Task[Any]]) -> None:
        """After an interrupt: send nothing more, and wait a while for what is in flight, for it is paid for."""
        requests = self.requests
        requests.balancer.stop(EndpointError("Extraction was interrupted."))
        if requests.balancer.in_flight:
            logger.warning(
                "Interrupted: waiting up to %.0f s for the responses to %d requests, which are paid for.",
                WIND_DOWN_S,
                requests.balancer.in_flight,
            )
        ends_s = time.monotonic() + WIND_DOWN_S
        while tasks and requests.in_flight and time.monotonic() < ends_s:
            await asyncio.wait(tasks, timeout=0.1)
        if requests.batches.sender is not None:
            await requests.batches.sender.leave(ends_s - time.monotonic())
        requests.abandon()

    def _fail(self, error: BaseException) -> None:
        """Send nothing more, and let the first error tell all."""
        self._error = self._error or error
        stopped = error if isinstance(error, Exception) else RuntimeError(str(error))
        self.requests.balancer.stop(stopped)
        if self.requests.batches.sender is not None:
            self.requests.batches.sender.stop(stopped)
        self._came_back.set()

    def _plans(
        self, documents: Sequence[Document], *, tight: bool
    ) -> Generator[tuple[Document, asyncio.Task[list[Chunk] | Rejection]]]:
        """Documents and their plans, some of them being made ahead."""
        ahead: deque[tuple[Document, asyncio.Task[list[Chunk] | Rejection]]] = deque()
        try:
            for document in documents:
                ahead.append((document, asyncio.create_task(self._plan(document, tight))))
                if len(ahead) > _PLANNED_AHEAD:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for _, planning in ahead:
                planning.cancel()

    async def _plan(self, document: Document, tight: bool) -> list[Chunk] | Rejection:
        for attempt in count():
            try:
                return await self.chunker.plan(sendable(document.text), tight=tight)
            except Refusal as refusal:
                return Rejection(document.id, "refused", raw=str(refusal))
            except TransportFault as fault:
                # Other faults were tried again where they happened; an answer that is no count shows only here.
                if fault.kind != "malformed" or attempt >= self.requests.balancer.max_retries:
                    return Rejection(document.id, "transport_error", raw=str(fault))
                await asyncio.sleep(backoff_s(attempt, self._random))
        raise AssertionError("unreachable")

    async def _extract(
        self, document: Document, chunks: Sequence[Chunk], reservation: DocumentReservation
    ) -> Extraction:
        text = sendable(document.text)
        used = Usage()
        try:
            jobs = [asyncio.ensure_future(self._extract_chunk(document, text, chunk, reservation)) for chunk in chunks]
            try:
                outcomes = await asyncio.gather(*jobs)
            except BaseException:
                # The chunks that are under way are paid for like any document's.
                for result in await asyncio.gather(*jobs, return_exceptions=True):
                    if isinstance(result, Extraction):
                        used += result.usage
                raise
            used = sum((outcome.usage for outcome in outcomes), used)
        finally:
            spent = used + reservation.lost
            reservation.admission.settle(reservation.reserved, spent, reservation.reserved_cost, reservation.paid)
            self._came_back.set()
        reasons = {outcome.finish_reason for outcome in outcomes}
        if reasons == {"budget"}:  # nothing came of it, so that it can be drawn again
            return Extraction(document.id, finish_reason="budget", lost=reservation.lost)
        reasons = {"error" if reason == "budget" else reason for reason in reasons}
        return Extraction(
            document.id,
            pairs=tuple(pair for outcome in outcomes for pair in outcome.pairs),
            usage=used,
            finish_reason=next((reason for reason in ("error", "length") if reason in reasons), "stop"),
            rejected=tuple(rejection for outcome in outcomes for rejection in outcome.rejected),
            lost=reservation.lost,
        )

    async def _extract_chunk(
        self, document: Document, text: str, chunk: Chunk, reservation: DocumentReservation
    ) -> Extraction:
        with self._activity.active():
            return await self.chunk_extractor.extract(document, text, chunk, reservation)


def told_of_size(name: str, chunks: Sequence[Chunk], allowance: Allowance) -> str | None:
    """What to say of a document that takes much of what is left; `None` of any other.

    Args:
        name (`str`): The document's id.
        chunks (`Sequence[Chunk]`): Its requests.
        allowance ([`Allowance`]): What is left before this call.
    """
    if len(chunks) < _MANY_PARTS:
        return None
    tokens, left = sum(chunk.prompt_tokens for chunk in chunks), allowance.prompt_tokens
    share = "" if not left else f", {tokens / left:.0%} of what was left of `max_prompt_tokens`"
    return (
        f"The document {escape(name)} goes out in {len(chunks):,} parts, up to {tokens:,} prompt tokens{share}. "
        "Take it out of the corpus, or split it there, if it is not worth that."
    )


def sendable(text: str) -> str:
    """A text as it can be sent: a lone surrogate has no UTF-8. Positions stay the same."""
    return text.encode("utf-8", "replace").decode()
