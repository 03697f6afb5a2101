"""What one endpoint is asked: chat completions, and short questions about the server itself."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from equal_hf.errors import EndpointError
from equal_hf.extraction.transport.chat_body import LIMIT_FIELDS
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.exchange import READ_CHARACTERS, Exchange, StatusError
from equal_hf.extraction.transport.faults import Blocked, Refusal, TransportFault
from equal_hf.extraction.transport.streamed_chat import Stream, read_stream
from equal_hf.extraction.transport.url import Address
from equal_hf.types import Usage
from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.retry import backoff_s

T = TypeVar("T")

_ALL_THOUGHT = re.compile(r"max_(completion_)?tokens or model output limit was reached")

CHAT = "/v1/chat/completions"
# Questions about the server are answered at once, or it is in trouble; a restart of a proxy takes a few tries.
_SHORT_TIMEOUT_S = 30.0
_SHORT_RETRIES = 4
# So much of an answer that is no chat completion is shown.
_SHOWN_CHARACTERS = 120


class ChatClient:
    """Talks to one endpoint within one event loop. Sends each chat request once; what to do about a fault is up to the
    caller. The short questions about the server itself are tried a few times.

    Args:
        address (`Address`): The endpoint.
        timeout_s (`float`): Limit of one chat request, from sending to the last byte.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.exchange = Exchange(address)
        self.key_error: EndpointError | None = None  # set where the list of models is refused for want of a key
        self.on_reply: Callable[[ChatResponse], None] | None = None  # told of each chat reply, as all are billed
        self._random = Random()

    async def close(self) -> None:
        """Close all connections."""
        await self.exchange.close()

    def error(self, fact: str) -> EndpointError:
        """An error about this endpoint; `fact` ends with the remedy."""
        return self.exchange.error(fact)

    async def chat(self, body: dict[str, Any], stream: Stream | None = None) -> ChatResponse:
        """Ask for a chat completion, once.

        Args:
            body (`dict[str, Any]`): From [`chat_body`].
            stream ([`Stream`], *optional*): Read it as it is written, and end it where it has no more to give.

        Raises:
            `TransportFault`: If no usable answer came.
            `Refusal`: If the server refuses this request for good.
            `EndpointError`: If it would refuse every request.
        """
        try:
            return await self._chat(body, stream)
        except TransportFault as fault:
            if _ALL_THOUGHT.search(str(fault)) is None:
                raise
            # OpenAI's o-series says it this way: nothing but thoughts, up to the limit.
            limit = next((body[name] for name in LIMIT_FIELDS if name in body), None)
            return ChatResponse("", True, None, limit, reasoning_tokens=limit or 0)

    async def _chat(self, body: dict[str, Any], stream: Stream | None) -> ChatResponse:
        content: dict[str, Any] | bytes
        if stream is None:
            content, ended_early = (await self.exchange.send("POST", CHAT, self.timeout_s, json=body)).content, False
        else:
            content, ended_early = await read_stream(self.exchange, CHAT, body, self.timeout_s, stream)
        answer: Any = content
        if isinstance(content, bytes):
            try:
                answer = json.loads(content)
            except (ValueError, RecursionError):
                raise self._no_completion(content[: 4 * READ_CHARACTERS].decode("utf-8", "replace")) from None
        try:
            response = ChatResponse.read(answer, thoughts_in_total=self.address.is_gemini)
            response = replace(response, ended_early=True) if ended_early else response
        except Blocked as blocked:
            raise self.exchange.status_error(blocked) from None
        except TransportFault as fault:
            if fault.kind == "malformed":
                raise self._no_completion(_as_json(answer), fault.usage) from None
            raise
        if self.on_reply is not None:
            self.on_reply(response)
        return response

    async def post(self, path: str, body: dict[str, Any], retries: int = _SHORT_RETRIES) -> Any:
        """Post JSON to a path and read JSON, with the errors of `chat`."""
        return await self._persist(lambda: self._json("POST", path, json=body), retries)

    async def get(self, path: str) -> Any:
        """The JSON at a path; `None` where the server has no such path or answers something else."""

        async def send() -> Any:
            try:
                return await self._json("GET", path)
            except StatusError as error:
                # Gateways answer paths they do not know in many ways, so this one path alone tells about keys.
                if error.status not in (404, 405, 410) and path == "/v1/models":
                    self.key_error = error
                return None
            except Refusal:
                return None
            except TransportFault as fault:
                if fault.kind in ("malformed", "odd"):
                    return None
                raise

        return await self._persist(send, _SHORT_RETRIES)

    async def state(self) -> tuple[str, TransportFault | None]:
        """Whether the server is `"up"`, `"loading"` or `"down"`, and what says so."""
        try:
            await self._json("GET", "/health")
        except TransportFault as fault:
            return {"refused": "down", "unavailable": "loading"}.get(fault.kind, "up"), fault
        except (Refusal, StatusError):
            pass
        return "up", None

    async def _json(self, method: str, path: str, **content: Any) -> Any:
        response = await self.exchange.send(method, path, _SHORT_TIMEOUT_S, **content)
        try:
            return json.loads(mask_known(response.content.decode("utf-8")))
        except (ValueError, RecursionError) as error:
            raise TransportFault("the answer is no JSON", kind="malformed") from error

    async def _persist(self, send: Callable[[], Awaitable[T]], retries: int) -> T:
        attempt = 0
        while True:
            try:
                return await send()
            except TransportFault as fault:
                if fault.kind in ("malformed", "odd") or attempt >= retries:
                    raise
                await asyncio.sleep(fault.retry_after_s or backoff_s(attempt, self._random))
            attempt += 1

    def _no_completion(self, answer: str, usage: Usage | None = None) -> TransportFault:
        fault = TransportFault("the answer is no chat completion", kind="malformed", usage=usage)
        # Masked before it is cut: half a secret is one too.
        words = self.address.redact(answer[:READ_CHARACTERS].encode("utf-8", "replace").decode()).split()
        fault.begins = " ".join(words)[:_SHOWN_CHARACTERS]
        return fault


def _as_json(answer: Any) -> str:
    if isinstance(answer, dict) and "choices" in answer:
        answer = {"choices": answer["choices"]} | answer  # what matters first: only so much is shown
    try:
        return json.dumps(answer, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return str(type(answer))
