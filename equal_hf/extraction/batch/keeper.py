"""One batch, from its first byte at the provider to its last answer in the store.

| what a kill interrupts | what is in the store | what the next keeper does |
|---|---|---|
| the upload | the batch's name | deletes the file, if one of that name arrived; nothing was paid |
| making the batch | the file's id | looks for the batch by name; if there is none, deletes the file, so that none can be made of it, and looks again |
| polling | the batch's id | polls |
| reading | the batch's id, some answers | reads again, and skips what is stored |
"""  # noqa: E501

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import BinaryIO, TypeVar

from equal_hf.errors import EndpointError
from equal_hf.extraction.batch.provider import BatchAnswer, BatchProvider, BatchStatus
from equal_hf.extraction.requests.answers import Terms, received
from equal_hf.extraction.responses.batch_table import (
    BatchedRequest,
    BatchEnded,
    BatchRequestDone,
    BatchSubmitted,
    BatchUploaded,
    OpenBatch,
)
from equal_hf.extraction.responses.ledger import AttemptFailed, Response, Write
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.faults import Blocked, Refusal, TransportFault, judge
from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.printable import escape
from equal_hf.utils.retry import backoff_s

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_POLL_S = 2.0
_SLOWER = 1.5
# So many answers become one transaction.
_ANSWERS_A_COMMIT = 200
# A request that was sent just before a kill may arrive this much later.
LATE_S = 1.0
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


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and how often to try.

    Args:
        poll_s (`float`): Longest time between two looks at a batch.
        max_retries (`int`): How often what brings a batch on its way is tried again.
        away_s (`float`): How long a provider may be away while a batch is under way.
    """

    poll_s: float = 60.0
    max_retries: int = 10
    away_s: float = 600.0


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
        self._answer = answer
        self._file_id = batch.file_id
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
        """Upload the requests and make a batch of them.

        Raises:
            `EndpointError`: If the provider takes none. Where it is certain that no batch was made, nothing is left.
        """
        name = self.batch.name

        async def upload() -> str:
            file.seek(0)
            return await self.provider.upload(name, file)

        try:
            self._file_id = await self._persist(upload, lambda: self.provider.find_upload(name))
        except UncertainError:
            raise
        except (EndpointError, Refusal) as error:
            await self._commit(BatchEnded(name, maybe_billed=False))
            raise self._no_batch(error) from error
        await self._commit(BatchUploaded(name, self._file_id))

        async def submit() -> BatchStatus:
            return await self.provider.submit(name, self._file_id)

        try:
            self.status = await self._persist(submit, self._find)
        except UncertainError:
            raise
        except (EndpointError, Refusal) as error:
            await self._commit(BatchEnded(name, maybe_billed=False))
            await self._discard(self._file_id)
            raise self._no_batch(error) from error
        await self._commit(BatchSubmitted(name, self.status.id))
        logger.info(
            "%d requests are under way as %s at %s, for up to 24 hours. A run that is stopped leaves it running, and "
            "the same command takes it up.",
            self.total,
            self.label,
            self.provider.shown,
        )

    async def take_up(self) -> bool:
        """Find out what became of a batch that another process left; whether there is one to see through."""
        batch = self.batch
        if not batch.batch_id and not await self._find_again():
            return False
        logger.info(
            "%s at %s holds %d requests without an answer: it is waited for.",
            self.label,
            self.provider.shown,
            len(self.requests),
        )
        return True

    async def _find_again(self) -> bool:
        batch = self.batch
        if batch.file_id:
            self.status = await self._persist(self._find)
            if self.status is None:
                # A request to make it may still be on its way: of a file that is gone nothing can be made.
                await self._persist(lambda: self.provider.discard(batch.file_id))
                await asyncio.sleep(LATE_S)
                self.status = await self._persist(self._find)
            if self.status is not None:
                await self._commit(BatchSubmitted(batch.name, self.status.id))
                return True
        elif (file_id := await self._persist(lambda: self.provider.find_upload(batch.name))) is not None:
            await self._persist(lambda: self.provider.discard(file_id))
        logger.info("%s had not been sent when its process ended: its requests are sent anew.", self.label)
        await self._end(BatchEnded(batch.name, maybe_billed=False), "had not been sent")
        return False

    async def _find(self) -> BatchStatus | None:
        return await self.provider.find(self.batch.name, self._file_id, self.batch.made_unix_s)

    # -- under way -------------------------------------------------------------------------------------------------

    async def see_through(self) -> None:
        """Wait for its end, and store its answers.

        Raises:
            `EndpointError`: If it failed or was cancelled, or the provider cannot be asked any more.
        """
        status = await self._ended()
        name = self.batch.name
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
            await self._end(BatchEnded(name, maybe_billed=False), "failed", told=False)
            await self._discard(self._file_id, *status.files)
            raise self._failed(status, left)
        blocked = await self._read(status)
        left, how = len(self.requests), _ENDINGS[status.state]
        # Who was answered is billed, and nobody else; an answer that a finished batch lacks may be either.
        maybe_billed = status.state == "completed"
        if left:
            logger.warning("%s %s with %d of %d requests unanswered.", self.label, how, left, self.total)
        told = status.state != "cancelled" and blocked is None
        await self._end(BatchEnded(name, maybe_billed), how, maybe_billed=maybe_billed, told=told)
        await self._discard(self._file_id, *status.files)
        if blocked is not None:
            raise blocked
        if status.state == "cancelled":
            raise EndpointError(
                f"{self.label} at {self.provider.shown} was cancelled there: {self.total - left} of "
                f"{self.total} requests were answered and are stored. Run again to send the others."
            )

    async def _ended(self) -> BatchStatus | None:
        """Poll until it is over; `None` where the provider does not know it."""
        batch_id = self.status.id if self.status is not None else self.batch.batch_id
        pause_s = min(FIRST_POLL_S, self.patience.poll_s)
        told, answered_s, polls = "", time.monotonic(), 0
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
                return None
            self.status, answered_s = status, time.monotonic()
            polls += 1
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
            found: ChatResponse | Refusal = ChatResponse.read(answer.body)
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
        await self._commit(*(one for key, (write, _) in held.items() for one in (write, BatchRequestDone(name, key))))
        for key, (_, outcome) in held.items():
            if self.requests.pop(key, None) is not None:
                self._answer(key, outcome)

    async def _end(self, ended: BatchEnded, how: str, *, maybe_billed: bool = False, told: bool = True) -> None:
        """Write down that it is over; those without an answer learn it if they may ask again."""
        await self._commit(ended)
        left, self.requests = self.requests, {}
        for key in left if told else ():
            self._answer(key, TransportFault(f"{self.label} {how}", kind="failed", maybe_billed=maybe_billed))

    # -- helpers ---------------------------------------------------------------------------------------------------

    async def _commit(self, *writes: Write) -> None:
        if writes:
            await asyncio.to_thread(self.store.commit, writes)

    async def _discard(self, *file_ids: str) -> None:
        """Delete files that nobody needs any more, as far as that goes."""
        for file_id in filter(None, file_ids):
            try:
                await self.provider.discard(file_id)
            except (TransportFault, Refusal, EndpointError) as error:
                logger.debug("%s was not deleted: %s", file_id, error)

    async def _persist(
        self, act: Callable[[], Awaitable[T]], found: Callable[[], Awaitable[T | None]] | None = None
    ) -> T:
        """Do it, again and again; before it is done again, look whether it was done after all."""
        for attempt in count():
            try:
                if attempt and found is not None and (it := await found()) is not None:
                    return it
                return await act()
            except TransportFault as fault:
                if attempt >= self.patience.max_retries:
                    raise UncertainError(
                        f"The endpoint {self.provider.shown} cannot be used: it keeps failing: {fault}. "
                        "What was begun is taken up when you run again."
                    ) from fault
                await asyncio.sleep(fault.retry_after_s or backoff_s(attempt, self._random))
            except (EndpointError, Refusal) as error:
                if attempt:  # an earlier try may have come through
                    raise UncertainError(str(error)) from error
                raise
        raise AssertionError("unreachable")

    def _no_batch(self, error: Exception) -> EndpointError:
        if isinstance(error, EndpointError):
            return error
        return EndpointError(f"{self.provider.shown} takes no batch of {self.total} requests: {error}.")

    def _failed(self, status: BatchStatus, left: int) -> EndpointError:
        remedy = (
            "Wait until other batches of the account have ended, or make rounds smaller, and run again."
            if "limit" in status.code
            else "Mend what it names, or leave out `extractor_batch`, and run again."
        )
        return EndpointError(
            f"{self.label} of {left} requests failed at {self.provider.shown}, which did none of them: "
            f"{status.reason or status.code or 'no reason given'}. {remedy}"
        )


class UncertainError(EndpointError):
    """What was begun may have been done: nothing is written off, and the next process looks."""


_ENDINGS = {"completed": "ended", "expired": "expired", "cancelled": "was cancelled"}
