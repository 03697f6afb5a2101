"""The clients that `throughput` compares, each in a process of its own.

    python -m tests.benchmarks.throughput_clients extractor --url URL --connections 256 --documents 9000

For each line on standard input a client prints the CPU seconds it has used so far, and ends when that is closed.

- `bare`: raw sockets, ready-made requests, replies read no further than their length. What it reaches is the ceiling.
- `extractor`: `EndpointExtractor` with a response store, as a run uses it.
- `streamed`: the same, reading replies as they are written.
- `gather`: every document at once through `huggingface_hub.AsyncInferenceClient.chat_completion`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.notes import Notes
from tests.servers.load import MODEL

MAX_NEW_TOKENS = 256
_BODIES = 64  # different requests of the bare client


def tell_cpu() -> None:
    """Answer each line of standard input with the CPU seconds of this process; end with it."""

    def watch() -> None:
        for _ in sys.stdin:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            print(usage.ru_utime + usage.ru_stime, flush=True)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def bare(url: str, connections: int, documents: Notes) -> None:
    """As many connections as slots, each sending its next request when the last one is answered."""
    from equal_hf.extraction.prompts.template import PromptTemplate

    address, prompt = urlsplit(url), PromptTemplate()
    requests = []
    for document in documents[:_BODIES]:
        body = json.dumps({"messages": prompt.messages(document.text), "model": MODEL, "max_tokens": MAX_NEW_TOKENS})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    length = re.compile(rb"Content-Length: (\d+)")

    class Caller(asyncio.Protocol):
        def __init__(self, place: int) -> None:
            self.place, self.buffer = place, b""

        def connection_made(self, transport) -> None:
            self.transport = transport
            self.send()

        def send(self) -> None:
            self.place += 1
            self.transport.write(requests[self.place % _BODIES])

        def data_received(self, data: bytes) -> None:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end >= 0 and len(self.buffer) == end + 4 + int(length.search(self.buffer)[1]):
                self.buffer = b""
                self.send()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for place in range(connections):
            await loop.create_connection(lambda place=place: Caller(place), address.hostname, address.port)
        await asyncio.Event().wait()

    asyncio.run(run())


def extractor(url: str, connections: int, documents: Notes, stream: str = "false") -> None:
    """The library as a run uses it."""
    from equal_hf.extraction.endpoint_extractor import EndpointExtractor

    with tempfile.TemporaryDirectory() as folder:
        endpoint = EndpointExtractor(
            url,
            max_new_tokens=MAX_NEW_TOKENS,
            concurrency=connections,
            timeout_s=60.0,
            max_retries=10,
            stream=stream,
            store=Path(folder) / "responses.sqlite",
        )
        endpoint.extract(documents)


def streamed(url: str, connections: int, documents: Notes) -> None:
    """The same, reading replies as they are written."""
    extractor(url, connections, documents, "true")


def gather(url: str, connections: int, documents: Notes) -> None:
    """What one would write first."""
    from huggingface_hub import AsyncInferenceClient

    from equal_hf.extraction.prompts.template import PromptTemplate

    prompt = PromptTemplate()

    async def run() -> None:
        async with AsyncInferenceClient(url, provider="hf-inference", token="none") as client:
            await asyncio.gather(
                *(
                    client.chat_completion(prompt.messages(document.text), model=MODEL, max_tokens=MAX_NEW_TOKENS)
                    for document in documents
                )
            )

    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    clients = {"bare": bare, "extractor": extractor, "streamed": streamed, "gather": gather}
    parser.add_argument("client", choices=clients)
    parser.add_argument("--url", required=True)
    parser.add_argument("--connections", type=int, required=True, help="requests under way at a time, at most")
    parser.add_argument(
        "--documents", type=int, required=True, help="how many there are; an endless client ignores it"
    )
    options = parser.parse_args()
    tell_cpu()
    clients[options.client](options.url, options.connections, Notes(options.documents))


if __name__ == "__main__":
    main()
