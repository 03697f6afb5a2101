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
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.extraction.agreement import agree
from equal_hf.extraction.prices import Prices
from equal_hf.extraction.probe import Findings, probe
from equal_hf.extraction.prompts.parse_reply import PAIRS_SCHEMA
from equal_hf.extraction.prompts.refine_judge import JUDGE, REFINE, SecondPass
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.requests.cached_requests import CachedRequests, Settings
from equal_hf.extraction.requests.chunking import Chunker, Tokenizer
from equal_hf.extraction.requests.chunks import ChunkExtractor
from equal_hf.extraction.requests.documents import Batch
from equal_hf.extraction.responses.ledger import Paid
from equal_hf.extraction.responses.store import ResponseStore
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.concurrency import Window
from equal_hf.extraction.transport.dialects import FLAVOURS
from equal_hf.extraction.transport.endpoint_state import Member
from equal_hf.extraction.transport.error_rate import FailureWindow
from equal_hf.extraction.transport.load_balancer import Pool
from equal_hf.extraction.transport.rate_limit import MinuteCap
from equal_hf.extraction.transport.url import Address
from equal_hf.types import Allowance, Document, Extraction, QAPair
from equal_hf.utils.event_loop import LoopThread
from equal_hf.utils.hashing import fingerprint
from equal_hf.utils.printable import first_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Ready:
    """What is known after the first contact."""

    pool: Pool
    chunker: Chunker
    settings: Settings
    findings: list[Findings]


