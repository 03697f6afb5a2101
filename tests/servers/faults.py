"""A server that misbehaves on demand: alone, or in front of a real one.

It records every request, answers the next ones with faults where it was told to, and passes the rest on:

    with FaultyServer(upstream=tgi_url) as server:
        server.faults += [Fault(429, {"Retry-After": "1"}), Fault(action="drop")]
        EndpointExtractor(server.url).extract(documents)
        assert server.chats[0].headers["authorization"] == "Bearer key"
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Fault:
    """What to answer instead.

    Args:
        status (`int`): HTTP status.
        headers (`dict[str, str]`): Extra headers.
        body (`bytes` or `str`): The body.
        action (`str`, *optional*): `"drop"` closes the connection without an answer, `"truncate"` in the middle of the
            body, `"hang"` after two seconds; `"raw"` sends the body as it is, as the whole answer, and closes.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | str = b""
    action: str | None = None


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at_s: float


class FaultyServer:
    """The server, on threads of this process.

    Args:
        upstream (`str`, *optional*): URL of the server that requests are passed to; without one they get 404.
        faults (`Iterable[Fault]`, *optional*): For chat requests, in order of arrival.
        pages (`dict[str, Fault]`, *optional*): For other paths, each time.
        change_request (`Callable`, *optional*): Applied to the JSON of chat requests on their way up.
        change_reply (`Callable`, *optional*): Applied to the JSON of chat replies on their way down.
    """

    def __init__(
        self,
        upstream: str | None = None,
        faults: Iterable[Fault] = (),
        pages: dict[str, Fault] | None = None,
        change_request: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        change_reply: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.upstream = upstream
        self.faults = list(faults)
        self.pages = pages or {}
        self.change_request = change_request
        self.change_reply = change_reply
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def chats(self) -> list[Seen]:
        """The chat requests so far."""
        return [seen for seen in self.seen if seen.path == CHAT]

    def __enter__(self) -> FaultyServer:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_away()

    def listen(self) -> None:
        """Start, on the same port as before."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 256

            def handle_error(self, *_: object) -> None:
                pass  # clients that went away are part of the game

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def go_away(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            for connection in list(self._open):
                _cut(connection)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self._open.add(handler.connection)
        raw = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        body = json.loads(raw) if raw else None
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self.seen.append(Seen(handler.command, handler.path, headers, body, time.monotonic()))
            if handler.path == CHAT:
                fault = self.faults.pop(0) if self.faults else None
            else:
                fault = self.pages.get(handler.path)
        if fault is None:
            fault = self._pass_on(handler, raw, body) if self.upstream else Fault(404)
        if fault.action == "hang":
            time.sleep(2)
        if fault.action in ("drop", "hang"):
            handler.close_connection = True
            _cut(handler.connection)
            return
        data = fault.body.encode() if isinstance(fault.body, str) else fault.body
        if fault.action == "raw":
            handler.wfile.write(data)
            handler.close_connection = True
            return
        handler.send_response(fault.status)
        for name, value in fault.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if fault.action == "truncate":
            handler.wfile.write(data[: len(data) // 2])
            handler.wfile.flush()
            handler.close_connection = True
            _cut(handler.connection)
            return
        handler.wfile.write(data)

    def _pass_on(self, handler: BaseHTTPRequestHandler, raw: bytes, body: Any) -> Fault:
        chat = handler.path == CHAT
        if chat and self.change_request:
            raw = json.dumps(self.change_request(body)).encode()
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=60)
        headers = {"Content-Type": "application/json"}
        if "authorization" in handler.headers:
            headers["Authorization"] = handler.headers["authorization"]
        connection.request(handler.command, handler.path, raw or None, headers)
        reply = connection.getresponse()
        data = reply.read()
        connection.close()
        if chat and self.change_reply and reply.status == 200:
            data = json.dumps(self.change_reply(json.loads(data))).encode()
        return Fault(reply.status, {"Content-Type": reply.headers.get("content-type", "text/plain")}, data)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
