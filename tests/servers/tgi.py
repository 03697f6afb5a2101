"""Text Generation Inference's wire format in front of a real llama.cpp server with a tiny random model.

Generation, chat templates and JSON-guided decoding are real; paths, limits, errors and their codes are TGI's:
`/info`, `/health`, `/metrics`, `/tokenize`, `/chat_tokenize`, `/v1/chat/completions`. A request beyond
`--max-concurrent-requests` gets an immediate 429 without Retry-After, wrong input a 422, a missing key an empty 401.

    python -m tests.servers.tgi --port 0          # prints its URL on the first line of stdout when it is ready

    with spawn("tests.servers.tgi", "--delay-s", "0.2") as url:     # from tests.servers
        ...

The same request gives the same reply, whatever else is running: one without a temperature, or with temperature 0, is
sampled at temperature 1 with a seed taken from its messages, because a random model that decodes greedily repeats
itself until it is cut off. The promise is made for `--slots 1`: with more, llama.cpp computes several requests in one
batch, which may change the last bits of a logit (800 requests over 4 slots showed no difference).

`/metrics` counts `tgi_request_count` (chat requests let in) and `tgi_request_success` in Prometheus' text format.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.servers.llama import exit_with_stdin, start_llama

MODEL_ID = "equal-hf/tiny-random"
MODEL_SHA = "5c1f0e0d3c9a4b7e8f6a2d1b0c9e8f7a6b5c4d3e"
PAYLOAD_LIMIT = 2_000_000


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, error: str, kind: str | None) -> None:
        body = {"error": error, "error_type": kind}
        self.response = JSONResponse(body, status) if kind else PlainTextResponse(error, status)


class Facade:
    """TGI's router. Options are the ones of `main`."""

    def __init__(self, options: argparse.Namespace, upstream: str) -> None:
        self.options = options
        self.upstream = upstream
        self.ready_at = time.monotonic() + options.load_s
        self.under_way = 0
        self.counts: Counter[str] = Counter()

    def app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(_: Starlette):
            async with httpx2.AsyncClient(base_url=self.upstream, timeout=None, trust_env=False) as self.llama:
                yield

        routes = [
            Route("/info", self.info),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/tokenize", self.tokenize, methods=["POST"]),
            Route("/chat_tokenize", self.chat_tokenize, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
        ]
        handlers = {Refused: lambda _, refused: refused.response}
        return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)

    async def info(self, _: Request) -> Response:
        return JSONResponse(
            {
                "model_id": MODEL_ID,
                "model_sha": MODEL_SHA,
                "model_pipeline_tag": "text-generation",
                "max_concurrent_requests": self.options.max_concurrent_requests,
                "max_best_of": 2,
                "max_stop_sequences": 4,
                "max_input_tokens": self.options.max_input_tokens,
                "max_total_tokens": self.options.max_total_tokens,
                "validation_workers": 2,
                "max_client_batch_size": 4,
                "router": "text-generation-router",
                "version": "3.3.5",
                "sha": None,
                "docker_label": None,
            }
        )

    async def health(self, _: Request) -> Response:
        if time.monotonic() < self.ready_at:
            raise Refused(503, "unhealthy", "healthcheck")
        return Response()

    async def metrics(self, _: Request) -> Response:
        names = ("tgi_request_count", "tgi_request_success")
        return PlainTextResponse("".join(f"# TYPE {name} counter\n{name} {self.counts[name]}\n" for name in names))

    async def tokenize(self, request: Request) -> Response:
        body = await self._body(request, "inputs", str)
        return JSONResponse(await self._tokens(body["inputs"]))

    async def chat_tokenize(self, request: Request) -> Response:
        body = await self._body(request, "messages", list)
        text = await self._templated(body["messages"])
        return JSONResponse({"tokenize_response": await self._tokens(text), "templated_text": text})

    async def chat(self, request: Request) -> Response:
        body = await self._body(request, "messages", list)
        if self.under_way >= self.options.max_concurrent_requests:
            raise Refused(429, "Model is overloaded", "overloaded")
        self.under_way += 1
        self.counts["tgi_request_count"] += 1
        try:
            reply = await self._generate(body)
            self.counts["tgi_request_success"] += 1
            return JSONResponse(reply)
        finally:
            self.under_way -= 1

    async def _body(self, request: Request, field: str, kind: type) -> dict[str, Any]:
        key = self.options.api_key
        if key and request.headers.get("authorization") != f"Bearer {key}":
            raise Refused(401, "", None)
        raw = await request.body()
        if len(raw) > PAYLOAD_LIMIT:
            raise Refused(413, "Failed to buffer the request body: length limit exceeded", None)
        try:
            body = json.loads(raw)
        except ValueError:
            raise Refused(422, "Failed to parse the request body as JSON", None) from None
        if not isinstance(body, dict) or not isinstance(body.get(field), kind):
            raise Refused(422, f"Failed to deserialize the JSON body into the target type: field `{field}`", None)
        return body

    async def _templated(self, messages: list[Any]) -> str:
        reply = await self.llama.post("/apply-template", json={"messages": messages})
        if not reply.is_success:
            raise Refused(422, "Template error: the messages do not fit the template", "template_error")
        return reply.json()["prompt"]

    async def _tokens(self, text: str) -> list[dict[str, Any]]:
        body = {"content": text, "parse_special": True, "with_pieces": True}
        tokens, start = [], 0
        for token in (await self.llama.post("/tokenize", json=body)).json()["tokens"]:
            piece = token["piece"]
            piece = piece if isinstance(piece, str) else bytes(piece).decode(errors="replace")
            tokens.append({"id": token["id"], "text": piece, "start": start, "stop": start + len(piece)})
            start += len(piece)
        return tokens

    async def _generate(self, body: dict[str, Any]) -> dict[str, Any]:
        options, messages = self.options, body["messages"]
        max_new_tokens = body.get("max_tokens", 1024)
        temperature, seed, schema = body.get("temperature"), body.get("seed"), _schema(body.get("response_format"))
        if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
            raise Refused(422, "Input validation error: `max_new_tokens` must be strictly positive", "validation")
        if seed is not None and not (isinstance(seed, int) and seed >= 0):
            raise Refused(422, "Failed to deserialize the JSON body into the target type: field `seed`", None)
        prompt_tokens = len(await self._tokens(await self._templated(messages)))
        if prompt_tokens > options.max_input_tokens:
            fact = f"`inputs` must have less than {options.max_input_tokens} tokens. Given: {prompt_tokens}"
            raise Refused(422, f"Input validation error: {fact}", "validation")
        if prompt_tokens + max_new_tokens > options.max_total_tokens:
            fact = f"`inputs` tokens + `max_new_tokens` must be <= {options.max_total_tokens}. Given: {prompt_tokens}"
            fact += f" `inputs` tokens and {max_new_tokens} `max_new_tokens`"
            raise Refused(422, f"Input validation error: {fact}", "validation")
        if not temperature or seed is None:
            seed = int.from_bytes(hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest()[:4])
        upstream = {
            "messages": messages,
            "max_tokens": max_new_tokens,
            "temperature": temperature or 1.0,
            "seed": seed,
            "cache_prompt": False,
        }
        if schema is not None:
            upstream["response_format"] = {"type": "json_object", "schema": schema}
        reply, _ = await asyncio.gather(
            self.llama.post("/v1/chat/completions", json=upstream), asyncio.sleep(options.delay_s)
        )
        if not reply.is_success:
            raise Refused(424, f"Request failed during generation: {reply.text[:200]}", "generation")
        answer = reply.json()
        choice = answer["choices"][0]
        usage = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        return {
            "object": "chat.completion",
            "id": "",
            "created": int(time.time()),
            "model": MODEL_ID,
            "system_fingerprint": "3.3.5-native",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": choice["message"]["content"]},
                    "logprobs": None,
                    "finish_reason": choice["finish_reason"],
                }
            ],
            "usage": usage,
        }


