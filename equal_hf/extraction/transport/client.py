"""One endpoint over HTTP: every way a request can fail as one of three errors that say what to do about it.

Chat goes through `huggingface_hub.AsyncInferenceClient`, everything else through the same library's HTTP session. A
client belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from equal_hf.errors import EndpointError, EqualError
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.connection_errors import (
    connection_problem,
    is_from_proxy,
    proxy_of,
    proxy_problem,
    redirect_problem,
)
from equal_hf.extraction.transport.faults import Blocked, Refusal, TransportFault, judge
from equal_hf.extraction.transport.url import Address
from equal_hf.types import Messages, Usage
from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.printable import escape, first_line
from equal_hf.utils.retry import backoff_s

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import AsyncInferenceClient

T = TypeVar("T")

# The HTTP library goes through all connections of a client for each request: with 256 in one, that takes longer than
# all the rest. A few keep it small; each client has 100 at most, so this also lifts that limit.
_CONNECTIONS_PER_CLIENT = 4
# Never sent: our own header takes its place. Without one the library reads the token's file twice a request.
_NO_TOKEN = "none"
# Questions about the server are answered at once, or it is in trouble; a restart of a proxy takes a few tries.
_SHORT_TIMEOUT_S = 30.0
_SHORT_RETRIES = 4
# So much of an answer that is no chat completion is shown.
_SHOWN_CHARACTERS = 120
# So much of an error is read: enough for what servers say, and for a wait that they name behind it.
_READ_CHARACTERS = 20_000


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
            except UnicodeEncodeError:
                raise
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
                raise self._no_completion(_unread(error)) from error
            try:
                return ChatResponse.read(output)
            except TransportFault as fault:
                if fault.kind == "malformed":
                    raise self._no_completion(_as_json(output), fault.usage) from None
                raise

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
        timeout: Any = httpx2.Timeout(self.timeout_s, connect=min(_SHORT_TIMEOUT_S, 0.9 * self.timeout_s), pool=None)
        client = await self._open(
            lambda: AsyncInferenceClient(
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
                if caught.kind in ("malformed", "odd"):
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
        except EqualError:
            raise
        except InferenceTimeoutError:
            raise self._timeout() from None
        except HfHubHTTPError as error:
            self._raise_for(error.response)
        except OfflineModeIsEnabled:
            raise self.error("HF_HUB_OFFLINE is set, which stops every request. Unset HF_HUB_OFFLINE.") from None
        except Blocked as blocked:
            raise self._status_error(blocked) from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError) as error:
            raise self._no_request(error) from None
        except (httpx2.ReadTimeout, httpx2.PoolTimeout):
            raise self._timeout() from None
        except (httpx2.HTTPError, OSError, RuntimeError) as error:
            words = self.address.redact(first_line(error))
            target = self._redirected_to(error)
            host = self.address.host if target is None else urlsplit(target).hostname or ""
            problem = connection_problem(error, host, proxy_of(target or self.address.base), words)
            if target is not None:
                problem = redirect_problem(problem, target)
            raise self._status_error(problem) if isinstance(problem, Blocked) else problem from error

    def _redirected_to(self, error: Exception) -> str | None:
        """The server that a request was sent on to, as it may be shown; `None` where it stayed."""
        import httpx2

        try:
            url = error.request.url  # type: ignore[attr-defined]
        except (AttributeError, RuntimeError):  # an error of another library, or of no request
            return None
        here = httpx2.URL(self.address.base)
        if (url.scheme, url.host, url.port) == (here.scheme, here.host, here.port):
            return None
        return self.address.redact(f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}")

    async def _open(self, context: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """A client of the libraries below, closed with this one."""
        try:
            return await self._stack.enter_async_context(context())
        except (OSError, ValueError, ImportError) as error:
            # A proxy's URL that is none or needs another package, a file of certificates that is not there.
            raise self._no_request(error) from error

    def _no_completion(self, answer: str, usage: Usage | None = None) -> TransportFault:
        fault = TransportFault("the answer is no chat completion", kind="malformed", usage=usage)
        # Masked before it is cut: half a secret is one too.
        words = self.address.redact(answer[:_READ_CHARACTERS].encode("utf-8", "replace").decode()).split()
        fault.begins = " ".join(words)[:_SHOWN_CHARACTERS]
        return fault

    def _no_request(self, error: Exception) -> EndpointError:
        words = self.address.redact(first_line(error))
        return self.error(f"no request can be made: {words}. Look at `extractor_url`, HTTP_PROXY and SSL_CERT_FILE.")

    def _status_error(self, blocked: Blocked) -> EndpointError:
        error = self.error(str(blocked))
        # A proxy or a certificate is in the way of every path; a path that is not served says nothing of the others.
        return _StatusError(blocked.status, str(error)) if blocked.by_server else error

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = self.address.sent()

        from huggingface_hub import get_async_session

        if self._session is None:
            self._session = await self._open(get_async_session)
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

    def _raise_for(self, response: httpx2.Response) -> NoReturn:
        status = response.status_code
        # Masked before it is cut: half a secret is one too.
        text = self.address.redact(response.text[:_READ_CHARACTERS].encode("utf-8", "replace").decode()).strip()
        proxy = proxy_of(self.address.base)
        if proxy is not None and is_from_proxy(status, response.headers, text):
            problem: Exception = proxy_problem(proxy, status, self.address.host)
        else:
            problem = judge(status, response.headers, escape(text))
        raise self._status_error(problem) if isinstance(problem, Blocked) else problem


def _unread(error: Exception) -> str:
    """What could not be read, as far as the error that says so holds it."""
    if isinstance(error, json.JSONDecodeError):
        return error.doc
    return error.object.decode("utf-8", "replace") if isinstance(error, UnicodeDecodeError) else str(error)


def _as_json(output: Any) -> str:
    try:
        # Its fields that are null are left out by the library.
        return json.dumps({"choices": None} | dict(output), ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return str(type(output))
