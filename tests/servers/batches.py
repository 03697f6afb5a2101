"""A stand-in for a provider with batches: OpenAI's `/v1/files` and `/v1/batches`, kept on disk, to survive restarts.

    python -m tests.servers.batches --folder /tmp/state --port 0 --plan '[{"expire": 0.5}, {}]'

A batch goes on with the time since it was made, whoever looks: `Plan.validate_s`, then `per_s` requests a second. Each
answer is charged at the batch price, once. What happens to the n-th batch is the n-th entry of the plan, and the last
one's for all later ones. `folder/events.log` says what was asked, one word a line, before the answer to it is held
back for `--hold-s`: whoever reads along can kill a client at any step.

`/bill` gives every charge: a digest of the messages, tokens, tier and cost in billionths.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.servers.llama import exit_with_stdin
from tests.servers.providers import PROVIDERS
from tests.servers.providers.check import Refused
from tests.servers.providers.rules import Problem, Rules
from tests.servers.standin import Generation, StandIn

# Few, so that lists have several pages.
_PAGE = 2


@dataclass(frozen=True)
class Plan:
    """What happens to a batch.

    Args:
        validate_s (`float`): How long it is looked at first.
        per_s (`float`): Requests answered in a second.
        errors (`int`): Every so many-th request fails; 0 for none.
        status (`int`): With this status.
        expire, cancel (`float`, *optional*): It ends so with this share of its requests done.
        stops (`int`, *optional*): It answers so many, and then nothing until it is cancelled.
        fail (`str`): It fails with this code.
        drop_upload, drop_submit (`bool`): Its file is kept, or it is made, but the answer says 503.
        lose (`bool`): Nobody knows it afterwards.
        missing (`int`): So many answers are left out of its files, though charged.
    """

    validate_s: float = 0.0
    per_s: float = 1e9
    errors: int = 0
    status: int = 500
    expire: float | None = None
    cancel: float | None = None
    stops: int | None = None
    fail: str = ""
    drop_upload: bool = False
    drop_submit: bool = False
    lose: bool = False
    missing: int = 0


class BatchStandIn(StandIn):
    """A [`StandIn`] with batches.

    Args:
        provider (`str` or `Rules`): Which one.
        folder (`Path`): Its state.
        plan (`Sequence[Plan]`): What happens to which batch.
        hold_s (`float`): How long answers about files and batches are held back.
        delay_s (`float`): How long a chat request takes.

    Attributes:
        uploads (`list[bytes]`): Files that came since it was started.
        submissions (`list[dict]`): What batches were asked for with.
    """

    def __init__(
        self,
        provider: str | Rules,
        folder: Path,
        plan: Sequence[Plan] = (Plan(),),
        hold_s: float = 0.0,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(provider, delay_s=delay_s)
        self.folder, self.plan, self.hold_s = folder, list(plan), hold_s
        for name in ("files", "batches"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.uploads: list[bytes] = []
        self.submissions: list[dict[str, Any]] = []
        self._lock = threading.RLock()

    def routes(self) -> list[Route]:
        base = self.rules.prefix + self.rules.chat_path.removesuffix("/chat/completions")
        batches = [
            Route(f"{base}/files", self.upload, methods=["POST"]),
            Route(f"{base}/files", self.list_files, methods=["GET"]),
            Route(f"{base}/files/{{id}}/content", self.content),
            Route(f"{base}/files/{{id}}", self.delete_file, methods=["DELETE"]),
            Route(f"{base}/batches", self.submit, methods=["POST"]),
            Route(f"{base}/batches", self.list_batches, methods=["GET"]),
            Route(f"{base}/batches/{{id}}", self.show_batch),
            Route(f"{base}/batches/{{id}}/cancel", self.cancel, methods=["POST"]),
        ]
        return batches + super().routes()

    # ---- the bill ----

    def generate(self, body: dict[str, Any], tier: str | None = None) -> Generation:
        generation = super().generate(body, tier)
        if tier != "batch":
            self.append("singles.jsonl", self.charge(body, generation))
        return generation

    def charge(self, body: dict[str, Any], generation: Generation) -> dict[str, Any]:
        digest = hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:16]
        tokens = {name: getattr(generation.tokens, name) for name in ("prompt", "cached", "completion", "reasoning")}
        return {"request": digest, "tier": generation.tier, "cost": generation.cost, **tokens}

    def charges(self) -> list[dict[str, Any]]:
        """Everything that was charged."""
        with self._lock:
            for batch in self.batches():
                self.advance(batch)
            found = self.read("singles.jsonl")
            for path in sorted((self.folder / "batches").glob("*.done")):
                found += [one["charge"] for one in self.read(f"batches/{path.name}") if one["charge"]]
        return found

    async def show_bill(self, _: Request) -> Response:
        return JSONResponse(self.charges())

    # ---- files ----

    async def upload(self, request: Request) -> Response:
        self.let_in_quietly(request)
        async with request.form() as form:
            name, data, purpose = form["file"].filename, await form["file"].read(), form["purpose"]
        if purpose != "batch" or not name.endswith(".jsonl"):
            raise Refused(Problem(400, f"Invalid file for purpose {purpose}."))
        self.uploads.append(data)
        await self.hold("upload")
        file_id = f"file-{os.urandom(8).hex()}"
        about = self.save_file(file_id, name, data, "batch")
        await self.hold("uploaded")
        if self.planned(len(self.batches())).drop_upload and self.first("upload"):
            return JSONResponse({"error": {"message": "upstream timeout"}}, 503)
        return JSONResponse(about)

    async def list_files(self, request: Request) -> Response:
        self.let_in_quietly(request)
        purpose = request.query_params.get("purpose")
        files = [json.loads(path.read_text()) for path in (self.folder / "files").glob("*.json")]
        return self.listing(request, [one for one in files if purpose in (None, one["purpose"])])

    async def content(self, request: Request) -> Response:
        self.let_in_quietly(request)
        path = self.folder / "files" / request.path_params["id"]
        if not path.exists():
            raise self.nothing("File")
        data = path.read_bytes()
        self.event("content")

        async def halves() -> AsyncIterator[bytes]:
            yield data[: len(data) // 2]
            await asyncio.sleep(self.hold_s)
            yield data[len(data) // 2 :]

        return StreamingResponse(halves(), media_type="application/octet-stream")

    async def delete_file(self, request: Request) -> Response:
        self.let_in_quietly(request)
        file_id = request.path_params["id"]
        if not (path := self.folder / "files" / file_id).exists():
            raise self.nothing("File")
        path.unlink()
        path.with_suffix(".json").unlink()
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})

    def save_file(self, file_id: str, name: str, data: bytes, purpose: str) -> dict[str, Any]:
        about = {
            "id": file_id,
            "object": "file",
            "bytes": len(data),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        (self.folder / "files" / file_id).write_bytes(data)
        self.write(f"files/{file_id}.json", about)
        return about

    # ---- batches ----

    async def submit(self, request: Request) -> Response:
        self.let_in_quietly(request)
        asked = await request.json()
        self.submissions.append(asked)
        if asked.get("completion_window") != "24h" or asked.get("endpoint") != "/v1/chat/completions":
            raise Refused(Problem(400, "Invalid completion_window or endpoint."))
        await self.hold("submit")
        if not (self.folder / "files" / asked["input_file_id"]).exists():
            raise Refused(Problem(404, f"No such File object: {asked['input_file_id']}"))
        now = time.time()
        plan = self.planned(len(self.batches()))
        batch = {
            "id": f"batch_{os.urandom(8).hex()}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "errors": None,
            "input_file_id": asked["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(now),
            "expires_at": int(now) + 86_400,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": asked.get("metadata"),
        }
        self.write(f"batches/{batch['id']}.json", batch | {"_made": now, "_plan": asdict(plan)})
        await self.hold("submitted")
        if plan.drop_submit:
            return JSONResponse({"error": {"message": "upstream timeout"}}, 503)
        return self.shown(batch)

    async def list_batches(self, request: Request) -> Response:
        self.let_in_quietly(request)
        return self.listing(request, [self.advance(batch) for batch in self.batches()])

    async def show_batch(self, request: Request) -> Response:
        self.let_in_quietly(request)
        path = self.folder / "batches" / f"{request.path_params['id']}.json"
        if not path.exists() or json.loads(path.read_text())["_plan"]["lose"]:
            raise self.nothing("Batch")
        batch = self.advance(json.loads(path.read_text()))
        await self.hold("poll")
        return self.shown(batch)

    async def cancel(self, request: Request) -> Response:
        self.let_in_quietly(request)
        path = self.folder / "batches" / f"{request.path_params['id']}.json"
        batch = self.advance(json.loads(path.read_text()))
        batch["_plan"]["cancel"] = 0.0
        self.write(f"batches/{batch['id']}.json", batch)
        return self.shown(self.advance(batch))

    def batches(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in (self.folder / "batches").glob("*.json")]

    def advance(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take a batch to where it is by now."""
        with self._lock:
            return self._advance(batch)

    def _advance(self, batch: dict[str, Any]) -> dict[str, Any]:
        if batch["status"] not in ("validating", "in_progress"):
            return batch
        plan, name = Plan(**batch["_plan"]), f"batches/{batch['id']}"
        went_s = time.time() - batch["_made"] - plan.validate_s
        if went_s < 0:
            return batch
        file = self.folder / "files" / batch["input_file_id"]
        requests = [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
        problems = [{"code": plan.fail, "message": f"It ran into {plan.fail}.", "line": 1}] if plan.fail else []
        problems += _problems(requests) if requests else [{"code": "no_file", "message": "There is no such file."}]
        if problems:
            batch |= {"status": "failed", "errors": {"object": "list", "data": problems}}
            self.write(f"{name}.json", batch)
            return batch
        done = self.read(f"{name}.done")
        ends = [share for share in (plan.expire, plan.cancel) if share is not None]
        most = max(len(done), min([len(requests), *(int(share * len(requests)) for share in ends)]))
        by_now = int(went_s * plan.per_s) if plan.stops is None else min(int(went_s * plan.per_s), plan.stops)
        for number in range(len(done), min(most, by_now)):
            one = self._work(requests[number], plan, number)
            self.append(f"{name}.done", one)
            done.append(one)
        failed = sum(one["charge"] is None for one in done)
        batch["status"] = "in_progress"
        batch["request_counts"] = {"total": len(requests), "completed": len(done) - failed, "failed": failed}
        if len(done) >= most:
            batch["status"] = "completed" if not ends else "expired" if plan.expire is not None else "cancelled"
            rest = [_unanswered(one["custom_id"], batch["status"]) for one in requests[most:]]
            answers = [one["answer"] for one in done if one["charge"]][::-1]  # in any order
            errors = [one["answer"] for one in done if not one["charge"]] + rest
            for kind, found in (("output", answers[plan.missing :]), ("error", errors)):
                if found:
                    file_id = f"file-{kind}-{batch['id'][6:]}"
                    data = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found).encode()
                    self.save_file(file_id, f"{batch['id']}_{kind}.jsonl", data, "batch_output")
                    batch[f"{kind}_file_id"] = file_id
        self.write(f"{name}.json", batch)
        return batch

    def _work(self, request: dict[str, Any], plan: Plan, number: int) -> dict[str, Any]:
        """One request of a batch: its answer, and what is charged for it."""
        custom_id, charge = request["custom_id"], None
        try:
            if plan.errors and number % plan.errors == plan.errors - 1:
                raise Refused(Problem(plan.status, "The server had an error processing your request."))
            generation = self.generate(request["body"], "batch")
            status, body, charge = 200, self.completion(generation), self.charge(request["body"], generation)
        except Refused as refused:
            status, body = refused.problem.status, self.rules.error(refused.problem)
        response = {"status_code": status, "request_id": f"req_{number}", "body": body}
        answer = {"id": f"batch_req_{number}", "custom_id": custom_id, "response": response, "error": None}
        return {"answer": answer, "charge": charge}

    # ---- helpers ----

    def planned(self, number: int) -> Plan:
        return self.plan[min(number, len(self.plan) - 1)]

    def let_in_quietly(self, request: Request) -> None:
        """Look at the key."""
        if self.rules.key and request.headers.get("authorization") != f"Bearer {self.rules.key}":
            raise Refused(Problem(401, "Incorrect API key provided.", code="invalid_api_key"))

    def nothing(self, what: str) -> Refused:
        return Refused(Problem(404, f"No such {what} object."))

    def event(self, name: str) -> None:
        with (self.folder / "events.log").open("a") as file:
            file.write(f"{name}\n")

    async def hold(self, name: str) -> None:
        self.event(name)
        await asyncio.sleep(self.hold_s)

    def first(self, name: str) -> bool:
        return (self.folder / "events.log").read_text().split().count(name) == 1

    def listing(self, request: Request, found: list[dict[str, Any]]) -> Response:
        found.sort(key=lambda one: (one.get("_made", one["created_at"]), one["id"]), reverse=True)
        after = request.query_params.get("after")
        start = next((place + 1 for place, one in enumerate(found) if one["id"] == after), 0)
        limit = min(_PAGE, int(request.query_params.get("limit", 20)))
        page = found[start : start + limit]
        more = start + limit < len(found)
        body = {"object": "list", "data": [_public(one) for one in page], "has_more": more}
        return JSONResponse(body | ({"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}))

    def shown(self, batch: dict[str, Any]) -> Response:
        return JSONResponse(_public(batch))

    def write(self, name: str, value: Any) -> None:
        path = self.folder / name
        partial = path.with_suffix(f".{os.urandom(4).hex()}.partial")
        partial.write_text(json.dumps(value))
        partial.replace(path)

    def append(self, name: str, value: Any) -> None:
        with (self.folder / name).open("a") as file:
            file.write(json.dumps(value) + "\n")

    def read(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _public(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if not name.startswith("_")}


def _unanswered(custom_id: str, status: str) -> dict[str, Any]:
    error = {"code": f"batch_{status}", "message": "This request was not executed."}
    return {"id": "batch_req_none", "custom_id": custom_id, "response": None, "error": error}


def _problems(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is wrong with the lines of a file."""
    found, seen = [], set()
    for number, one in enumerate(requests, 1):
        known = {"custom_id", "method", "url", "body"} == set(one) and one["method"] == "POST"
        if not known or one["url"] != "/v1/chat/completions" or not 0 < len(one["custom_id"]) <= 64:
            found.append({"code": "invalid_request", "message": "The line is no request.", "line": number})
        elif one["custom_id"] in seen:
            found.append({"code": "duplicate_custom_id", "message": "The id is there twice.", "line": number})
        seen.add(one.get("custom_id"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(PROVIDERS), default="openai")
    parser.add_argument("--folder", type=Path, required=True, help="its state, made where there is none")
    parser.add_argument("--plan", type=json.loads, default=[{}], help="what happens to the n-th batch, as JSON")
    parser.add_argument("--hold-s", type=float, default=0.0, help="how long answers are held back")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input is closed")
    options = parser.parse_args()
    if options.exit_with_stdin:
        exit_with_stdin()
    rules = replace(PROVIDERS[options.provider], caches_from=0)  # whose beginnings are cached hangs on the order
    standin = BatchStandIn(rules, options.folder, [Plan(**one) for one in options.plan], options.hold_s)
    config = uvicorn.Config(standin.app(), host="127.0.0.1", port=options.port, log_level="warning", lifespan="off")
    socket = config.bind_socket()
    socket.listen(256)
    standin.origin = f"http://127.0.0.1:{socket.getsockname()[1]}"
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(standin.url, flush=True)
    uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    main()
