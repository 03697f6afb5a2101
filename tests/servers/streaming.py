"""A server that streams given replies, piece by piece, and sees when its client goes away.

with StreamingServer([Reply(["Hel", "lo"])], dialect="vllm") as server:
    EndpointExtractor(server.url).extract(documents)
    assert server.sent == [2]
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers.faults import CHAT

PROBE = "Say hello"


@dataclass(frozen=True)
class Reply:
    """A reply to a chat request.

    Args:
        pieces (`Sequence[str]`): Its text, a token a piece.
        finish_reason (`str`): How it ends.
        name (`str`): The field of a piece that holds it.
        breaks_after (`int`, *optional*): The connection breaks after so many pieces.
        raw (`Sequence[bytes]`): What is sent instead, as it is.
    """

    pieces: Sequence[str] = ()
    finish_reason: str = "stop"
    name: str = "content"
    breaks_after: int | None = None
    raw: Sequence[bytes] = field(default=())


class StreamingServer:
    """The server, on threads of this process. What it is asked first, in a probe, it answers in one piece.

    Args:
        replies (`Sequence[Reply]`): To requests that are streamed, in order; then the last one again.
        dialect (`str`): `"vllm"`, `"llama.cpp"` or `"openai"`: how it is told, and how it tells usage.
        pause_s (`float`): Between two pieces.
        refuses (`str`, *optional*): A field of requests that it does not know.

    Attributes:
        bodies (`list[dict]`): Bodies of chat requests.
        sent (`list[int]`): Pieces of each reply that were sent before it ended or its client went away.
    """

    def __init__(
        self, replies: Sequence[Reply], dialect: str = "vllm", pause_s: float = 0.0, refuses: str = ""
    ) -> None:
        self.replies, self.dialect, self.pause_s, self.refuses = list(replies), dialect, pause_s, refuses
        self.bodies: list[dict[str, Any]] = []
        self.sent: list[int] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StreamingServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self, None)

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                outer._answer(self, json.loads(raw))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, body: Any) -> None:
        pages: dict[str, Any] = {"/v1/models": {"data": [{"id": "m", "max_model_len": 32768}]}}
        if self.dialect == "vllm":
            pages["/version"] = {"version": "0.11.0"}
        if self.dialect == "llama.cpp":
            pages["/props"] = {"default_generation_settings": {"n_ctx": 32768}, "total_slots": 4}
        if handler.path != CHAT:
            page = pages.get(handler.path)
            _whole(handler, page if page is not None else {"error": "no such path"}, 404 if page is None else 200)
            return
        with self._lock:
            self.bodies.append(body)
        if self.refuses in body:
            error = {"message": f"Unrecognized request argument supplied: {self.refuses}", "param": self.refuses}
            _whole(handler, {"error": error}, 400)
            return
        if not body.get("stream"):
            choice = {"message": {"role": "assistant", "content": '{"pairs": []}'}, "finish_reason": "stop"}
            _whole(handler, {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 5}})
            return
        with self._lock:
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            place = len(self.sent)
            self.sent.append(0)
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for number, event in enumerate(self._events(reply)):
                if number == reply.breaks_after:
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
                if _is_gone(handler.connection):
                    handler.close_connection = True
                    return
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                handler.wfile.flush()
                self.sent[place] = min(number + 1, len(reply.pieces))
                time.sleep(self.pause_s)
            handler.wfile.write(b"0\r\n\r\n")
        except OSError:
            handler.close_connection = True

    def _events(self, reply: Reply) -> Iterator[bytes]:
        if reply.raw:
            yield from reply.raw
            return
        for number, piece in enumerate(reply.pieces, start=1):
            event: dict[str, Any] = {"choices": [{"index": 0, "delta": {reply.name: piece}, "finish_reason": None}]}
            if self.dialect == "vllm":
                event["usage"] = {"prompt_tokens": 100, "completion_tokens": number}
            if self.dialect == "llama.cpp":
                event["timings"] = {"prompt_n": 60, "cache_n": 40, "predicted_n": number}
            yield _event(event)
        yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}]})
        usage = {"prompt_tokens": 100, "completion_tokens": len(reply.pieces)}
        yield _event({"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _is_gone(connection: socket.socket) -> bool:
    """Whether the client has hung up."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and not connection.recv(1, socket.MSG_PEEK)


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _whole(handler: BaseHTTPRequestHandler, value: Any, status: int = 200) -> None:
    data = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
