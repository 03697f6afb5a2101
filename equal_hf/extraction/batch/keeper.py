"""One batch that is under way: polled to its end, and its answers stored, each with what it cost."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import BinaryIO

from equal_hf.errors import EndpointError
from equal_hf.extraction.batch.provider import BatchAnswer, BatchProvider, BatchStatus
from equal_hf.extraction.batch.submission import Patience, Submission
from equal_hf.extraction.requests.answers import Terms, received
from equal_hf.extraction.responses.batch_table import BatchedRequest, BatchEnded, BatchRequestDone, OpenBatch
from equal_hf.extraction.responses.ledger import AttemptFailed, Response, Write
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.faults import Blocked, Refusal, TransportFault, judge
from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.printable import escape
from equal_hf.utils.retry import backoff_s

logger = logging.getLogger(__name__)

FIRST_POLL_S = 2.0
_SLOWER = 1.5
# So many answers become one transaction.
_ANSWERS_A_COMMIT = 200
# A gateway may say once that it knows no such batch.
_UNKNOWN_TIMES = 3
# Providers have a day to do a batch: after two, one that cannot be asked about is over.
BATCH_KEPT_S = 2 * 86_400.0
# An ended batch tells its files at once, or nearly.
_POLLS_FOR_FILES = 5
_SHOWN_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request of a batch got.

    Args:
        response ([`Response`]): The response, which is in the store.
        cost (`int`): What it cost, in billionths of the currency.
        run (`str`): The run that pays it.
    """

    response: Response
    cost: int
    run: str


class BatchCancelledError(EndpointError):
    """A batch was cancelled at the provider."""


