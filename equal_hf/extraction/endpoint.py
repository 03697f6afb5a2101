"""Question-answer pairs from a model behind an endpoint: TGI first, any OpenAI-compatible server second.

```python
extractor = EndpointExtractor("http://localhost:8080", store="run/responses.sqlite")
extractor.check()  # one short request; raises if the endpoint is not usable
for extraction in extractor.extract(documents, Allowance(prompt_tokens=1_000_000)):
    print(extraction.document_id, len(extraction.pairs), extraction.finish_reason)
```
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from equal_hf.errors import ConfigError, EndpointError
from equal_hf.extraction.address import Address
from equal_hf.extraction.batch import Batch, Settings
from equal_hf.extraction.cache import ResponseStore
from equal_hf.extraction.client import ChatClient
from equal_hf.extraction.completion import Completion
from equal_hf.extraction.flavours import FLAVOURS, Server, guided, identify
from equal_hf.extraction.parse import PAIRS_SCHEMA
from equal_hf.extraction.parts import PromptBounds
from equal_hf.extraction.prompts import PromptTemplate
from equal_hf.extraction.retry import Refusal, TransportFault
from equal_hf.types import Allowance, Document, Extraction

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A question nobody answers in JSON unless made to, so the reply shows whether the schema was heeded.
_PROBE = [{"role": "user", "content": "Say hello in one short sentence."}]
_PROBE_TOKENS = 16
_PROBE_RETRIES = 4


class EndpointExtractor:
    """Extracts pairs with a model behind an HTTP endpoint.

    What kind of server it is, what it serves and what it takes is found out once, by [`check`] or the first `extract`,
    which makes one short chat request that no allowance counts. Replies are asked for along a JSON schema in the
    server's own dialect and validated in any case; one that is no valid JSON is asked for once more, which counts as
    use. Documents beyond the endpoint's limit are split, and each pair names the part it came from. Transport faults
    (dropped connections, timeouts, 408, 424, 425, 429, 5xx, bodies that are no completion) are tried again with
    exponential backoff and full jitter, or when `Retry-After` says.

    Rejections are counted under `transport_error` (given up after all retries), `refused` (the server refuses this
    document for good), `truncated` (a reply cut short; its whole pairs are kept), `invalid_pair`, and the reasons of
    `parse_pairs`.

    Args:
        url (`str`): The server, such as `http://localhost:8080`; a trailing `/v1` is ignored. Credentials in it become
            basic authentication.
        model (`str`, *optional*): Model id. Needed where the server offers several; else what is served.
        model_revision (`str`, *optional*): The model's revision, where the server does not tell (TGI does).
        api_key (`str`, *optional*): Bearer token. Without one the Hugging Face token (`HF_TOKEN`) is sent, but to
            `https` hosts of Hugging Face only. Never logged, recorded or shown.
        flavour (`str`, *optional*, defaults to `"auto"`): `"tgi"`, `"llama.cpp"`, `"vllm"`, `"openai"`, or find out.
        prompt (`PromptTemplate`, *optional*): What to ask; the default prompt if unset.
        max_new_tokens (`int`, *optional*, defaults to `1024`): Limit of a reply.
        max_input_tokens (`int`, *optional*): Limit of a prompt, chat template included, below the server's own; for a
            server that tells no limit of its own.
        temperature (`float`, *optional*, defaults to `0.0`): Sampling temperature.
        seed (`int`, *optional*, defaults to `42`): Sampling seed; only sent with a temperature above 0.
        concurrency (`int`, *optional*, defaults to `32`): Requests under way at a time, less where the server says so.
        timeout_s (`float`, *optional*, defaults to `300.0`): Limit of one request. Waiting for a turn here is not part
            of it.
        max_retries (`int`, *optional*, defaults to `10`): How often a request is sent again before its document is
            given up with `transport_error`.
        load_timeout_s (`float`, *optional*, defaults to `600.0`): How long to wait for a server that is loading, or
            that went away after it had answered.
        store (`ResponseStore`, `str` or `Path`, *optional*): Where replies are kept, so that none is paid for twice.

    Raises:
        `ConfigError`: If an argument is out of range.
        `RecordError`: If the store's file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        model_revision: str | None = None,
        api_key: str | None = None,
        flavour: str = "auto",
        prompt: PromptTemplate | None = None,
        max_new_tokens: int = 1024,
        max_input_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int = 42,
        concurrency: int = 32,
        timeout_s: float = 300.0,
        max_retries: int = 10,
        load_timeout_s: float = 600.0,
        store: ResponseStore | str | Path | None = None,
    ) -> None:
        if flavour not in ("auto", *FLAVOURS):
            raise ConfigError(f"`flavour` is {flavour!r}. Set it to auto, {', '.join(FLAVOURS)}.")
        numbers = {
            "max_new_tokens": (max_new_tokens, 1),
            "max_input_tokens": (1 if max_input_tokens is None else max_input_tokens, 1),
            "temperature": (temperature, 0),
            "seed": (seed, 0),
            "concurrency": (concurrency, 1),
            "timeout_s": (timeout_s, 0.001),
            "max_retries": (max_retries, 0),
            "load_timeout_s": (load_timeout_s, 0),
        }
        for name, (value, least) in numbers.items():
            if not value >= least:
                raise ConfigError(f"`{name}` is {value}. Set it to {least} or more.")
        self.prompt = prompt or PromptTemplate()
        self._address = Address.parse(url, api_key)
        self._model, self._model_revision, self._flavour = model, model_revision, flavour
        self._max_new_tokens, self._max_input_tokens = max_new_tokens, max_input_tokens
        # At temperature 0 no seed changes a reply, so runs under different seeds share what was paid for.
        self._sampling = {"temperature": temperature} | ({"seed": seed} if temperature > 0 else {})
        self._concurrency = concurrency
        self._transport: dict[str, Any] = {
            "timeout_s": timeout_s,
            "max_retries": max_retries,
            "load_timeout_s": load_timeout_s,
        }
        self._store = ResponseStore(store) if isinstance(store, str | Path) else store
        self._ready: tuple[Server, PromptBounds, Settings] | None = None

    def check(self) -> None:
        """Find out whether the endpoint is usable, and what it is. Does nothing the second time.

        Raises:
            `EndpointError`: If nobody listens, the key or the model is wrong, what answers is no model server, or
                it fails beyond `max_retries`. The message names the URL without credentials.
            `ConfigError`: If the prompt or `max_new_tokens` leave no room within the server's limits.
        """
        self._prepared()

    def identity(self) -> dict[str, Any]:
        """Everything that changes the pairs, as JSON types: no URL, no secret. Checks the endpoint if need be."""
        server, _, settings = self._prepared()
        return {
            "kind": "endpoint",
            "model": server.model,
            "model_revision": settings.revision,
            "prompt_hash": self.prompt.prompt_hash,
            "schema_hash": hashlib.sha256(json.dumps(settings.schema, sort_keys=True).encode()).hexdigest()[:16],
            "sampling": dict(self._sampling),
            "max_new_tokens": self._max_new_tokens,
            "max_prompt_tokens": settings.prompt_limit,
        }

    def extract(self, documents: Sequence[Document], allowance: Allowance | None = None) -> list[Extraction]:
        """Extract pairs, many documents at a time.

        The allowance is never passed. A document's worst case is, over its parts, the bound of the prompt plus
        `max_new_tokens`, and the same again for asking once more; it is reserved before anything is sent. Documents
        are admitted in order by the rule in [`equal_hf.extraction.admission`], so which ones are does not depend on
        timing. Every reply counts in full, whether it was paid for now or came from the store.

        Args:
            documents (`Sequence[Document]`): In the order they were drawn.
            allowance (`Allowance`, *optional*): What may be used; `None` for no limit.

        Returns:
            `list[Extraction]`: One a document, in the same order.

        Raises:
            `EndpointError`: As [`check`], and if the endpoint stops being usable on the way. Replies that came are in
                the store.
        """
        if not documents:
            return []
        self._prepared()
        return _run(self._extract(documents, allowance))

    def close(self) -> None:
        """Close the response store."""
        if self._store is not None:
            self._store.close()

    def _prepared(self) -> tuple[Server, PromptBounds, Settings]:
        if self._ready is None:
            self._ready = _run(self._probe())
        return self._ready

    async def _extract(self, documents: Sequence[Document], allowance: Allowance | None) -> list[Extraction]:
        server, bounds, settings = self._prepared()
        async with ChatClient(self._address, concurrency=settings.concurrency, **self._transport) as client:
            return await Batch(client, server, bounds, self.prompt, settings, self._store).run(documents, allowance)

    async def _probe(self) -> tuple[Server, PromptBounds, Settings]:
        # Few retries: a server that is broken from the start is better told of at once.
        transport = self._transport | {"max_retries": min(self._transport["max_retries"], _PROBE_RETRIES)}
        client = ChatClient(self._address, concurrency=1, was_up=False, **transport)
        async with client:
            try:
                await client.wait_until_loaded()
                try:
                    server = await identify(client.get, self._flavour, self._model)
                except EndpointError as error:
                    raise client.key_error or client.error(str(error)) from None
                completion, schema = await self._first_request(client, server)
                bounds = await PromptBounds.measure(client, server, self.prompt, _PROBE, completion.prompt_tokens)
            except TransportFault as fault:
                if fault.kind == "malformed":
                    raise client.error("what answers is no model server. Correct `extractor_url`.") from fault
                raise client.error(f"it keeps failing: {fault}. Look at the server's log.") from fault
        revision = server.revision or self._model_revision
        if revision is None:
            logger.warning(
                "%s does not tell the revision of %s: records will say 'unknown'. Set `extractor_model_revision`.",
                self._address.shown,
                server.model,
            )
        elif self._model_revision not in (None, revision):
            logger.warning(
                "%s serves %s at revision %s, not at `extractor_model_revision` %s: records name what is served.",
                self._address.shown,
                server.model,
                revision,
                self._model_revision,
            )
        limits = (server.prompt_limit(self._max_new_tokens), self._max_input_tokens)
        prompt_limit = min((limit for limit in limits if limit is not None), default=None)
        bounds.require_room(prompt_limit)
        settings = Settings(
            revision=revision or "unknown",
            max_new_tokens=self._max_new_tokens,
            prompt_limit=prompt_limit,
            sampling=self._sampling,
            schema=schema,
            concurrency=min(self._concurrency, server.max_concurrent or self._concurrency),
        )
        logger.info(
            "%s (%s) serves %s: prompts of up to %s tokens, %d requests at a time.",
            self._address.shown,
            server.flavour,
            server.model,
            prompt_limit or "any number of",
            settings.concurrency,
        )
        return server, bounds, settings

    async def _first_request(self, client: ChatClient, server: Server) -> tuple[Completion, dict[str, Any] | None]:
        """One short chat request: does it work, and is the schema heeded?"""
        model = server.requested_model

        async def ask(body: dict[str, Any]) -> Completion:
            return await client.chat(_PROBE, model, _PROBE_TOKENS, self._sampling | body)

        try:
            completion = await ask(guided(server.flavour, PAIRS_SCHEMA))
        except Refusal as refusal:
            try:
                completion = await ask({})
            except Refusal as again:
                raise client.error(f"it refuses a simple request: {again}. Look at the server's log.") from again
            logger.warning(
                "%s refuses a JSON schema (%s): replies follow the prompt alone.", client.address.shown, refusal
            )
            return completion, None
        reply = completion.text.strip()
        if reply and not '{"pairs":'.startswith("".join(reply.split())[:9]):
            logger.warning(
                "%s ignores the JSON schema: replies follow the prompt alone, and more of them may be invalid.",
                client.address.shown,
            )
        return completion, PAIRS_SCHEMA


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, also where the calling thread already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        in_loop = False
    else:
        in_loop = True
    if not in_loop:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()
