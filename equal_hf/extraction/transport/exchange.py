"""HTTP to one endpoint: every way an exchange can fail as one of three errors that say what to do about it.

Requests go through `huggingface_hub`'s HTTP session (`httpx2`): its proxies, its certificates, a user's own factory.
An exchange belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from equal_hf.errors import EndpointError, EqualError
from equal_hf.extraction.transport.connection_errors import (
    connection_problem,
    is_from_proxy,
    proxy_of,
    proxy_problem,
    redirect_problem,
)
from equal_hf.extraction.transport.faults import Blocked, TransportFault, judge
from equal_hf.extraction.transport.url import Address
from equal_hf.utils.printable import escape, first_line

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

# The HTTP library goes through all connections of a session for each request: with 256 in one, that takes longer than
# all the rest. A few keep it small; each session has 100 at most, so this also lifts that limit.
_CONNECTIONS_PER_SESSION = 4
_CONNECT_TIMEOUT_S = 30.0
# So much of an error is read: enough for what servers say, and for a wait that they name behind it.
READ_CHARACTERS = 20_000


class StatusError(EndpointError):
    """An HTTP status that every request would get."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Exchange:
    """Sends requests to one endpoint, each once.

    Args:
        address (`Address`): The endpoint.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._stack = AsyncExitStack()
        self._free: list[httpx2.AsyncClient] = []  # one entry a connection
        self._here: httpx2.URL | None = None
        self._streams = 0

    async def close(self) -> None:
        """Close all connections."""
        self._free.clear()
        await self._stack.aclose()

    def error(self, fact: str) -> EndpointError:
        """An error about this endpoint; `fact` ends with the remedy."""
        return EndpointError(f"The endpoint {self.address.shown} cannot be used: {fact}")

    def timeout(self, limit_s: float) -> TransportFault:
        """The fault of an answer that did not come in time."""
        return TransportFault(f"no answer within {limit_s:.0f} s", kind="timeout")

    async def send(self, method: str, path: str, timeout_s: float, **content: Any) -> httpx2.Response:
        """Send a request and read the whole answer.

        Args:
            method (`str`): `"GET"`, `"POST"`, …
            path (`str`): As [`Address.at`] takes it.
            timeout_s (`float`): Limit of the exchange, from sending to the last byte.
            **content: What the HTTP library takes: `json`, `data`, `files`, …

        Raises:
            `TransportFault`: If no answer came, or one that may pass.
            `Refusal`: If the server refuses this request for good.
            `EndpointError`: If it would refuse every request.
        """
        try:
            async with asyncio.timeout(timeout_s), self.session(timeout_s) as session:
                response = await session.request(
                    method, self.address.at(path), headers=self.address.sent(), timeout=_limits(timeout_s), **content
                )
                if not response.is_success:
                    self.raise_for(response)
                return response
        except TimeoutError:
            raise self.timeout(timeout_s) from None

    @asynccontextmanager
    async def stream(
        self, path: str, body: dict[str, Any], timeout_s: float
    ) -> AsyncIterator[tuple[httpx2.Response, Callable[[], int]]]:
        """Post JSON, and read the answer as it comes; whatever is left of it when the block ends is given up.

        Args:
            path (`str`): As [`Address.at`] takes it.
            body (`dict[str, Any]`): What is sent.
            timeout_s (`float`): Limit of the exchange, from sending to the last byte.

        Returns:
            `tuple[httpx2.Response, Callable]`: The answer, whose status is a success, and what counts the streams
            that are open at this endpoint.
        """
        self._streams += 1
        try:
            async with asyncio.timeout(timeout_s), self.session(timeout_s) as session:
                url, headers, limits = self.address.at(path), self.address.sent(), _limits(timeout_s)
                async with session.stream("POST", url, json=body, headers=headers, timeout=limits) as response:
                    if not response.is_success:
                        await response.aread()
                        self.raise_for(response)
                    yield response, lambda: self._streams
        except TimeoutError:
            raise self.timeout(timeout_s) from None
        finally:
            self._streams -= 1

    @asynccontextmanager
    async def session(self, timeout_s: float) -> AsyncIterator[httpx2.AsyncClient]:
        """A session of the HTTP library with a free connection, whose every error becomes one of ours.

        Args:
            timeout_s (`float`): What to say of an answer that did not come in time.
        """
        import httpx2
        from huggingface_hub import get_async_session
        from huggingface_hub.errors import OfflineModeIsEnabled

        if not self._free:
            session = await self._open(get_async_session)
            session.event_hooks["request"].append(self._keep_secrets)
            self._free = [session] * _CONNECTIONS_PER_SESSION
        session = self._free.pop()
        try:
            yield session
        except EqualError:
            raise
        except OfflineModeIsEnabled:
            raise self.error("HF_HUB_OFFLINE is set, which stops every request. Unset HF_HUB_OFFLINE.") from None
        except Blocked as blocked:
            raise self.status_error(blocked) from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError) as error:
            raise self._no_request(error) from None
        except (httpx2.ReadTimeout, httpx2.PoolTimeout):
            raise self.timeout(timeout_s) from None
        except (httpx2.HTTPError, OSError, RuntimeError) as error:
            words = self.address.redact(first_line(error))
            target = self._redirected_to(error)
            host = self.address.host if target is None else urlsplit(target).hostname or ""
            problem = connection_problem(error, host, proxy_of(target or self.address.base), words)
            if target is not None:
                problem = redirect_problem(problem, target)
            raise self.status_error(problem) if isinstance(problem, Blocked) else problem from error
        finally:
            self._free.append(session)

    def raise_for(self, response: httpx2.Response) -> NoReturn:
        """Raise what an answer that is no success means; its body has been read."""
        status = response.status_code
        # Masked before it is cut: half a secret is one too.
        text = self.address.redact(response.text[:READ_CHARACTERS].encode("utf-8", "replace").decode()).strip()
        proxy = proxy_of(self.address.base)
        if proxy is not None and is_from_proxy(status, response.headers, text):
            problem: Exception = proxy_problem(proxy, status, self.address.host)
        else:
            problem = judge(status, response.headers, escape(text))
        raise self.status_error(problem) if isinstance(problem, Blocked) else problem

    async def _keep_secrets(self, request: httpx2.Request) -> None:
        """Take headers that let a request in from one that is sent on to another server; the library takes out
        `Authorization` alone."""
        if self._is_elsewhere(request.url):
            for name in self.address.headers:
                request.headers.pop(name, None)

    def _is_elsewhere(self, url: httpx2.URL) -> bool:
        import httpx2

        here = self._here = self._here or httpx2.URL(self.address.base)
        if url.host == here.host and (here.scheme, url.scheme) == ("http", "https"):
            return (here.port, url.port) != (None, None)  # the same server, sent on to what is safer
        return (url.scheme, url.host, url.port) != (here.scheme, here.host, here.port)

    def _redirected_to(self, error: Exception) -> str | None:
        """The server that a request was sent on to, as it may be shown; `None` where it stayed."""
        try:
            url = error.request.url  # type: ignore[attr-defined]
        except (AttributeError, RuntimeError):  # an error of another library, or of no request
            return None
        if not self._is_elsewhere(url):
            return None
        return self.address.redact(f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}")

    async def _open(self, context: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """A session, closed with this one."""
        try:
            return await self._stack.enter_async_context(context())
        except (OSError, ValueError, ImportError) as error:
            # A proxy's URL that is none or needs another package, a file of certificates that is not there.
            raise self._no_request(error) from error

    def _no_request(self, error: Exception) -> EndpointError:
        words = self.address.redact(first_line(error))
        return self.error(f"no request can be made: {words}. Look at `extractor_url`, HTTP_PROXY and SSL_CERT_FILE.")

    def status_error(self, blocked: Blocked) -> EndpointError:
        """The error of what every request would get."""
        error = self.error(str(blocked))
        # A proxy or a certificate is in the way of every path; a path that is not served says nothing of the others.
        return StatusError(blocked.status, str(error)) if blocked.by_server else error


def _limits(timeout_s: float) -> httpx2.Timeout:
    import httpx2

    # Waiting for a turn is over when a request is sent, so there is no limit on waiting for a connection.
    return httpx2.Timeout(timeout_s, connect=min(_CONNECT_TIMEOUT_S, 0.9 * timeout_s), pool=None)