class EndpointExtractor:
    """Extracts pairs with a model behind one HTTP endpoint or several.

    What kind of server each is, what it serves and what it takes is found out once, by [`check`] or the first
    `extract`, with one short chat request that no allowance counts. Replies are asked for along a JSON schema in the
    server's own dialect and validated in any case; one that is no valid JSON is asked for once more, which counts as
    use. Documents beyond the endpoint's limit are split, and each pair names the part it came from.

    How many requests are under way is learned from the endpoint: it grows until a 429, a 503 or a timeout, and shrinks
    then. Transport faults (dropped connections, timeouts, 408, 424, 425, 429, 5xx, bodies that are no completion) are
    tried again with exponential backoff and full jitter, or when `Retry-After` says. Of several endpoints a fast one
    serves more, and one that is away is done without until it is back.

    Rejections are counted under `transport_error` (given up after all retries), `refused` (the server refuses this
    document for good), `truncated` (a reply cut short; its whole pairs are kept), `whitespace_loop` (cut short while
    it wrote nothing but blanks), `invalid_pair`, the reasons of `parse_pairs`, and those of second requests:
    `refined_away`, `judged_low`, `not_judged`.

    Args:
        url (`str` or `Sequence[str]`): The server, such as `http://localhost:8080`; a trailing `/v1` is ignored.
            Credentials in it become basic authentication. Several must serve the same model and revision.
        model (`str`, *optional*): Model id. Needed where the server offers several; else what is served.
        model_revision (`str`, *optional*): The model's revision, where the server does not tell (TGI does).
        api_key (`str`, *optional*): Bearer token. Without one the Hugging Face token (`HF_TOKEN`) is sent, but to
            `https` hosts of Hugging Face only. Never logged, recorded or shown.
        headers (`Mapping[str, str]`, *optional*): Further headers of every request, for gateways that want some.
            Never logged, recorded or shown either.
        flavour (`str`, *optional*, defaults to `"auto"`): `"tgi"`, `"llama.cpp"`, `"vllm"`, `"openai"`, or find out.
        prompt (`PromptTemplate`, *optional*): What to ask; the default prompt if unset.
        max_new_tokens (`int`, *optional*, defaults to `1024`): Limit of a reply.
        max_input_tokens (`int`, *optional*): Limit of a prompt, chat template included, below the server's own; for a
            server that tells no limit of its own.
        tokenizer (`str`, *optional*): Hub id or folder of the model's tokenizer, to count tokens here. Where it is
            left out the server counts, and where that cannot, bytes are the bound.
        temperature (`float`, *optional*, defaults to `0.0`): Sampling temperature.
        seed (`int`, *optional*, defaults to `42`): Sampling seed; only sent with a temperature above 0.
        refine (`bool`, *optional*, defaults to `False`): Ask a second time about each document's pairs, to put them
            right or strike them out.
        judge (`bool`, *optional*, defaults to `False`): Ask for a grade from 1 to 5 for each pair.
        judge_min_score (`int`, *optional*, defaults to `3`): Pairs graded below are rejected.
        concurrency (`int`, *optional*, defaults to `256`): Requests under way at each endpoint at most.
        requests_per_minute, tokens_per_minute (`int`, *optional*): Caps of each endpoint, in any 60 seconds. Prompt
            and completion tokens count, by their upper bound until the reply is there.
        timeout_s (`float`, *optional*, defaults to `300.0`): Limit of one request. Waiting for a turn here is not part
            of it.
        max_retries (`int`, *optional*, defaults to `10`): How often a request is sent again before its document is
            given up with `transport_error`.
        max_error_rate (`float`, *optional*, defaults to `0.5`): Extraction stops when more than this share of the last
            `error_window` requests failed, each three times in a row or for good.
        error_window (`int`, *optional*, defaults to `100`): See there.
        load_timeout_s (`float`, *optional*, defaults to `600.0`): How long to wait for a server that is loading, or
            that went away after it had answered.
        prices ([`Prices`], *optional*): What tokens cost; for `Allowance.cost` and the ledger.
        store (`ResponseStore`, `str` or `Path`, *optional*): Where replies are kept, so that none is paid for twice.
            Without one they are kept until the extractor is closed.

    Raises:
        `ConfigError`: If an argument is out of range.
        `RecordError`: If the store's file cannot be used.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        model: str | None = None,
        model_revision: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        flavour: str = "auto",
        prompt: PromptTemplate | None = None,
        max_new_tokens: int = 1024,
        max_input_tokens: int | None = None,
        tokenizer: str | None = None,
        temperature: float = 0.0,
        seed: int = 42,
        refine: bool = False,
        judge: bool = False,
        judge_min_score: int = 3,
        concurrency: int = 256,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        timeout_s: float = 300.0,
        max_retries: int = 10,
        max_error_rate: float = 0.5,
        error_window: int = 100,
        load_timeout_s: float = 600.0,
        prices: Prices | None = None,
        store: ResponseStore | str | Path | None = None,
    ) -> None:
        if flavour not in ("auto", *FLAVOURS):
            raise ConfigError(f"`flavour` is {flavour!r}. Set it to auto, {', '.join(FLAVOURS)}.")
        prices = prices or Prices()
        ranges = {
            "max_new_tokens": (max_new_tokens, 1, None),
            "max_input_tokens": (max_input_tokens, 1, None),
            "temperature": (temperature, 0, None),
            "seed": (seed, 0, None),
            "judge_min_score": (judge_min_score, 1, 5),
            "concurrency": (concurrency, 1, None),
            "requests_per_minute": (requests_per_minute, 1, None),
            "tokens_per_minute": (tokens_per_minute, max_new_tokens + 1, None),
            "timeout_s": (timeout_s, 0.001, None),
            "max_retries": (max_retries, 0, None),
            "max_error_rate": (max_error_rate, 0, 1),
            "error_window": (error_window, 1, None),
            "load_timeout_s": (load_timeout_s, 0, None),
            "price_per_million_prompt_tokens": (prices.prompt, 0, None),
            "price_per_million_completion_tokens": (prices.completion, 0, None),
        }
        for name, (value, least, most) in ranges.items():
            if value is not None and not (value >= least and (most is None or value <= most)):
                wanted = f"{least} or more" if most is None else f"{least} to {most}"
                raise ConfigError(f"`{name}` is {value}. Set it to {wanted}.")
        urls = [url] if isinstance(url, str) else list(url)
        if not urls:
            raise ConfigError("`extractor_url` names no endpoint. Set it to one such as http://localhost:8080.")
        self.prompt = prompt or PromptTemplate()
        self.prices = prices
        self.run = "unnamed"
        self._addresses = list(
            {address.base: address for address in (Address.parse(u, api_key, headers) for u in urls)}.values()
        )
        self._model, self._model_revision, self._flavour = model, model_revision, flavour
        self._max_new_tokens, self._max_input_tokens = max_new_tokens, max_input_tokens
        # At temperature 0 no seed changes a reply, so runs under different seeds share what was paid for.
        self._sampling = {"temperature": temperature} | ({"seed": seed} if temperature > 0 else {})
        self._second: list[SecondPass] = [REFINE] * refine + [JUDGE] * judge
        self._tokenizer = tokenizer
        self._judge_min_score = judge_min_score
        self._concurrency = concurrency
        self._requests_per_minute, self._tokens_per_minute = requests_per_minute, tokens_per_minute
        self._timeout_s, self._max_retries, self._load_timeout_s = timeout_s, max_retries, load_timeout_s
        self._failures = FailureWindow(max_error_rate, error_window)
        self._loop = LoopThread()
        scratch = tempfile.TemporaryDirectory(prefix="equal-hf-") if store is None else None
        path = Path(scratch.name) / "responses.sqlite" if scratch is not None else store
        self._store = path if isinstance(path, ResponseStore) else ResponseStore(path or "")
        own = None if isinstance(store, ResponseStore) else self._store
        self._ready: _Ready | None = None
        self._batch: Batch | None = None
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
        self._prepared()

    def identity(self) -> dict[str, Any]:
        """Everything that changes the pairs, as JSON types: no URL, no secret. Checks the endpoints if need be."""
        settings = self._prepared().settings
        second = {step.name: step.prompt_hash for step in self._second}
        if JUDGE in self._second:
            second["judge_min_score"] = str(self._judge_min_score)
        schema = PAIRS_SCHEMA if settings.guided else None
        return {
            "kind": "endpoint",
            "model": settings.model,
            "model_revision": settings.revision,
            "prompt_hash": self.prompt.prompt_hash,
            "schema_hash": fingerprint(schema, 16),
            "sampling": dict(self._sampling),
            "max_new_tokens": self._max_new_tokens,
            "max_prompt_tokens": settings.prompt_limit,
            **({"second_pass": second} if second else {}),
        }

    def describe(self) -> dict[str, Any]:
        """What was found out about the endpoints, as JSON types, for the run's record: no secret."""
        ready = self._prepared()
        return {
            "endpoints": [
                {
                    "url": member.client.address.shown,
                    "flavour": member.server.flavour,
                    "model": member.server.model,
                    "revision": member.server.revision,
                    "schema": findings.schema,
                    "counts_tokens": findings.bounds.counts,
                    "max_prompt_tokens": ready.settings.prompt_limit,
                    "max_concurrent": member.window.limit,
                }
                for member, findings in zip(ready.pool.members, ready.findings, strict=True)
            ]
        }

    @property
    def in_flight(self) -> int:
        """Requests under way at this moment."""
        return self._ready.pool.in_flight if self._ready is not None else 0

    @property
    def progress(self) -> tuple[int, int] | None:
        """Documents done, and in all, of the `extract` under way or the last one; `None` before the first."""
        return (self._batch.done, self._batch.total) if self._batch is not None else None

    def begin(self, run: str) -> None:
        """Book what is paid from here on to this run.

        Args:
            run (`str`): Its id.
        """
        self.run = run

    def paid(self) -> Paid:
        """What the run paid so far, by the ledger in the store."""
        return self._store.paid(self.run)

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
                Replies that came are in the store.
        """
        if not documents:
            return []
        ready = self._prepared()
        return self._loop.run(self._extract(ready, documents, allowance))

    def close(self) -> None:
        """Close connections, and the response store if it was opened here."""
        self._finish()

    def _prepared(self) -> _Ready:
        if self._ready is None:
            self._ready = self._loop.run(self._first_contact())
        return self._ready

    async def _extract(
        self, ready: _Ready, documents: Sequence[Document], allowance: Allowance | None
    ) -> list[Extraction]:
        ready.pool.restart()
        requests = CachedRequests(ready.pool, self._store, ready.settings, self.run)
        chunk_extractor = ChunkExtractor(
            requests,
            self.prompt,
            ready.chunker.bounds,
            ready.pool.post,
            self._second,
            ready.findings[0].overheads,
            self._judge_min_score,
        )
        self._batch = Batch(requests, ready.chunker, chunk_extractor)
        return await self._batch.run(documents, allowance)

    async def _first_contact(self) -> _Ready:
        tokenizer = _load_tokenizer(self._tokenizer) if self._tokenizer is not None else None
        clients = [ChatClient(address, self._timeout_s) for address in self._addresses]
        try:
            findings = await asyncio.gather(
                *(
                    probe(
                        client,
                        self._flavour,
                        self._model,
                        self.prompt,
                        self._sampling,
                        self._second,
                        self._load_timeout_s,
                        tokenizer,
                    )
                    for client in clients
                )
            )
            settings = agree(
                findings,
                [client.address.shown for client in clients],
                model_revision=self._model_revision,
                max_new_tokens=self._max_new_tokens,
                max_input_tokens=self._max_input_tokens,
                tokens_per_minute=self._tokens_per_minute,
                sampling=self._sampling,
                prices=self.prices,
            )
            bounds = findings[0].bounds
            reserve = ChunkExtractor.reserve(self._max_new_tokens, findings[0].overheads, counts=bounds.counts)
            bounds.require_room(settings.prompt_limit, reserve)
        except BaseException:
            for client in clients:
                await client.close()
            raise
        for client in clients:
            self._loop.at_stop(client.close)
        members = [
            Member(
                client,
                found.server,
                Window(min(self._concurrency, found.server.max_concurrent or self._concurrency)),
                MinuteCap(self._requests_per_minute),
                MinuteCap(self._tokens_per_minute),
            )
            for client, found in zip(clients, findings, strict=True)
        ]
        pool = Pool(
            members,
            max_retries=self._max_retries,
            load_timeout_s=self._load_timeout_s,
            failures=self._failures,
        )
        for member in members:
            logger.info(
                "%s (%s) serves %s: prompts of up to %s tokens, up to %d requests at a time.",
                member.client.address.shown,
                member.server.flavour,
                settings.model,
                settings.prompt_limit or "any number of",
                member.window.limit,
            )
        chunker = Chunker(pool.post, bounds, self.prompt, settings.prompt_limit, reserve)
        return _Ready(pool, chunker, settings, findings)


def _load_tokenizer(name: str) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The tokenizer {name} cannot be loaded: {first_line(error)}. Correct `extractor_tokenizer`."
        ) from error
    tokenizer.model_max_length = sys.maxsize  # counting what is too long is the point
    if not tokenizer.chat_template:
        raise ConfigError(f"The tokenizer {name} has no chat template. Leave out `extractor_tokenizer`.")
    return tokenizer


def _close(loop: LoopThread, store: ResponseStore | None, scratch: tempfile.TemporaryDirectory[str] | None) -> None:
    loop.stop()
    if store is not None:
        store.close()
    if scratch is not None:
        scratch.cleanup()
