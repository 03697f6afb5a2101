"""One endpoint over HTTP: every way a request can fail as one of three errors that say what to do about it.

Chat goes through `huggingface_hub.AsyncInferenceClient`, everything else through the same library's HTTP session. A
client belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from equal_hf.errors import EndpointError
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.extraction.transport.url import Address
from equal_hf.types import Messages
from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.printable import escape
from equal_hf.utils.retry import asked_wait_s, backoff_s, is_transient

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import AsyncInferenceClient

T = TypeVar("T")

# The HTTP library goes through all connections of a client for each request: with 256 in one, that takes longer than
# all the rest. A few keep it small; each client has 100 at most, so this also lifts that limit.
_CONNECTIONS_PER_CLIENT = 4
# Never sent: our own header takes its place. Without one the library reads the token's file twice a request.
_NO_TOKEN = "none"
_SHORT_TIMEOUT_S = 30.0
_SHORT_RETRIES = 4


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """What is taken from a chat completion, whose fields the client library leaves unchecked.

    >>> from types import SimpleNamespace as Fields
    >>> choice = Fields(message=Fields(content="Hello!"), finish_reason="eos_token")
    >>> ChatResponse.read(Fields(choices=[choice], usage=Fields(prompt_tokens=9, completion_tokens=None)))
    ChatResponse(text='Hello!', cut_short=False, prompt_tokens=9, completion_tokens=None)

    Args:
        text (`str`): The reply text; empty where there is none.
        cut_short (`bool`): Whether it ended at the limit of tokens.
        prompt_tokens (`int`, *optional*): The server's count; `None` where it gave none.
        completion_tokens (`int`, *optional*): The same for the reply.
    """

    text: str
    cut_short: bool
    prompt_tokens: int | None
    completion_tokens: int | None

    @classmethod
    def read(cls, output: Any) -> ChatResponse:
        """Read a `ChatCompletionOutput`.

        Raises:
            `TransportFault`: If it holds no message: an error with status 200, or some other JSON.
        """
        choices = getattr(output, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        content = getattr(message, "content", None) or _tool_arguments(message)
        if message is None or not isinstance(content, str | None):
            raise TransportFault("the answer is no chat completion", kind="malformed")
        # JSON can spell a lone surrogate, which no file can hold.
        text = mask_known((content or "").encode("utf-8", "replace").decode())  # a server may echo what it was sent
        usage = getattr(output, "usage", None)
        return cls(
            text,
            getattr(choice, "finish_reason", None) == "length",
            _count(getattr(usage, "prompt_tokens", None)),
            _count(getattr(usage, "completion_tokens", None)),
        )


def _tool_arguments(message: Any) -> str | None:
    """What a model answered in a tool call instead, as JSON."""
    calls = getattr(message, "tool_calls", None)
    function = getattr(calls[0], "function", None) if isinstance(calls, list) and calls else None
    arguments = function.get("arguments") if isinstance(function, dict) else getattr(function, "arguments", None)
    return json.dumps(arguments) if isinstance(arguments, dict) else arguments


class _StatusError(EndpointError):
    """An HTTP status that every request would get."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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
        self.key_error: EndpointError | None = None  # set where the list of models is refused for want of a key
        self._stack = AsyncExitStack()
        self._free: list[AsyncInferenceClient] = []  # one entry a connection
        self._session: httpx2.AsyncClient | None = None
        self._random = Random()

    async def close(self) -> None:
        """Close all connections."""
        self._free.clear()
        self._session = None
        await self._stack.aclose()

    def error(self, fact: str) -> EndpointError:
        """An error about this endpoint; `fact` ends with the remedy."""
        return EndpointError(f"The endpoint {self.address.shown} cannot be used: {fact}")

    async def chat(self, messages: Messages, model: str, max_tokens: int, body: dict[str, Any]) -> ChatResponse:
        """Ask for a chat completion, once.

        Args:
            messages (`list[dict[str, str]]`): The conversation.
            model (`str`): What to send as `model`.
            max_tokens (`int`): Limit of the reply.
            body (`dict[str, Any]`): Sampling parameters and the fields from [`guided`].

        Raises:
            `TransportFault`: If no usable answer came.
            `Refusal`: If the server refuses this request for good.
            `EndpointError`: If it would refuse every request.
        """
        from huggingface_hub.errors import HfHubHTTPError

        client = self._free.pop() if self._free else await self._another()

        async def send() -> ChatResponse:
            try:
                output = await client.chat_completion(messages, model=model, max_tokens=max_tokens, extra_body=body)
            except HfHubHTTPError:  # some of these are ValueErrors too
                raise
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
                raise TransportFault("the answer is no chat completion", kind="malformed") from error
            return ChatResponse.read(output)

        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._translate(send)
        except TimeoutError:
            raise self._timeout() from None
        finally:
            self._free.append(client)

    async def post(self, path: str, body: dict[str, Any], retries: int = _SHORT_RETRIES) -> Any:
        """Post JSON to a path and read JSON, with the errors of `chat`."""

        async def send() -> Any:
            return await self._exchange("POST", path, body)

        return await self._persist(send, retries)

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

        return await self._persist(send, _SHORT_RETRIES)

    async def state(self) -> tuple[str, TransportFault | None]:
        """Whether the server is `"up"`, `"loading"` or `"down"`, and what says so."""
        try:
            await self._exchange("GET", "/health")
        except TransportFault as fault:
            return {"refused": "down", "unavailable": "loading"}.get(fault.kind, "up"), fault
        except (Refusal, _StatusError):
            pass
        return "up", None

    async def _another(self) -> AsyncInferenceClient:
        """A client for as many connections as it serves well; all but one are put aside."""
        import httpx2
        from huggingface_hub import AsyncInferenceClient

        # None takes the header out: the library would otherwise send the user's Hugging Face token to any host.
        headers: Any = {"authorization": None} | self.address.sent()
        # Waiting for a turn is over when a request is sent, so there is no limit on waiting for a connection.
        timeout: Any = httpx2.Timeout(self.timeout_s, connect=_SHORT_TIMEOUT_S, pool=None)
        client = await self._stack.enter_async_context(
            AsyncInferenceClient(
                self.address.base, provider="hf-inference", token=_NO_TOKEN, headers=headers, timeout=timeout
            )
        )
        self._free += [client] * (_CONNECTIONS_PER_CLIENT - 1)
        return client

    async def _persist(self, send: Callable[[], Awaitable[T]], retries: int) -> T:
        attempt = 0
        while True:
            try:
                async with asyncio.timeout(_SHORT_TIMEOUT_S):
                    return await self._translate(send)
            except TimeoutError:
                fault = self._timeout(_SHORT_TIMEOUT_S)
            except TransportFault as caught:
                if caught.kind == "malformed":
                    raise
                fault = caught
            if attempt >= retries:
                raise fault
            await asyncio.sleep(fault.retry_after_s or backoff_s(attempt, self._random))
            attempt += 1

    def _timeout(self, limit_s: float | None = None) -> TransportFault:
        return TransportFault(f"no answer within {limit_s or self.timeout_s:.0f} s", kind="timeout")

    async def _translate(self, send: Callable[[], Awaitable[T]]) -> T:
        """Send once, and turn every error of the libraries below into one of ours."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, OfflineModeIsEnabled

        try:
            return await send()
        except InferenceTimeoutError:
            raise self._timeout() from None
        except HfHubHTTPError as error:
            self._raise_for(error.response)
            raise TransportFault("an HTTP error without a status") from error
        except OfflineModeIsEnabled:
            raise self.error("HF_HUB_OFFLINE is set, which stops every request. Unset HF_HUB_OFFLINE.") from None
        except httpx2.ConnectError as error:
            raise TransportFault(self.address.redact(str(error)), kind="refused") from error
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise self.error(f"{self.address.redact(str(error))}. Correct `extractor_url`.") from None
        except httpx2.TimeoutException:
            raise self._timeout() from None
        except httpx2.HTTPError as error:
            fact = f"{type(error).__name__}: {self.address.redact(str(error))}"
            raise TransportFault(f"the connection broke ({fact})") from error

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = self.address.sent()

        from huggingface_hub import get_async_session

        if self._session is None:
            self._session = await self._stack.enter_async_context(get_async_session())
        session = self._session

        async def send() -> httpx2.Response:
            return await session.request(
                method, self.address.at(path), json=body, headers=headers, timeout=_SHORT_TIMEOUT_S
            )

        response = await self._translate(send)
        if not response.is_success:
            self._raise_for(response)
        try:
            return json.loads(mask_known(response.content.decode("utf-8")))
        except (ValueError, RecursionError) as error:
            raise TransportFault("the answer is no JSON", kind="malformed") from error

    def _raise_for(self, response: httpx2.Response) -> None:
        status = response.status_code
        # Masked before it is cut: half a secret is one too.
        words = escape(self.address.redact(response.text[:20_000].encode("utf-8", "replace").decode()).strip())
        if is_transient(status):
            kind = {429: "busy", 503: "unavailable"}.get(status, "failed")
            wait_s = asked_wait_s(response.headers)
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


def _count(value: Any) -> int | None:
    # No server counts so far: larger numbers are nonsense, and no database holds them.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
