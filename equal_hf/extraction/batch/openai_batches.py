"""Batches by OpenAI's routes, which Azure, Groq and others have too: `/v1/files` and `/v1/batches`.

Looked at: the `openai` package has these routes as plain calls, with retries and faults of its own; the session that
chat requests go through takes them as well, and tells what went wrong in the same words.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

from equal_hf.extraction.batch.jsonl import line, objects
from equal_hf.extraction.batch.provider import BatchAnswer, BatchStatus, State
from equal_hf.extraction.transport.exchange import Exchange, StatusError
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.extraction.transport.url import Address
from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.printable import escape

CHAT = "/v1/chat/completions"
# The key of our name in a batch's metadata.
NAME = "equal_hf_batch"
_WINDOW = "24h"
_SHORT_TIMEOUT_S = 30.0
_FILE_TIMEOUT_S = 600.0
_PAGE = 100
# A provider's clock may be this much behind ours.
_SKEW_S = 3600.0
_ENDINGS: tuple[State, ...] = ("completed", "expired", "cancelled", "failed")
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,255}")
# Statuses of a server that has no such path.
_NO_PATH = (404, 405, 410, 501)


class OpenAIBatches:
    """A [`BatchProvider`] by OpenAI's routes.

    Args:
        address ([`Address`]): The endpoint.
    """

    max_requests = 50_000
    max_bytes = 200_000_000

    def __init__(self, address: Address) -> None:
        self.exchange = Exchange(address)
        self.shown = address.shown
        self.thoughts_in_total = address.is_gemini

    async def close(self) -> None:
        """Close all connections."""
        await self.exchange.close()

    def line(self, custom_id: str, body: dict[str, Any]) -> bytes:
        """A chat request as a line of a batch's file."""
        return line({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body})

    async def check(self) -> None:
        """Raise `EndpointError` where there are no batches to be had."""
        try:
            listing = await self._json("GET", "/v1/batches", params={"limit": 1})
        except (StatusError, Refusal, TransportFault) as problem:
            status = getattr(problem, "status", 0)
            if status not in _NO_PATH and not (isinstance(problem, TransportFault) and problem.kind == "malformed"):
                raise
            listing = None
        if not isinstance(listing, dict) or not isinstance(listing.get("data"), list):
            raise self.exchange.error("it takes no batches (GET /v1/batches). Leave out `extractor_batch`.")

    async def upload(self, name: str, file: BinaryIO) -> str:
        """Send a file of requests; its id."""
        answer = await self._json(
            "POST",
            "/v1/files",
            _FILE_TIMEOUT_S,
            data={"purpose": "batch"},
            files={"file": (_file_name(name), file, "application/jsonl")},
        )
        return _id(answer, "file")

    async def find_upload(self, name: str) -> str | None:
        """The id of a file that was sent under this name."""

        def is_it(one: dict[str, Any]) -> bool:
            return one.get("filename") == _file_name(name)

        found = await self._first("/v1/files", {"purpose": "batch"}, is_it)
        return None if found is None else _id(found, "file")

    async def submit(self, name: str, file_id: str) -> BatchStatus:
        """Make a batch of an uploaded file."""
        body = {
            "input_file_id": file_id,
            "endpoint": CHAT,
            "completion_window": _WINDOW,
            "metadata": {NAME: name},
        }
        return self._status(await self._json("POST", "/v1/batches", json=body))

    async def find(self, name: str, file_id: str, since_unix_s: float) -> BatchStatus | None:
        """The batch that was made under this name."""

        def is_it(one: dict[str, Any]) -> bool:
            metadata = one.get("metadata")
            named = isinstance(metadata, dict) and metadata.get(NAME) == name
            return named or (bool(file_id) and one.get("input_file_id") == file_id)

        def is_older(one: dict[str, Any]) -> bool:
            made = one.get("created_at")
            return isinstance(made, int | float) and made < since_unix_s - _SKEW_S

        found = await self._first("/v1/batches", {}, is_it, is_older)
        return None if found is None else self._status(found)

    async def status(self, batch_id: str) -> BatchStatus | None:
        """How far a batch is."""
        return await self._known("GET", f"/v1/batches/{batch_id}")

    async def cancel(self, batch_id: str) -> BatchStatus | None:
        """Do nothing more of a batch."""
        return await self._known("POST", f"/v1/batches/{batch_id}/cancel")

    async def _known(self, method: str, path: str) -> BatchStatus | None:
        try:
            return self._status(await self._json(method, path))
        except StatusError as error:
            if error.status in (404, 410):
                return None
            raise

    async def answers(self, status: BatchStatus) -> AsyncIterator[BatchAnswer]:
        """What became of the requests of a batch that has ended."""
        for file_id in status.files:
            async for one in objects(self._content(file_id)):
                if isinstance(custom_id := one.get("custom_id"), str):
                    yield _answer(custom_id, one)

    async def discard(self, file_id: str) -> None:
        """Delete a file."""
        try:
            await self.exchange.send("DELETE", f"/v1/files/{file_id}", _SHORT_TIMEOUT_S)
        except StatusError as error:
            if error.status not in _NO_PATH:
                raise

    async def _json(self, method: str, path: str, timeout_s: float = _SHORT_TIMEOUT_S, **content: Any) -> Any:
        if "params" in content:  # beside those of the endpoint's own URL
            content["params"] = dict(parse_qsl(urlsplit(self.exchange.address.base).query)) | content["params"]
        response = await self.exchange.send(method, path, timeout_s, **content)
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise TransportFault(f"the answer of {path} is no JSON", kind="malformed") from error

    async def _first(
        self,
        path: str,
        query: dict[str, Any],
        is_it: Callable[[dict[str, Any]], bool],
        is_last: Callable[[dict[str, Any]], bool] = lambda one: False,
    ) -> dict[str, Any] | None:
        """The first of a list, newest first and page by page, that is the one looked for."""
        after: dict[str, str] = {}
        while True:
            listing = await self._json("GET", path, params={**query, **after, "limit": _PAGE})
            data = listing.get("data") if isinstance(listing, dict) else None
            page = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
            for one in page:
                if is_it(one):
                    return one
                if is_last(one):
                    return None
            last = page[-1].get("id") if page else None
            if not listing.get("has_more") or not isinstance(last, str) or after == {"after": last}:
                return None
            after = {"after": last}

    async def _content(self, file_id: str) -> AsyncIterator[bytes]:
        """A file, in pieces."""
        exchange = self.exchange
        url = exchange.address.at(f"/v1/files/{file_id}/content")
        async with (
            exchange.session(_FILE_TIMEOUT_S) as session,
            session.stream("GET", url, headers=exchange.address.sent(), timeout=_FILE_TIMEOUT_S) as response,
        ):
            if not response.is_success:
                await response.aread()
                exchange.raise_for(response)
            async for chunk in response.aiter_bytes():
                yield chunk

    def _status(self, answer: Any) -> BatchStatus:
        batch_id = _id(answer, "batch")
        counts = answer.get("request_counts")
        counts = counts if isinstance(counts, dict) else {}
        errors = answer.get("errors")
        data = errors.get("data") if isinstance(errors, dict) else None
        told = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
        files = (answer.get("output_file_id"), answer.get("error_file_id"))
        return BatchStatus(
            batch_id,
            next((state for state in _ENDINGS if state == answer.get("status")), "running"),
            _count(counts.get("completed")),
            _count(counts.get("failed")),
            files=tuple(one for one in files if isinstance(one, str) and one),
            reason=escape(self.exchange.address.redact("; ".join(map(_words, told[:3])))),
            code=next((str(one["code"]) for one in told if one.get("code")), ""),
        )


