"""One endpoint over HTTP: requests that are retried, waits that are bounded, errors that say what to change.

Chat goes through `huggingface_hub.AsyncInferenceClient`, everything else through the same library's HTTP session. A
client belongs to one event loop: use it as `async with ChatClient(…) as client`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from equal_hf.errors import EndpointError
from equal_hf.extraction.address import Address
from equal_hf.extraction.completion import Completion
from equal_hf.extraction.retry import Refusal, TransportFault, backoff_s, is_transient, retry_after_s
from equal_hf.types import Messages

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The HTTP library keeps at most 100 connections a client, so more concurrency takes more clients.
_CONNECTIONS_PER_CLIENT = 100
_SHORT_TIMEOUT_S = 30.0


class _StatusError(EndpointError):
    """An HTTP status that every request would get."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ChatClient:
    """Talks to one endpoint within one event loop.

    Args:
        address (`Address`): The endpoint.
        concurrency (`int`): How many requests may be under way.
        timeout_s (`float`): Limit of one chat request, from sending to the last byte.
        max_retries (`int`): How often a request is sent again.
        load_timeout_s (`float`): How long to wait for a server that is loading.
        was_up (`bool`, *optional*, defaults to `True`): Whether the server answered before. If so, a refused
            connection means it is restarting.
    """

    def __init__(
        self,
        address: Address,
        *,
        concurrency: int,
        timeout_s: float,
        max_retries: int,
        load_timeout_s: float,
        was_up: bool = True,
    ) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self.load_timeout_s = load_timeout_s
        self._was_up = was_up
        self._clients = -(-concurrency // _CONNECTIONS_PER_CLIENT)
        self._turn = 0
        self._random = Random()
        self._resume_at = 0.0
        self._recovered_at = 0.0
        self._gate = asyncio.Lock()
        self.key_error: EndpointError | None = None  # set where the list of models is refused for want of a key

    async def __aenter__(self) -> ChatClient:
        import httpx2
        from huggingface_hub import AsyncInferenceClient, get_async_session

        async with AsyncExitStack() as stack:
            # None takes the header out: the library would otherwise send the user's Hugging Face token to any host.
            headers: Any = {"authorization": self.address.authorization}
            timeout: Any = httpx2.Timeout(self.timeout_s, connect=_SHORT_TIMEOUT_S)
            self._chat = [
                await stack.enter_async_context(
                    AsyncInferenceClient(self.address.base, provider="hf-inference", headers=headers, timeout=timeout)
                )
                for _ in range(self._clients)
            ]
            self._session: httpx2.AsyncClient = await stack.enter_async_context(get_async_session())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def error(self, fact: str) -> EndpointError:
        """An error about this endpoint; `fact` ends with the remedy."""
        return EndpointError(f"The endpoint {self.address.shown} cannot be used: {fact}")

    async def chat(self, messages: Messages, model: str, max_tokens: int, body: dict[str, Any]) -> Completion:
        """Ask for a chat completion, as often as it takes.

        Args:
            messages (`list[dict[str, str]]`): The conversation.
            model (`str`): What to send as `model`.
            max_tokens (`int`): Limit of the reply.
            body (`dict[str, Any]`): Sampling parameters and the fields from [`guided`].

        Raises:
            `TransportFault`: If no usable answer came in `max_retries + 1` attempts.
            `Refusal`: If the server refuses this request for good.
            `EndpointError`: If it would refuse every request.
        """
        from huggingface_hub.errors import HfHubHTTPError

        client = self._chat[self._turn % len(self._chat)]
        self._turn += 1

        async def send() -> Completion:
            try:
                output = await client.chat_completion(messages, model=model, max_tokens=max_tokens, extra_body=body)
            except HfHubHTTPError:  # some of these are ValueErrors too
                raise
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
                raise TransportFault("the answer is no chat completion", kind="malformed") from error
            return Completion.read(output)

        return await self._persist(send, self.timeout_s)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post JSON to a path and read JSON, with the same retries and errors as `chat`."""

        async def send() -> Any:
            return await self._exchange("POST", path, body)

        return await self._persist(send, _SHORT_TIMEOUT_S)

    async def get(self, path: str) -> Any:
        """The JSON at a path; `None` where the server has no such path or answers something else."""

        async def send() -> Any:
            try:
                return await self._exchange("GET", path)
            except _StatusError as error:
                # Gateways answer paths they do not know in many ways, so this one path alone tells about keys.
                if error.status in (401, 403) and path == "/v1/models":
                    self.key_error = error
                return None
            except Refusal:
                return None
            except TransportFault as fault:
                if fault.kind == "malformed":
                    return None
                raise

        return await self._persist(send, _SHORT_TIMEOUT_S)

    async def wait_until_loaded(self) -> bool:
        """Wait while the server is loading.

        Returns:
            `bool`: Whether there was anything to wait for.

        Raises:
            `EndpointError`: If it is not ready after `load_timeout_s`, or nobody listens that was never up.
        """
        asked_at = time.monotonic()
        async with self._gate:
            if self._recovered_at > asked_at:
                return True
            state, fault = await self._state()
            if state == "up":
                return False
            if state == "down" and not self._was_up:
                raise self.error(f"nobody listens there ({fault}). Start the server, or correct `extractor_url`.")
            logger.warning("%s is %s: waiting up to %.0f s for it.", self.address.shown, state, self.load_timeout_s)
            while state != "up":
                if time.monotonic() - asked_at > self.load_timeout_s:
                    raise self.error(
                        f"it is still {state} after {self.load_timeout_s:.0f} s. "
                        "Look at the server's log, or raise `load_timeout_s`."
                    )
                await asyncio.sleep(min(1.0, self.load_timeout_s / 10))
                state, _ = await self._state()
            logger.warning("%s answers again.", self.address.shown)
            self._recovered_at = time.monotonic()
            return True

    async def _state(self) -> tuple[str, TransportFault | None]:
        """Whether the server is up, loading or down, and what says so."""
        try:
            await self._exchange("GET", "/health")
        except TransportFault as fault:
            return {"refused": "down", "unavailable": "loading"}.get(fault.kind, "up"), fault
        except (Refusal, _StatusError):
            pass
        return "up", None

    async def _persist(self, send: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        attempt = 0
        while True:
            if (pause := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(pause + self._random.uniform(0.0, 0.5))
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._translate(send)
            except TimeoutError:
                fault = TransportFault(f"no answer within {timeout_s:.0f} s")
            except TransportFault as caught:
                fault = caught
            if fault.kind in ("refused", "unavailable") and await self.wait_until_loaded():
                continue
            # At the first contact it is no fault but another kind of server.
            is_stranger = fault.kind == "malformed" and not self._was_up
            if attempt >= self.max_retries or is_stranger:
                raise fault
            delay = backoff_s(attempt, self._random)
            if fault.retry_after_s is not None:
                # The server asks everyone to hold, so no other request is sent before that either.
                self._resume_at = max(self._resume_at, time.monotonic() + fault.retry_after_s)
                if fault.retry_after_s > 60:
                    logger.warning("%s asks to wait %.0f s.", self.address.shown, fault.retry_after_s)
            logger.debug("%s: %s; retry %d of %d", self.address.shown, fault, attempt + 1, self.max_retries)
            attempt += 1
            await asyncio.sleep(delay)

    async def _translate(self, send: Callable[[], Awaitable[T]]) -> T:
        """Send once, and turn every error of the libraries below into one of ours."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, OfflineModeIsEnabled

        try:
            return await send()
        except InferenceTimeoutError:
            raise TransportFault(f"no answer within {self.timeout_s:.0f} s") from None
        except HfHubHTTPError as error:
            self._raise_for(error.response)
            raise TransportFault("an HTTP error without a status") from error
        except OfflineModeIsEnabled:
            raise self.error("HF_HUB_OFFLINE is set, which stops every request. Unset HF_HUB_OFFLINE.") from None
        except httpx2.ConnectError as error:
            raise TransportFault(self.address.redact(str(error)), kind="refused") from error
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise self.error(f"{self.address.redact(str(error))}. Correct `extractor_url`.") from None
        except httpx2.HTTPError as error:
            fact = f"{type(error).__name__}: {self.address.redact(str(error))}"
            raise TransportFault(f"the connection broke ({fact})") from error

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"authorization": self.address.authorization} if self.address.authorization else None

        async def send() -> httpx2.Response:
            return await self._session.request(
                method, self.address.at(path), json=body, headers=headers, timeout=_SHORT_TIMEOUT_S
            )

        response = await self._translate(send)
        if not response.is_success:
            self._raise_for(response)
        try:
            return json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise TransportFault("the answer is no JSON", kind="malformed") from error

    def _raise_for(self, response: httpx2.Response) -> None:
        status = response.status_code
        words = self.address.redact(response.text[:2000].encode("utf-8", "replace").decode()).strip()
        if is_transient(status):
            kind = "unavailable" if status == 503 else "network"
            wait_s = retry_after_s(response.headers.get("retry-after"))
            raise TransportFault(f"HTTP {status} {words[:200]}".strip(), wait_s, kind)
        said = f" It says: {words[:300]}" if words else ""
        remedies = {
            401: "the key is missing or wrong. Set `extractor_api_key`.",
            402: "the account is out of credit. Top it up, or use another `extractor_api_key`.",
            404: "the model or the path is not there. Correct `extractor_model` or `extractor_url`.",
        }
        if remedy := remedies.get({403: 401, 405: 404, 410: 404}.get(status, status)):
            raise _StatusError(status, str(self.error(f"it answers {status}, {remedy}{said}")))
        raise Refusal(status, words)
