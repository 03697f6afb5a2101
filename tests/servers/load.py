"""A chat server for load: a set latency, a set number of slots, next to no CPU of its own.

    python -m tests.servers.load --port 0 --latency-s 2 --slots 256 --beyond queue

A request takes a slot for the latency and gets a reply that depends on its bytes alone; one that is to be streamed
gets it in 40 pieces over that time. Beyond the slots requests wait
in a queue, or get an immediate 429 without Retry-After. It is an OpenAI-like server that tells neither its slots nor
its limits, so a client has to find them.

`/stats` tells, by the server's own clock: `answered`, `refused`, `abandoned` (the client went away), `in_flight`,
`waiting`, the most there was of both, and `served`: `answered`, plus of each request in flight the share of its
latency that has passed. Requests often run in waves; a rate taken from `served` does not depend on where in a wave a
window begins and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from collections import deque

from tests.servers.llama import exit_with_stdin
from tests.servers.wire import Connection, serve

MODEL = "equal-hf/load"
_REPLY = (
    b'{"id":"","object":"chat.completion","created":1,"model":"equal-hf/load","system_fingerprint":"",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":'
    b'"{\\"pairs\\": [{\\"question\\": \\"What does note %s hold?\\", \\"answer\\": \\"It holds %s.\\"}]}"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":40,"total_tokens":%d}}'
)
_PIECES = 40
_CONTENT = '{"pairs": [{"question": "What does note %s hold?", "answer": "It holds %s."}]}'
_STREAM_HEAD = b"HTTP/1.1 200 -\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_PIECE = b'data: {"id":"","object":"chat.completion.chunk","created":1,"model":"equal-hf/load","choices":[{"index":0,'
_PIECE += b'"delta":{"content":%s},"finish_reason":null}],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}\n\n'
_STREAM_END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class LoadServer:
    """Slots and their counts. Options are the ones of `main`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.slots, self.latency_s = options.slots, options.latency_s
        self.queues = options.beyond == "queue"
        self.started: dict[Connection, float] = {}  # since when a connection's request is in a slot
        self.waiting: deque[tuple[Connection, bytes]] = deque()
        self.answered = self.refused = self.abandoned = self.most_in_flight = self.most_waiting = 0

    def handle(self, connection: Connection, method: str, path: str, body: bytes) -> None:
        if path == "/v1/chat/completions":
            self.chat(connection, body)
        elif path == "/stats":
            connection.answer_json(self.stats())
        elif path == "/health":
            connection.answer(b"{}")
        elif path == "/v1/models":
            connection.answer_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        else:
            connection.answer_json({"error": {"message": f"no {path} here"}}, 404)

    def chat(self, connection: Connection, body: bytes) -> None:
        if len(self.started) < self.slots:
            self.start(connection, body)
        elif self.queues:
            self.waiting.append((connection, body))
            self.most_waiting = max(self.most_waiting, len(self.waiting))
        else:
            self.refused += 1
            connection.answer_json({"error": {"message": "Model is overloaded", "type": "overloaded"}}, 429)

    def start(self, connection: Connection, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.started[connection] = loop.time()
        self.most_in_flight = max(self.most_in_flight, len(self.started))
        if b'"stream":true' in body.replace(b" ", b""):
            connection.transport.write(_STREAM_HEAD)
            digest = hashlib.sha256(body).hexdigest()
            content = _CONTENT % (digest[:12], digest[12:24])
            size = -(-len(content) // _PIECES)
            pieces = [content[start : start + size] for start in range(0, len(content), size)]
            self.piece(connection, body, pieces, 0, loop.time())
        else:
            loop.call_later(self.latency_s, self.finish, connection, body)

    def piece(self, connection: Connection, body: bytes, pieces: list[str], place: int, start_s: float) -> None:
        """Send a piece of a reply, and the next one in its time."""
        if place == len(pieces) or not connection.is_open:
            self.finish(connection, body, streamed=True)
            return
        event = _PIECE % (json.dumps(pieces[place]).encode(), len(body) // 5, place + 1)
        connection.transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        at_s = start_s + self.latency_s * (place + 1) / len(pieces)
        asyncio.get_running_loop().call_at(at_s, self.piece, connection, body, pieces, place + 1, start_s)

    def finish(self, connection: Connection, body: bytes, streamed: bool = False) -> None:
        del self.started[connection]
        if connection.is_open and streamed:
            connection.transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(_STREAM_END), _STREAM_END))
            self.answered += 1
        elif connection.is_open:
            digest = hashlib.sha256(body).hexdigest().encode()
            tokens = len(body) // 5
            connection.answer(_REPLY % (digest[:12], digest[12:24], tokens, tokens + 40))
            self.answered += 1
        else:
            self.abandoned += 1
        while self.waiting and len(self.started) < self.slots:
            next_connection, next_body = self.waiting.popleft()
            if next_connection.is_open:
                self.start(next_connection, next_body)
            else:
                self.abandoned += 1

    def stats(self) -> dict[str, float]:
        now = time.monotonic()
        under_way = sum(min(1.0, (now - start) / self.latency_s) for start in self.started.values() if self.latency_s)
        return {
            "time_s": now,
            "answered": self.answered,
            "served": self.answered + under_way,
            "refused": self.refused,
            "abandoned": self.abandoned,
            "in_flight": len(self.started),
            "waiting": len(self.waiting),
            "most_in_flight": self.most_in_flight,
            "most_waiting": self.most_waiting,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--latency-s", type=float, default=2.0, help="how long a request stays in its slot")
    parser.add_argument("--slots", type=int, default=256, help="requests under way at a time")
    parser.add_argument("--beyond", choices=["queue", "refuse"], default="queue", help="what more requests get")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input is closed")
    options = parser.parse_args()
    if options.exit_with_stdin:
        exit_with_stdin()
    serve(LoadServer(options).handle, options.port)


if __name__ == "__main__":
    main()