def _schema(response_format: Any) -> Any:
    """The JSON schema of a `response_format`, in TGI's own form and no other."""
    if response_format is None:
        return None
    form = response_format if isinstance(response_format, dict) else {}
    value = form.get("value")
    if form.get("type") in ("json", "json_object") and isinstance(value, dict):
        return value
    if form.get("type") == "json_schema" and isinstance(value, dict) and isinstance(value.get("schema"), dict):
        return value["schema"]
    raise Refused(422, "Failed to deserialize the JSON body into the target type: response_format", None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--slots", type=int, default=1, help="requests that llama.cpp computes at a time")
    parser.add_argument("--max-concurrent-requests", type=int, default=128, help="beyond it, 429")
    parser.add_argument("--max-input-tokens", type=int, default=3072)
    parser.add_argument("--max-total-tokens", type=int, default=4096)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--delay-s", type=float, default=0.0, help="least time that a chat request takes")
    parser.add_argument("--load-s", type=float, default=0.0, help="how long /health answers 503")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input is closed")
    options = parser.parse_args()
    if options.exit_with_stdin:
        exit_with_stdin()
    llama = start_llama(slots=options.slots, slot_tokens=options.max_total_tokens + 64)
    app = Facade(options, llama.listening_address).app()
    config = uvicorn.Config(app, host="127.0.0.1", port=options.port, log_level="warning")
    socket = config.bind_socket()
    socket.listen()  # whoever reads the URL may connect at once
    print(f"http://127.0.0.1:{socket.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    main()
