"""Question-answer pairs from a model behind endpoints: TGI first, any OpenAI-compatible server second.

```python
extractor = EndpointExtractor("http://localhost:8080", store="run/responses.sqlite")
extractor.check()  # one short request; raises if the endpoint is not usable
for extraction in extractor.extract(documents, Allowance(prompt_tokens=1_000_000)):
    print(extraction.document_id, len(extraction.pairs), extraction.finish_reason)
```
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.extraction.batch.openai_batches import OpenAIBatches
from equal_hf.extraction.batch.sender import BatchSender
from equal_hf.extraction.batch.submission import Patience
from equal_hf.extraction.budget import Prices
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.connection import Connection
from equal_hf.extraction.first_ledger import FirstLedger
from equal_hf.extraction.prompts.refine_judge import JUDGE, REFINE, SecondPass
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.requests.cached_requests import CachedRequests
from equal_hf.extraction.requests.chunks import ChunkExtractor
from equal_hf.extraction.requests.documents import WIND_DOWN_S, ExtractCall
from equal_hf.extraction.responses.ledger import Paid
from equal_hf.extraction.responses.ledger_lines import LedgerLine
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.transport.error_rate import ErrorRateBreaker
from equal_hf.types import Allowance, Document, Extraction, QAPair, Usage
from equal_hf.utils.event_loop import LoopThread
from equal_hf.utils.hashing import fingerprint

logger = logging.getLogger(__name__)

# One document or two that fail may be odd ones; the third says something of the endpoint.
_MIN_FAILED = 3


class EndpointExtractor:
    """Extracts pairs with a model behind one HTTP endpoint or several.

    What kind of server each is, what it serves and what it takes is found out once, by [`check`] or the first
    `extract`, with a few short chat requests that no allowance counts. Replies are asked for along a JSON schema in
    the form that the server heeds, and validated in any case; one that is no valid JSON is asked for once more, which
    counts as use. Documents beyond the endpoint's limit are split, and each pair names the part it came from.

    How many requests are under way is learned from the endpoint: it grows until a 429, a 503 or a timeout, and shrinks
    then. What may pass (dropped connections, timeouts, 408, 409, 415, 425, 429, 498, 5xx, a client error that names no
    cause, bodies that are no completion) is sent again with exponential backoff and full jitter, or when the server
    says, and is never stored. A wrong key or an account without money stops extraction. Of several endpoints a fast
    one serves more, and one that is away is done without until it is back.

    With `batch` the requests of a call go to the provider as one batch; second requests, and what that one left
    unanswered, are a further one. Batches that another process left in the store are taken up first.

    Rejections are counted under `transport_error` (given up after all retries), `refused` (too long for the server, or
    against its policy or template), `truncated` (a reply cut short; its whole pairs are kept), `whitespace_loop` (cut
    short while it wrote nothing but blanks), `thought_only` (cut short before it had begun: the model thought until
    the limit), `stopped_early` (ended here since it repeated itself), `invalid_pair`, the reasons of `parse_pairs` and
    `degenerate_reasons`, and those of second requests: `refined_away`, `judged_low`, `not_judged`.

    Args:
        config ([`EndpointConfig`], `str` or `Sequence[str]`): Its settings, or just the server's URL, or several.
        prompt ([`PromptTemplate`], *optional*): What to ask; the default prompt if unset.
        seed (`int`, *optional*, defaults to `42`): Sampling seed; only sent with a temperature above 0.
        prices ([`Prices`], *optional*): What tokens cost, for `Allowance.cost` and the ledger; what the endpoints list
            where they do.
        store (`ResponseStore`, `str` or `Path`, *optional*): Where replies are kept, so that none is paid for twice.
            Without one they are kept until the extractor is closed.
        **settings: Further fields of [`EndpointConfig`], where `config` is a URL: `model`, `api_key`,
            `max_new_tokens`, `temperature`, …

    Raises:
        `ConfigError`: If an argument is out of range.
        `RecordError`: If the store's file cannot be used.
    """

    def __init__(
        self,
        config: EndpointConfig | str | Sequence[str] = (),
        *,
        prompt: PromptTemplate | None = None,
        seed: int = 42,
        prices: Prices | None = None,
        store: ResponseStore | str | Path | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(config, EndpointConfig):
            if "flavour" in settings:
                raise ConfigError("`flavour` is now called `dialect`.")
            urls = [config] if isinstance(config, str) else list(config)
            config = EndpointConfig(**({"url": urls} | settings))
        elif settings:
            raise ConfigError(f"`config` is complete: set {', '.join(settings)} in it.")
        if seed < 0:
            raise ConfigError(f"`seed` is {seed}. Set it to 0 or more.")
        self.config = config
        self.prompt = prompt or PromptTemplate()
        self._prices = prices or Prices()
        self.run = "unnamed"
        self._addresses = config.addresses()
        # At temperature 0 no seed changes a reply, so runs under different seeds share what was paid for.
        self._sampling = {"temperature": config.temperature} | ({"seed": seed} if config.temperature > 0 else {})
        self._second: list[SecondPass] = [REFINE] * config.refine + [JUDGE] * config.judge
        self._documents = ErrorRateBreaker(config.max_error_rate, config.error_window)
        self._loop = LoopThread()
        scratch = tempfile.TemporaryDirectory(prefix="equal-hf-") if store is None else None
        path = Path(scratch.name) / "responses.sqlite" if scratch is not None else store
        self._store = path if isinstance(path, ResponseStore) else ResponseStore(path or "")
        own = None if isinstance(store, ResponseStore) else self._store
        self._connection: Connection | None = None
        self._call: ExtractCall | None = None
        # An extractor nobody closes ends its thread when it is collected, or with the process.
        self._finish = weakref.finalize(self, _close, self._loop, own, scratch)

    def check(self) -> None:
        """Find out whether the endpoints are usable, and what they are. Does nothing the second time.

        Raises:
            `EndpointError`: If nobody listens, the key or the model is wrong, what answers is no model server, it
                fails again and again, or several serve different models. The message names the URL without
                credentials.
            `ConfigError`: If the prompt or `max_new_tokens` leave no room within the server's limits.
        """
        self._connected()

    def identity(self) -> dict[str, Any]:
        """Everything that changes the pairs, as JSON types: no URL, no secret. Checks the endpoints if need be."""
        settings = self._connected().settings
        second = {step.name: step.prompt_hash for step in self._second}
        if JUDGE in self._second:
            second["judge_min_score"] = str(self.config.judge_min_score)
        schema = self.prompt.schema if settings.guided else None
        return {
            "kind": "endpoint",
            "model": settings.model,
            "model_revision": settings.revision,
            "prompt_hash": self.prompt.prompt_hash,
            "schema_hash": fingerprint(schema, 16),
            "sampling": dict(settings.sampling),
            "max_new_tokens": self.config.max_new_tokens,
            **({"max_reasoning_tokens": thinking} if (thinking := self.config.max_reasoning_tokens) else {}),
            **({"body_hash": fingerprint(settings.extra, 16)} if settings.extra else {}),
            "max_prompt_tokens": settings.prompt_limit,
            **({"second_pass": second} if second else {}),
            **({"grade_items": self.prompt.item_hashes} if self.prompt.grade else {}),
            **({"record_reasoning": True} if settings.record_reasoning else {}),
        }

    def describe(self) -> dict[str, Any]:
        """What was found out about the endpoints, and the prompt's template, as JSON types, for the run's record: no
        secret, and no item of the target."""
        return {"endpoints": self._connected().describe(), "prompt": self.prompt.source}

    @property
    def prices(self) -> Prices:
        """What tokens cost: as set, else as the endpoints list it once they were contacted."""
        return self._prices if self._connection is None else self._connection.settings.prices

    @property
    def in_flight(self) -> int:
        """Requests under way at this moment."""
        return self._connection.balancer.in_flight if self._connection is not None else 0

    @property
    def progress(self) -> tuple[int, int] | None:
        """Documents done, and in all, of the `extract` under way or the last one; `None` before the first."""
        return (self._call.done, self._call.total) if self._call is not None else None

    def begin(self, run: str) -> None:
        """Book what is paid from here on to this run.

        Args:
            run (`str`): Its id.
        """
        self.run = run

    def paid(self) -> Paid:
        """What the run paid so far, by the ledger in the store."""
        return self._store.paid(self.run)

    def ledger(self) -> list[LedgerLine]:
        """The same by endpoint, day, model and service tier."""
        return self._store.lines(self.run)

    def raw_reply(self, pair: QAPair) -> str:
        """The reply that a pair was read from, as the model gave it; empty where it is no longer in the store."""
        reply = self._store.get(pair.response_key, 1)
        return reply.text if reply is not None else ""

    def extract(self, documents: Sequence[Document], allowance: Allowance | None = None) -> list[Extraction]:
        """Extract pairs, many documents at a time.

        The allowance is never passed. A document's worst case is, over its parts, the bound of each request's prompt
        plus `max_new_tokens`, and the same again for asking once more; it is reserved before anything is sent.
        Documents are admitted in order by the rule in [`equal_hf.extraction.budget`], so which ones are does not
        depend on timing. Every reply counts in full, whether it was paid for now or came from the store; money counts
        only where it is paid now.

        Args:
            documents (`Sequence[Document]`): In the order they were drawn.
            allowance (`Allowance`, *optional*): What may be used; `None` for no limit.

        Returns:
            `list[Extraction]`: One a document, in the same order.

        Raises:
            `EndpointError`: As [`check`], if the endpoints stop being usable on the way, or if too many requests fail.
                Responses that came are in the store.
            `KeyboardInterrupt`: On an interrupt, once the responses under way are stored or ten seconds are over.
        """
        if not documents:
            return []
        connection = self._connected()
        try:
            extractions = self._loop.run(self._extract(connection, documents, allowance))
        except BaseException:
            self._wind_down()
            raise
        self._warn_of_lost(extractions)
        self._count_failed(extractions)
        return extractions

    def interrupt(self) -> None:
        """End an [`extract`] in another thread, which waits up to ten seconds for responses that are paid for."""
        self._loop.interrupt()

    def _wind_down(self) -> None:
        """After an interrupt: wait for responses that are paid for. Another interrupt gives them up."""
        call = self._call
        if call is not None:
            try:
                call.ended.wait(2 * WIND_DOWN_S)
            except BaseException:
                call.requests.abandon()
                raise

    def close(self) -> None:
        """Close connections, and the response store if it was opened here."""
        self._finish()

    def _warn_of_lost(self, extractions: Sequence[Extraction]) -> None:
        lost = sum((extraction.lost for extraction in extractions), Usage())
        if lost.requests:
            logger.warning(
                "%d requests brought no reply although the server may have generated one: up to %d prompt and %d "
                "completion tokens count as used for them.",
                lost.requests,
                lost.prompt_tokens,
                lost.completion_tokens,
            )

    def _count_failed(self, extractions: Sequence[Extraction]) -> None:
        """Raise where too many of the last documents failed, in runs that make few requests too."""
        for extraction in extractions:
            if extraction.finish_reason != "budget":
                # What is refused is about the document; such a corpus goes on, and the requests' own share is kept.
                failed = "transport_error" in extraction.dropped
                self._documents.add(first_reason(extraction) if failed else None)
        if (reason := self._documents.tripped(_MIN_FAILED, "documents")) is not None:
            self._documents.clear()
            raise self._connected().balancer.too_many_failures(reason)

    def _connected(self) -> Connection:
        if self._connection is None:
            contact = Connection.open(
                self._addresses,
                self.config,
                self.prompt,
                self._sampling,
                self._second,
                FirstLedger(self._store, self._prices),
            )
            self._connection = self._loop.run(contact)
            self._loop.at_stop(self._connection.close)
        return self._connection

    async def _extract(
        self, connection: Connection, documents: Sequence[Document], allowance: Allowance | None
    ) -> list[Extraction]:
        connection.balancer.restart()
        requests = CachedRequests(connection.balancer, self._store, connection.settings, self.run)
        chunk_extractor = ChunkExtractor(
            requests,
            self.prompt,
            connection.chunker.bounds,
            connection.balancer.post,
            self._second,
            connection.findings[0].overheads,
            self.config.judge_min_score,
        )
        self._call = ExtractCall(requests, connection.chunker, chunk_extractor)
        try:
            await self._take_up_batches(requests, connection)
        except BaseException:
            await requests.close()
            raise
        return await self._call.run(documents, allowance)

    async def _take_up_batches(self, requests: CachedRequests, connection: Connection) -> None:
        """Where requests go in batches, or some went: batches that another process left come first."""
        config = self.config
        left_at = {batch.endpoint for batch in await asyncio.to_thread(self._store.open_batches)}
        endpoints = connection.balancer.endpoints
        endpoint = next((one for one in endpoints if config.batch or one.client.address.shown in left_at), None)
        if endpoint is None:
            return
        batches = BatchSender(
            OpenAIBatches(endpoint.client.address),
            self._store,
            requests.writer,
            requests.owner,
            requests.terms(endpoint, "batch"),
            Patience(config.batch_poll_s, config.max_retries, config.load_timeout_s),
            requests.activity,
            config.batch_min_requests,
            config.batch_max_requests,
        )
        await requests.batches.take_up(batches, send=config.batch)


def first_reason(extraction: Extraction) -> str:
    """Why a document was given up, in the server's words where there are some."""
    rejection = next(iter(extraction.rejected), None)
    return "" if rejection is None else rejection.raw or rejection.reason


def _close(loop: LoopThread, store: ResponseStore | None, scratch: tempfile.TemporaryDirectory[str] | None) -> None:
    loop.stop()
    if store is not None:
        store.close()
    if scratch is not None:
        scratch.cleanup()