class BatchKeeper:
    """Keeps one batch, within one event loop and by its lease.

    Args:
        provider ([`BatchProvider`]): Where it is.
        store ([`ResponseStore`]): Where it is written down, and its answers go.
        batch ([`OpenBatch`]): The batch.
        answer (`Callable`): Called with a request's key and what became of it, once that is in the store.
        patience ([`Patience`]): How long to wait.

    Attributes:
        status ([`BatchStatus`], *optional*): What the provider said last.
        requests (`dict[str, BatchedRequest]`): Those without an answer, by key.
    """

    def __init__(
        self,
        provider: BatchProvider,
        store: ResponseStore,
        batch: OpenBatch,
        answer: Callable[[str, Answered | Exception], None],
        patience: Patience,
    ) -> None:
        self.provider, self.store, self.batch, self.patience = provider, store, batch, patience
        self.terms = Terms.read(batch.terms)
        self.requests = {one.key: one for one in store.batched(batch=batch.name)}
        self.status: BatchStatus | None = None
        self.total = len(self.requests)
        self.is_own = False  # whether this process sent it, with the key that it has
        self._answer = answer
        self._submission = Submission(provider, store, batch, patience)
        self._random = Random()

    @property
    def label(self) -> str:
        """The batch as messages name it."""
        name = self.status.id if self.status else self.batch.batch_id or self.batch.name
        return name if name.startswith("batch") else f"batch {name}"

    @property
    def is_sent(self) -> bool:
        """Whether the provider is known to have it."""
        return self.status is not None or bool(self.batch.batch_id)

    def progress(self) -> str:
        """How far it is, in words."""
        done = 0 if self.status is None else self.status.done + self.status.failed
        since = time.strftime("%H:%M", time.localtime(self.batch.made_unix_s))
        return f"{self.label}: {done} of {self.total} requests done since {since}"

    # -- on its way ------------------------------------------------------------------------------------------------

    async def send(self, file: BinaryIO) -> None:
        """Upload the requests and make a batch of them, as [`Submission.send`]."""
        self.is_own = True
        self.status = await self._submission.send(file)
        logger.info(
            "%d requests are under way as %s at %s, for up to 24 hours. A run that is stopped leaves it running, and "
            "the same command takes it up.",
            self.total,
            self.label,
            self.provider.shown,
        )

    async def take_up(self) -> bool:
        """Find out what became of a batch that another process left; whether there is one to see through."""
        if not self.batch.batch_id:
            self.status = await self._submission.find_again()
            if self.status is None:
                logger.info("%s had not been sent when its process ended: its requests are sent anew.", self.label)
                await self._end(BatchEnded(self.batch.name, maybe_billed=False), "had not been sent")
                return False
        logger.info(
            "%s at %s holds %d requests without an answer: it is waited for.",
            self.label,
            self.provider.shown,
            len(self.requests),
        )
        return True

    # -- under way -------------------------------------------------------------------------------------------------

    async def see_through(self) -> None:
        """Wait for its end, and store its answers.

        Raises:
            `EndpointError`: If it failed or was cancelled, or the provider cannot be asked any more.
        """
        status = await self._ended()
        name = self.batch.name
        if status is None and not self.is_own and time.time() - self.batch.made_unix_s < BATCH_KEPT_S:
            raise EndpointError(
                f"{self.provider.shown} does not know {self.label}, which an earlier start sent and which may be paid "
                "for: set `extractor_api_key` to one of the account that sent it. If it is lost, `equal-hf store "
                "cancel --forget` books its requests at the most they can cost; they are asked again then, and paid "
                "for."
            )
        if status is None:
            logger.warning(
                "%s does not know %s any more: its %d requests count as paid, at the most they can cost, and are "
                "asked again as far as the budget allows. Is `extractor_api_key` one of the account that sent it?",
                self.provider.shown,
                self.label,
                len(self.requests),
            )
            await self._end(BatchEnded(name, maybe_billed=True), "is not known any more", maybe_billed=True)
            return
        if status.state == "failed":
            left = len(self.requests)
            told = self._submission.was_discarded
            await self._end(BatchEnded(name, maybe_billed=False), "failed", told=told)
            await self._submission.discard(self._submission.file_id, *status.files)
            if told:
                return
            raise self._failed(status, left)
        blocked = await self._read(status)
        left, how = len(self.requests), _ENDINGS[status.state]
        # Who was answered is billed, and nobody else; an answer that a finished batch lacks may be either.
        maybe_billed = status.state == "completed"
        if left:
            logger.warning("%s %s with %d of %d requests unanswered.", self.label, how, left, self.total)
        told = status.state != "cancelled" and blocked is None
        await self._end(BatchEnded(name, maybe_billed), how, maybe_billed=maybe_billed, told=told)
        await self._submission.discard(self._submission.file_id, *status.files)
        if blocked is not None:
            raise blocked
        if status.state == "cancelled":
            raise BatchCancelledError(
                f"{self.label} at {self.provider.shown} was cancelled there: {self.total - left} of "
                f"{self.total} requests were answered and are stored. Run again to send the others."
            )

    async def _ended(self) -> BatchStatus | None:
        """Poll until it is over; `None` where the provider does not know it."""
        batch_id = self.status.id if self.status is not None else self.batch.batch_id
        pause_s = min(FIRST_POLL_S, self.patience.poll_s)
        told, answered_s, polls, unknown = "", time.monotonic(), 0, 0
        while True:
            try:
                status = await self.provider.status(batch_id)
            except TransportFault as fault:
                if time.monotonic() - answered_s > self.patience.away_s:
                    raise EndpointError(
                        f"{self.provider.shown} has not answered for {self.patience.away_s:.0f} s: {fault}. "
                        f"{self.label} goes on there; run again to take it up."
                    ) from fault
                await asyncio.sleep(max(fault.retry_after_s or 0.0, pause_s))
                continue
            if status is None:
                unknown += 1
                if unknown >= _UNKNOWN_TIMES:
                    return None
                await asyncio.sleep(pause_s)
                continue
            self.status, answered_s = status, time.monotonic()
            polls, unknown = polls + 1, 0
            if status.state != "running" and (
                status.files or status.state in ("failed", "cancelled") or polls >= _POLLS_FOR_FILES
            ):
                return status
            if (line := self.progress()) != told:
                told = line
                logger.info("%s", line)
            await asyncio.sleep(pause_s)
            pause_s = min(_SLOWER * pause_s, self.patience.poll_s)

    async def _read(self, status: BatchStatus) -> Exception | None:
        """Store what was answered; an error that every request would get, if one did."""
        blocked: Exception | None = None
        for attempt in count():
            held: dict[str, tuple[Write, Answered | Exception]] = {}
            try:
                async for answer in self.provider.answers(status):
                    request = self.requests.get(answer.custom_id)
                    if request is None or request.key in held:
                        continue
                    if not answer.status and status.state != "completed":
                        continue  # its turn never came
                    held[request.key] = _, outcome = self._outcome(request, answer)
                    if isinstance(outcome, EndpointError):
                        blocked = outcome
                    if len(held) >= _ANSWERS_A_COMMIT:
                        await self._settle(held)
                        held = {}
                await self._settle(held)
                return blocked
            except TransportFault as fault:
                await self._settle(held)
                if attempt >= self.patience.max_retries:
                    raise EndpointError(
                        f"The answers of {self.label} cannot be read from {self.provider.shown}: {fault}. They are "
                        "kept there; run again to read them."
                    ) from fault
                await asyncio.sleep(fault.retry_after_s or backoff_s(attempt, self._random))
        raise AssertionError("unreachable")

    def _outcome(self, request: BatchedRequest, answer: BatchAnswer) -> tuple[Write, Answered | Exception]:
        """What is written of an answer, and what the one who asked gets."""
        try:
            if not answer.status:
                raise TransportFault(f"{self.label} did not answer: {escape(answer.error)}", kind="failed")
            if not 200 <= answer.status < 300:
                raise judge(answer.status, {}, escape(mask_known(json.dumps(answer.body))[:_SHOWN_CHARACTERS]))
            found: ChatResponse | Refusal = ChatResponse.read(
                answer.body, thoughts_in_total=self.provider.thoughts_in_total
            )
        except Refusal as refusal:
            found = refusal
        except Blocked as blocked:
            error = EndpointError(f"The endpoint {self.provider.shown} cannot be used: {blocked}")
            return AttemptFailed(request.attempt, maybe_billed=False), error
        except TransportFault as fault:
            # A provider bills what succeeded.
            fault.maybe_billed &= 200 <= answer.status < 300
            usage = fault.usage if fault.maybe_billed else None
            cost = 0 if usage is None else self.terms.cost(usage)
            return AttemptFailed(request.attempt, fault.maybe_billed, usage, cost), fault
        write = received(request.key, request.prompt_tokens, request.attempt, found, self.terms)
        return write, Answered(write.response, write.cost, request.run)

    async def _settle(self, held: dict[str, tuple[Write, Answered | Exception]]) -> None:
        """Write answers down, then hand them on."""
        name = self.batch.name
        await self._submission.commit(
            *(one for key, (write, _) in held.items() for one in (write, BatchRequestDone(name, key)))
        )
        for key, (_, outcome) in held.items():
            if self.requests.pop(key, None) is not None:
                self._answer(key, outcome)

    async def _end(self, ended: BatchEnded, how: str, *, maybe_billed: bool = False, told: bool = True) -> None:
        """Write down that it is over; those without an answer learn it if they may ask again."""
        await self._submission.commit(ended)
        left, self.requests = self.requests, {}
        for key in left if told else ():
            self._answer(key, TransportFault(f"{self.label} {how}", kind="failed", maybe_billed=maybe_billed))

    def _failed(self, status: BatchStatus, left: int) -> EndpointError:
        remedy = (
            "Wait until other batches of the account have ended, or set `extractor_batch_max_requests` to what it "
            "takes at a time, and run again."
            if "limit" in status.code
            else "Mend what it names, or leave out `extractor_batch`, and run again."
        )
        return EndpointError(
            f"{self.label} of {left} requests failed at {self.provider.shown}, which did none of them: "
            f"{status.reason or status.code or 'no reason given'}. {remedy}"
        )


_ENDINGS = {"completed": "ended", "expired": "expired", "cancelled": "was cancelled"}