async def require_batches(address: Address) -> None:
    """Raise `EndpointError` where an endpoint takes no batches.

    Args:
        address ([`Address`]): The endpoint.
    """
    provider = OpenAIBatches(address)
    try:
        await provider.check()
    finally:
        await provider.close()


def _file_name(name: str) -> str:
    return f"{name}.jsonl"


def _id(answer: Any, what: str) -> str:
    found = answer.get("id") if isinstance(answer, dict) else None
    if not isinstance(found, str) or not _ID.fullmatch(found):  # it becomes part of a path
        raise TransportFault(f"the answer names no {what}", kind="malformed")
    return found


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def _words(error: dict[str, Any]) -> str:
    where = f"line {error['line']}: " if isinstance(error.get("line"), int) else ""
    said = " ".join(str(error.get("message") or error.get("code") or "no reason given").split())
    return where + said[:300]


def _answer(custom_id: str, one: dict[str, Any]) -> BatchAnswer:
    response, error = one.get("response"), one.get("error")
    if isinstance(response, dict):
        return BatchAnswer(custom_id, _count(response.get("status_code")), response.get("body"))
    told = error if isinstance(error, dict) else {}
    why = mask_known(str(told.get("code") or told.get("message") or "no answer"))
    return BatchAnswer(custom_id, 0, None, why[:300])
