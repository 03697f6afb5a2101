"""Why no connection comes about, or one breaks: name, network, certificate, proxy or this machine."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from equal_hf.extraction.transport.faults import Blocked, TransportFault

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT)
# Words of the TLS library for a server that speaks something else; others come from connections that broke.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
_NO_COMMON_TLS = ("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "HANDSHAKE_FAILURE", "ALERT_PROTOCOL_VERSION")


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a URL, without its credentials; `None` where there is none.

    Args:
        url (`str`): The URL.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    shown = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return f"{shown.scheme}://{shown.netloc.rpartition('@')[2]}"


def is_from_proxy(status: int, headers: Mapping[str, str], text: str) -> bool:
    """Whether an error comes from the proxy on the way and not from a model server, which answers in JSON or says
    nothing.

    Args:
        status (`int`): The HTTP status.
        headers (`Mapping[str, str]`): The response's headers.
        text (`str`): Its body.
    """
    named = {name.lower() for name in headers}
    return (
        status == 407
        or bool(named & {"proxy-authenticate", "x-squid-error"})
        or (status in (403, 502, 503, 504) and bool(text.strip()) and not text.lstrip().startswith(("{", "[", '"')))
    )


def proxy_problem(proxy: str, status: int, host: str) -> TransportFault | Blocked:
    """What a proxy's own answer means.

    Args:
        proxy (`str`): The proxy, as it may be shown.
        status (`int`): The HTTP status.
        host (`str`): The server behind it.
    """
    remedy = f"Look at HTTP_PROXY and HTTPS_PROXY, or add {host} to NO_PROXY."
    if status == 407:
        return Blocked(status, f"the proxy {proxy} on the way wants credentials (407). {remedy}", by_server=False)
    if status < 500:
        return Blocked(status, f"the proxy {proxy} on the way refuses it ({status}). {remedy}", by_server=False)
    return TransportFault(f"the proxy {proxy} on the way answers {status}", kind="failed", remedy=remedy)


def connection_problem(error: BaseException, host: str, proxy: str | None, message: str) -> TransportFault | Blocked:
    """What an error of the HTTP library means that came before a response.

    Args:
        error (`Exception`): The error; what it was raised from says the cause.
        host (`str`): The server's host name.
        proxy (`str`, *optional*): The proxy on the way.
        message (`str`): The error's own words, without secrets.
    """
    causes = list(_causes(error))
    if (problem := _tls_problem(causes, host)) is not None:
        return problem
    name = type(error).__name__
    if name == "ProxyError" and proxy is not None:
        status = message.split(" ")[0]
        return proxy_problem(proxy, int(status), host) if status.isdecimal() else _no_proxy(proxy, message)
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if numbers & {errno.EMFILE, errno.ENFILE}:
        remedy = "Raise the limit (`ulimit -n`), or lower `extractor_concurrency`."
        return TransportFault("this machine has too many files open", maybe_billed=False, remedy=remedy)
    if name not in ("ConnectError", "ConnectTimeout"):
        # What was not sent whole cannot have been generated for.
        sent = name not in ("WriteError", "WriteTimeout", "LocalProtocolError")
        return TransportFault(f"the connection broke ({name}: {message})", maybe_billed=sent)
    if proxy is not None:
        return _no_proxy(proxy, message)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        fact = f"no address is known for the name {host}"
        remedy = "Correct `extractor_url`, or look at the network (DNS)."
    elif errno.ECONNREFUSED in numbers:
        fact, remedy = "nobody listens there", "Start the server, or correct `extractor_url`."
    elif name == "ConnectTimeout" or numbers & {*_UNREACHABLE}:
        fact = f"{host} cannot be reached"
        remedy = "Look at the network and its firewall, or correct `extractor_url`."
    else:
        fact, remedy = "there is no connection", "Look at the network, or correct `extractor_url`."
    return TransportFault(f"{fact} ({message})" if message else fact, kind="refused", remedy=remedy)


def redirect_problem(problem: TransportFault | Blocked, target: str) -> TransportFault | Blocked:
    """The same, of a server that the endpoint sends requests on to.

    Args:
        problem (`TransportFault` or `Blocked`): What is wrong there.
        target (`str`): The server, as it may be shown.
    """
    fact = f"it redirects to {target}, and there: {problem}"
    if isinstance(problem, Blocked):
        return Blocked(problem.status, fact, by_server=problem.by_server)
    remedy = "Set `extractor_url` to the server itself, or correct the redirect."
    return TransportFault(fact, kind=problem.kind, maybe_billed=problem.maybe_billed, remedy=remedy)


def _tls_problem(causes: list[BaseException], host: str) -> Blocked | None:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Blocked(
                0,
                f"its TLS certificate is not trusted ({cause.verify_message or cause.reason}). If it is the right "
                "server, name the file of the certificate that signs it in SSL_CERT_FILE; else correct "
                "`extractor_url`.",
                by_server=False,
            )
        reason = str(getattr(cause, "reason", None) or "") if isinstance(cause, ssl.SSLError) else ""
        if any(word in reason for word in _NO_TLS):
            return Blocked(
                0, f"{host} speaks no TLS there ({reason}). Let `extractor_url` begin with http://.", by_server=False
            )
        if any(word in reason for word in _NO_COMMON_TLS):
            return Blocked(0, f"{host} speaks no version of TLS that this machine does ({reason}).", by_server=False)
    return None


def _no_proxy(proxy: str, message: str) -> TransportFault:
    remedy = "Correct HTTP_PROXY and HTTPS_PROXY, or add the server to NO_PROXY."
    return TransportFault(f"the proxy {proxy} cannot be used ({message})", kind="refused", remedy=remedy)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from _causes(one)
        error = error.__cause__ or error.__context__
