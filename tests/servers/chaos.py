"""A model server on a bad day: deterministic replies behind faults that a seed decides, and a log that survives it.

    python -m tests.servers.chaos --port 0 --state /tmp/state.log --seed 3

It speaks TGI's dialect. A prompt that holds `Document number N.` is a document; everything else (the client's probe)
is answered without faults. The reply to a document is made of the lines `Question: …` and `Answer: …` in its prompt,
so it depends on the prompt alone. On the way to it stand

- **transport faults**, decided by a hash of the seed, the request and how often it has been seen: refusals with and
  without `Retry-After`, errors, cut connections, silence, bodies that are no completion, bodies cut short. Requests
  that count tokens meet them too, all but silence.
- **spoilt content**, decided by a hash of the document's number: a whole answer whose text is no JSON, either to the
  first attempt or to every one. A prompt that ends with `--mark` is a first attempt.

`--state` is appended to: `seen KEY FAULT` for each request about a document, `whole KEY DIGEST PROMPT COMPLETION TIME`
for each answer that was written to its client whole: the digest of its text, its tokens, and when. It is read at the
start, so a restarted server goes on where it was. SIGTERM ends it between two writes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import time
from collections import Counter
from typing import Any

from tests.servers.llama import exit_with_stdin
from tests.servers.wire import Connection, head, serve

CHAT = "/v1/chat/completions"
MODEL_ID, MODEL_SHA = "equal-hf/chaos", "0c4a05c4a05c4a05c4a05c4a05c4a05c4a05c4a0"
FAULTS = {"429": 0.10, "5xx": 0.05, "drop": 0.03, "hang": 0.02, "malformed": 0.05, "truncated": 0.03}
SPOILT_ONCE, SPOILT_ALWAYS = 0.06, 0.04
MALFORMED = (
    b"<html><body>Sign in</body></html>",
    b"",
    b'{"choices": [{"message": {"content": "{\\"pairs\\"',
    b'{"choices": null}',
    b'{"choices": [{"index": 0, "message": null}]}',
    b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": 7}}]}',
    b'{"error": "out of memory", "error_type": "generation"}',
    b"[]",
    b"null",
    b'\xff\xfe{"choices": []}',
    b'data:{"error":{"message":"boom","http_status_code":422}}\n\n',
)

_NUMBER = re.compile(r"Document number (\d+)\.")
_PAIR = re.compile(r"Question: (.+)\nAnswer: (.+)\n")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_TEMPLATE_TOKENS = 4


def fraction(*parts: object) -> float:
    """A hash as a number from 0 up to 1."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ChaosServer:
    """Options are the ones of `main`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.seen: Counter[str] = Counter()
        self.whole = 0
        self.under_way: set[Connection] = set()
        self.log = os.open(options.state, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        with open(options.state, encoding="ascii") as lines:
            for line in lines:
                what, key, *_ = line.split()
                self.seen[key] += what == "seen"
                self.whole += what == "whole"

    def write(self, *words: object) -> None:
        os.write(self.log, (" ".join(map(str, words)) + "\n").encode())

    def handle(self, connection: Connection, method: str, path: str, body: bytes) -> None:
        if path in (CHAT, "/chat_tokenize"):
            self.converse(connection, path, json.loads(body)["messages"])
        elif path == "/tokenize":
            connection.answer_json(tokens_of(json.loads(body)["inputs"]))
        elif path == "/info":
            connection.answer_json(
                {
                    "model_id": MODEL_ID,
                    "model_sha": MODEL_SHA,
                    "max_concurrent_requests": 128,
                    "max_best_of": 2,
                    "max_stop_sequences": 4,
                    "max_input_tokens": 3072,
                    "max_total_tokens": 4096,
                    "validation_workers": 2,
                    "max_client_batch_size": 4,
                    "router": "text-generation-router",
                    "version": "3.3.5",
                }
            )
        elif path == "/stats":
            open_ones = sum(not one.transport.is_closing() for one in self.under_way)
            connection.answer_json({"whole": self.whole, "in_flight": open_ones})
        else:
            connection.answer(b"", 200 if path == "/health" else 404)

    def converse(self, connection: Connection, path: str, messages: list[dict[str, str]]) -> None:
        """One request about a document: a fault, or the answer after the latency."""
        text = "".join(message["content"] for message in messages)
        number = _NUMBER.search(text)
        if path == CHAT:
            content, usage = self.reply(text, messages[-1]["content"], number)
            body = completion(content, *usage)
        else:
            content, usage = "", (0, 0)
            body = json.dumps({"tokenize_response": tokens_of(text, _TEMPLATE_TOKENS), "templated_text": text})
        if number is None:
            connection.answer(body.encode())
            return
        key = ("" if path == CHAT else "count-") + digest_of(json.dumps(messages))
        fault, variant = self.fault(key, path)
        self.seen[key] += 1
        self.write("seen", key, fault)
        if fault == "429":
            retry_after = b"Retry-After: %d\r\n" % int(variant * 4) if variant < 0.5 else b""
            error = b'{"error": "Model is overloaded", "error_type": "overloaded"}'
            connection.answer(error, 429, retry_after)
        elif fault == "5xx":
            connection.answer(b'{"error": "boom", "error_type": "generation"}', (500, 502, 503, 504)[int(variant * 4)])
        else:
            # Every request has a latency of its own, or all would be answered in one instant.
            wait_s = self.options.latency_s * 2 * fraction(key, self.seen[key], "latency")
            wait_s = self.options.hang_s if fault == "hang" else wait_s
            self.under_way.add(connection)
            loop = asyncio.get_running_loop()
            loop.call_later(wait_s, self.finish, connection, key, content, usage, body.encode(), fault, variant)

    def finish(
        self,
        connection: Connection,
        key: str,
        content: str,
        usage: tuple[int, int],
        body: bytes,
        fault: str,
        variant: float,
    ) -> None:
        self.under_way.discard(connection)
        transport = connection.transport
        if transport.is_closing():
            return
        part = body[: int(len(body) * variant)]
        if fault == "hang" or (fault == "drop" and variant < 0.5):
            transport.abort()
        elif fault == "drop":  # in the middle of the body, and without a goodbye
            transport.write(head(len(body)) + part)
            transport.abort()
        elif fault == "truncated":
            transport.write(head(len(body)) + part)
            transport.close()
        elif fault == "malformed":
            connection.answer(MALFORMED[int(variant * len(MALFORMED))])
        else:
            connection.answer(body)
            if content:
                self.whole += 1
                self.write("whole", key, digest_of(content), *usage, time.time())

    def fault(self, key: str, path: str) -> tuple[str, float]:
        """What happens to this request, and a number to choose a variant by."""
        seed, seen = self.options.seed, self.seen[key]
        chance = fraction(seed, key, seen)
        for name, share in FAULTS.items() if self.options.faults else ():
            if chance < share and not (name == "hang" and path != CHAT):
                return name, fraction(seed, key, seen, "variant")
            chance -= share
        return "none", 0.0

    def reply(self, text: str, last: str, number: re.Match[str] | None) -> tuple[str, tuple[int, int]]:
        """The content for a prompt, and the tokens of both."""
        pairs = [{"question": question, "answer": answer} for question, answer in _PAIR.findall(text)]
        content = json.dumps({"pairs": pairs})
        if number is not None:
            is_first = last.rstrip().endswith(self.options.mark)
            chance = fraction(self.options.seed, "content", number[1])
            if chance < SPOILT_ALWAYS or (chance < SPOILT_ALWAYS + SPOILT_ONCE and is_first):
                again = "" if is_first else "Once more: "
                content = f"{again}Here is what I found about document {number[1]}. It asks how much there is."
        return content, (_TEMPLATE_TOKENS + count(text), count(content))


def count(text: str) -> int:
    return len(_TOKEN.findall(text))


def tokens_of(text: str, more: int = 0) -> list[dict[str, Any]]:
    found = [(match.group(), match.start(), match.end()) for match in _TOKEN.finditer(text)]
    spans = [("", 0, 0)] * more + found
    return [{"id": 1, "text": token, "start": start, "stop": end} for token, start, end in spans]


def completion(content: str, prompt_tokens: int, completion_tokens: int) -> str:
    message = {"role": "assistant", "content": content}
    return json.dumps(
        {
            "object": "chat.completion",
            "id": "",
            "created": int(time.time()),
            "model": MODEL_ID,
            "system_fingerprint": "chaos",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--state", required=True, help="the log, made where there is none")
    parser.add_argument("--seed", type=int, default=0, help="decides the faults and what is spoilt")
    parser.add_argument("--mark", required=True, help="what the prompt of a first attempt ends with")
    parser.add_argument("--latency-s", type=float, default=0.05, help="what a request takes on average")
    parser.add_argument("--hang-s", type=float, default=8.0, help="how long it keeps silent before it hangs up")
    parser.add_argument("--no-faults", dest="faults", action="store_false", help="spoilt content only")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input is closed")
    options = parser.parse_args()
    if options.exit_with_stdin:
        exit_with_stdin()
    serve(ChaosServer(options).handle, options.port)


if __name__ == "__main__":
    main()
