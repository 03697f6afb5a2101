"""HTTP/1.1 as cheaply as Python can serve it: one asyncio protocol, parsed by hand, connections kept open.

A handler gets the connection, method, path and body, and answers now or later:

    def handle(connection, method, path, body):
        connection.answer(b"{}")

    serve(handle, port=0)       # prints its URL on the first line of stdout, ends on SIGTERM
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable
from typing import Any, NoReturn

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Handle = Callable[["Connection", str, str, bytes], None]


class Connection(asyncio.Protocol):
    """One connection. A client that sends a request before the last one is answered is not expected.

    Args:
        handle (`Callable`): Called with each whole request.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._buffer = bytearray()
        self.is_open = True

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(buffer, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(buffer) < whole:
                return
            method, path, _ = buffer[: buffer.index(b"\r\n")].decode("latin-1").split(" ", 2)
            body = bytes(buffer[end + 4 : whole])
            del buffer[:whole]
            self._handle(self, method, path, body)

    def answer(
        self, body: bytes, status: int = 200, headers: bytes = b"", *, kind: bytes = b"application/json"
    ) -> None:
        """Send an answer; `headers` are whole lines, each with its line end."""
        self.transport.write(head(len(body), status, headers, kind=kind) + body)

    def answer_json(self, value: Any, status: int = 200) -> None:
        self.answer(json.dumps(value).encode(), status)


def head(length: int, status: int = 200, headers: bytes = b"", *, kind: bytes = b"application/json") -> bytes:
    """Everything before the body of an answer."""
    return b"HTTP/1.1 %d -\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (status, kind, length, headers)


def serve(handle: Handle, port: int) -> NoReturn:
    """Serve until SIGTERM, which ends the process between two callbacks: an answer is sent whole or not begun.

    Args:
        handle (`Callable`): Called with each request.
        port (`int`): 0 takes a free one.
    """

    async def run() -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        server = await loop.create_server(lambda: Connection(handle), "127.0.0.1", port, backlog=1024)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await stopped.wait()
        server.close()

    asyncio.run(run())
    # A thread that waits for standard input to close cannot be ended otherwise.
    os._exit(0)
