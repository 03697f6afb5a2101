"""A stand-in for one provider: its paths, refusals, replies and counts, and the bill that it would send.

    with StandIn("openai-reasoning") as server:
        EndpointExtractor(server.url, api_key=server.rules.key, model=server.rules.model).extract(documents)
        server.seen[-1].body        # what was sent
        server.bill.total           # what it costs
        server.faults += [Fault(498, {"Retry-After": "0.2"})]       # for the next chat requests

Replies are those of `tests.servers.marked`, a function of the request alone. What a provider takes and says is in
`tests.servers.providers`. As a process of its own, which prints its URL first and answers its bill at `/bill`:

    python -m tests.servers.standin --provider openai --port 0
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.servers.bill import Bill, Tokens
from tests.servers.counting import counted, prompt_tokens, text_of
from tests.servers.events import events
from tests.servers.faults import Fault, Seen
from tests.servers.llama import exit_with_stdin
from tests.servers.marked import answer, cut, thoughts, tokens_of
from tests.servers.providers import PROVIDERS
from tests.servers.providers.check import Refused, check, thinking
from tests.servers.providers.rules import Problem, Rules

# A cached beginning is a whole number of such steps.
_STEP = 128


@dataclass(frozen=True)
class Generation:
    """What came of one chat request, whatever form it is told in."""

    model: str
    content: str
    reasoning: str
    refusal: str | None
    finish_reason: str
    tokens: Tokens
    cost: int
    tier: str


class StandIn:
    """The server, on a thread of this process.

    Args:
        provider (`str` or `Rules`): Which one, by its name in `PROVIDERS`.
        delay_s (`float`, *optional*, defaults to `0.0`): How long a chat request takes.
        pause_s (`float`, *optional*, defaults to `0.0`): Between two pieces of a stream.
        clock (`Callable`, *optional*): Seconds since 1970, for the days of the bill.

    Attributes:
        rules ([`Rules`]): May be exchanged at any time, as a provider changes its mind.
        faults (`list[Fault]`): What the next chat requests get instead of a reply, in order of arrival.
        judge (`Callable`, *optional*): Asked about each chat body and how many came before it; may give a fault.
        tier (`str`, *optional*): What it serves at and charges, whatever is asked for.
        change_reply (`Callable`, *optional*): Applied to the JSON of each chat reply.
        seen (`list[Seen]`): All requests; `path` holds the query too.
        bill ([`Bill`]): What it all costs.
    """

    def __init__(
        self,
        provider: str | Rules,
        *,
        delay_s: float = 0.0,
        pause_s: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = PROVIDERS[provider] if isinstance(provider, str) else provider
        self.delay_s, self.pause_s = delay_s, pause_s
        self.clock = clock
        self.faults: list[Fault] = []
        self.judge: Callable[[dict[str, Any], int], Fault | None] | None = None
        self.tier: str | None = None
        self.change_reply: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.seen: list[Seen] = []
        self.bill = Bill(self.rules.rates)
        self.under_way = self.most_under_way = 0
        self._beginnings: set[tuple[str, int, int]] = set()
        self.origin = ""

    @property
    def url(self) -> str:
        """What a user would set as the endpoint's URL."""
        query = f"?{self.rules.query}" if self.rules.query else ""
        return f"{self.origin}{self.rules.prefix}{self.rules.chat_path.removesuffix('/chat/completions')}{query}"

    @property
    def chats(self) -> list[Seen]:
        """The chat requests so far."""
        return [seen for seen in self.seen if seen.path.partition("?")[0].endswith("/chat/completions")]

    # ---- life ----

    def __enter__(self) -> StandIn:
        config = uvicorn.Config(self.app(), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
        socket = config.bind_socket()
        socket.listen(256)
        self.origin = f"http://127.0.0.1:{socket.getsockname()[1]}"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [socket]}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    def routes(self) -> list[Route]:
        """All paths; others may be put before them."""
        prefix = self.rules.prefix
        return [
            Route(prefix + self.rules.chat_path, self.chat, methods=["POST"]),
            Route("/bill", self.show_bill),
            Route("/tokenize", self.count, methods=["POST"]),
            Route("/chat_tokenize", self.count, methods=["POST"]),
            Route("/apply-template", self.count, methods=["POST"]),
            Route("/{path:path}", self.page, methods=["GET", "POST"]),
        ]

    def app(self) -> Starlette:
        handlers = {Refused: lambda _, refused: self.refusal(refused.problem)}
        return Starlette(routes=self.routes(), exception_handlers=handlers)

    def refusal(self, problem: Problem) -> Response:
        if problem.code == "unknown_url" and self.rules.missing is not None:
            missing = self.rules.missing
            return PlainTextResponse(missing, 404) if isinstance(missing, str) else JSONResponse(missing, 404)
        problem = replace(problem, status=self.rules.bad_request) if problem.status == 400 else problem
        return JSONResponse(self.rules.error(problem), problem.status, dict(problem.headers))

    # ---- paths ----

    async def show_bill(self, _: Request) -> Response:
        return JSONResponse(self.bill.rows())

    async def page(self, request: Request) -> Response:
        """Any other path: a page of the provider, or 404."""
        await self.let_in(request)
        path = request.url.path
        inside = path.startswith(self.rules.prefix)
        page = self.rules.pages.get(path.removeprefix(self.rules.prefix)) if inside else None
        if request.method != "GET" or page is None:
            raise self.nowhere(request)
        return PlainTextResponse(page) if isinstance(page, str) else JSONResponse(page)

    def nowhere(self, request: Request) -> Refused:
        return Refused(Problem(404, f"Invalid URL ({request.method} {request.url.path})", code="unknown_url"))

    async def count(self, request: Request) -> Response:
        """Count the tokens of a text, or of messages."""
        reply = counted(self.rules, request.url.path, await self.let_in(request))
        if reply is None:
            raise self.nowhere(request)
        return JSONResponse(reply)

    async def chat(self, request: Request) -> Response:
        body = await self.let_in(request)
        if self.rules.query and request.url.query != self.rules.query:
            raise self.nowhere(request)
        count = len(self.chats) - 1
        fault = self.faults.pop(0) if self.faults else None
        if fault is None and self.judge is not None:
            fault = self.judge(body, count)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if fault is not None:
                return Response(fault.body, fault.status, dict(fault.headers), "application/json")
            generation = self.generate(body)
        finally:
            self.under_way -= 1
        reply = self.completion(generation)
        reply = self.change_reply(reply) if self.change_reply else reply
        headers = dict(self.rules.headers)
        if body.get("stream"):
            return StreamingResponse(self.streamed(generation, reply, body), 200, headers, "text/event-stream")
        return JSONResponse(reply, headers=headers)

    async def streamed(
        self, generation: Generation, reply: dict[str, Any], body: dict[str, Any]
    ) -> AsyncIterator[bytes]:
        """The events of a stream."""
        whole = generation.tokens
        # Hosted services write on when their client goes away, and charge for it.
        written = whole.completion if self.rules.key else 0
        try:
            for event, so_far in events(reply, body, whole.prompt):
                written = max(written, min(so_far, whole.completion))
                yield b"data: " + json.dumps(event).encode() + b"\n\n"
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
            yield b"data: [DONE]\n\n"
            written = whole.completion
        finally:
            tokens = replace(whole, completion=written, reasoning=min(whole.reasoning, written))
            self.bill.correct(self.day(), generation.model, generation.tier, whole, tokens)

    def day(self) -> str:
        """The day of the bill, in UTC."""
        return datetime.fromtimestamp(self.clock(), UTC).date().isoformat()

    async def let_in(self, request: Request) -> Any:
        """Note a request down, look at its key, and give its JSON."""
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, path, headers, body, time.monotonic()))
        rules = self.rules
        told = [
            headers.get("authorization", "").removeprefix("Bearer ") if name == "bearer" else headers.get(name, "")
            for name in rules.key_headers
        ]
        if rules.key and rules.key not in told:
            message = f"Incorrect API key provided: {(max(told) or 'none')[:4]}***."
            raise Refused(Problem(401, message, code="invalid_api_key"))
        if request.method == "POST" and not isinstance(body, dict):
            raise Refused(Problem(400, "We could not parse the JSON body of your request."))
        return body

    # ---- one chat request ----

    def generate(self, body: dict[str, Any], tier: str | None = None) -> Generation:
        """Answer a chat request and charge for it.

        Args:
            body (`dict[str, Any]`): The request.
            tier (`str`, *optional*): What it is charged by, where the request does not say, as for a batch.

        Raises:
            `Refused`: If the provider refuses it.
        """
        rules = self.rules
        form, schema = check(rules, body)
        messages = body["messages"]
        prompt = text_of(messages[-1])
        limit = next((body[name] for name in rules.limits if body.get(name) is not None), None)
        sent = prompt_tokens(messages)
        if len(sent) + (limit or 0) > rules.context and not rules.truncates:
            counts = {"prompt": len(sent), "limit": limit or 0, "total": len(sent) + (limit or 0)}
            message = rules.too_long.message.format(context=rules.context, **counts)
            raise Refused(replace(rules.too_long, message=message))
        if len(sent) > rules.context:
            sent = sent[:4] + sent[4 - rules.context :]
            prompt = prompt[_start_of_last(prompt, rules.context - 4) :]
        said = answer(prompt, schema, {"guided": "guided", "json": "json"}.get(form, "free"))
        if said.refusal and rules.forbidden == "filter":
            message = (
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
                "Please modify your prompt and retry."
            )
            raise Refused(Problem(400, message, "prompt", "content_filter", kind=None))
        room = max(1, rules.context - len(sent)) if limit is None else limit
        thought = thoughts(prompt, min(thinking(rules, body, prompt, form), room))
        thought_tokens = len(tokens_of(thought))
        text = cut(said.text, room - thought_tokens)
        refusal = said.refusal if rules.forbidden == "refusal" else None
        if said.refusal and refusal is None:
            text = cut(said.refusal, room - thought_tokens)
        whole = text == (said.text or (said.refusal or "")) or refusal is not None
        content_tokens = len(tokens_of(refusal or text))
        if rules.no_room is not None and not (refusal or text):
            raise Refused(rules.no_room)
        tokens = Tokens(len(sent), self.cached(rules.model, sent), thought_tokens + content_tokens, thought_tokens)
        asked = body.get("service_tier")
        charged = tier or self.tier or (asked if asked not in (None, "auto") else "default")
        model = rules.snapshot or body.get("model", rules.model)
        cost = self.bill.add(self.day(), model, charged, tokens)
        finish = "stop" if whole else "length"
        return Generation(model, text, thought, refusal, finish, tokens, cost, charged)

    def completion(self, generation: Generation) -> dict[str, Any]:
        """A generation in the provider's form."""
        rules, content = self.rules, generation.content
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if rules.reasoning == "think" and generation.reasoning:
            ended = generation.finish_reason == "stop" or content
            message["content"] = f"<think>\n{generation.reasoning}" + (f"\n</think>\n\n{content}" if ended else "")
        elif not content and (rules.reasoning not in ("", "hidden") or generation.refusal):
            message["content"] = None
        message |= rules.message
        if rules.reasoning not in ("", "hidden", "think"):
            message[rules.reasoning] = generation.reasoning or None
        if generation.refusal:
            message["refusal"] = generation.refusal
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": generation.finish_reason}
        reply = {
            "id": f"chatcmpl-{len(self.seen)}",
            "object": "chat.completion",
            "created": int(self.clock()),
            "model": generation.model,
            "choices": [choice | dict(rules.choice)],
            "usage": rules.usage(generation.tokens, generation.cost),
        }
        if rules.tiers:
            reply["service_tier"] = generation.tier
        return reply | dict(rules.reply)

    def cached(self, model: str, tokens: list[str]) -> int:
        """How much of the prompt's beginning was seen before; it is remembered from now on."""
        if not (least := self.rules.caches_from):
            return 0
        sizes = range(least, len(tokens) + 1, _STEP)
        keys = [(model, size, hash(tuple(tokens[:size]))) for size in sizes]
        found = [size for size, key in zip(sizes, keys, strict=True) if key in self._beginnings]
        self._beginnings.update(keys)
        return max(found, default=0)


def _start_of_last(text: str, tokens: int) -> int:
    """Where the last so many tokens begin."""
    dropped = max(0, len(tokens_of(text)) - tokens)
    return len(cut(text, dropped)) if dropped else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(PROVIDERS), default="openai")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--delay-s", type=float, default=0.0, help="how long a chat request takes")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input is closed")
    options = parser.parse_args()
    if options.exit_with_stdin:
        exit_with_stdin()
    standin = StandIn(options.provider, delay_s=options.delay_s)
    config = uvicorn.Config(standin.app(), host="127.0.0.1", port=options.port, log_level="warning", lifespan="off")
    socket = config.bind_socket()
    socket.listen(256)
    standin.origin = f"http://127.0.0.1:{socket.getsockname()[1]}"
    print(standin.url, flush=True)
    uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    main()
