"""A chat completion that is read as it is written, and ended where it has no more to give.

Servers of one's own stop generating when their client goes away. What was used up to there they say with every piece,
where they are asked to: vLLM and SGLang in `usage`, llama.cpp in `timings`. (The few tokens that they write until they
notice are not known, nor billed.) Others say it at the end alone, so that an ended reply counts as long as it could
have been.

| dialect | what is sent beside `stream` | usage is told |
|---|---|---|
| `vllm`, `sglang` | `stream_options: {"include_usage": true, "continuous_usage_stats": true}` | with every piece |
| `llama.cpp` | `stream_options: {"include_usage": true}`, `timings_per_token: true` | with every piece |
| others | `stream_options: {"include_usage": true}` | at the end |
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from equal_hf.extraction.transport.exchange import Exchange
from equal_hf.extraction.transport.faults import TransportFault

_OPTIONS: dict[str, dict[str, Any]] = {
    "vllm": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    "sglang": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    "llama.cpp": {"stream_options": {"include_usage": True}, "timings_per_token": True},
}
_OTHERS: dict[str, Any] = {"stream_options": {"include_usage": True}}
_TEXTS = ("content", "reasoning", "reasoning_content", "refusal")
# Each look at a connection takes the event loop as long as reading dozens of pieces. So many a second are enough, and
# a reply is not held up by more than this share of its time.
_LOOKS_PER_S = 1_500
_MOST_HELD_UP = 0.005
_MOST_BYTES = 64_000_000  # no reply has so many, whatever a server sends


class Watch(Protocol):
    """Reads a reply piece by piece, and says why and where it may be ended."""

    end: int | None

    def feed(self, piece: str) -> str | None:
        """Take the next piece; returns why the reply may be ended."""


def tells_usage(dialect: str) -> bool:
    """Whether a server of this dialect stops when its client goes away, and says what was used until then."""
    return dialect in _OPTIONS


@dataclass(frozen=True, slots=True)
class Stream:
    """How a reply is streamed.

    Args:
        dialect (`str`): What kind of server it comes from.
        watch (`Callable`): Makes a [`Watch`].
    """

    dialect: str
    watch: Callable[[], Watch]


async def read_stream(
    exchange: Exchange, path: str, body: dict[str, Any], timeout_s: float, stream: Stream
) -> tuple[dict[str, Any] | bytes, bool]:
    """Ask for a chat completion as a stream, and end it where a watch says so.

    Args:
        exchange ([`Exchange`]): The endpoint.
        path (`str`): Where chat requests go.
        body (`dict[str, Any]`): The request's, without what makes it a stream.
        timeout_s (`float`): Limit of the request, to the last byte.
        stream ([`Stream`]): How it is streamed.

    Returns:
        `tuple[dict[str, Any] | bytes, bool]`: The completion as it would have come in one piece, or what cannot be
        read; and whether it was ended before the model did.

    Raises:
        `TransportFault`: If no usable answer came.
        `Refusal`: If the server refuses this request for good.
        `EndpointError`: If it would refuse every request.
    """
    pieces = _Pieces(stream.watch)
    body = body | {"stream": True} | _OPTIONS.get(stream.dialect, _OTHERS)
    began_s = time.monotonic()
    async with exchange.stream(path, body, timeout_s) as (response, streams):
        if "text/event-stream" not in response.headers.get("content-type", ""):
            return await response.aread(), False  # a gateway that knows no streams
        async for data in response.aiter_bytes():
            if pieces.read(data):
                break
            await asyncio.sleep(min(streams() / _LOOKS_PER_S, _MOST_HELD_UP * (time.monotonic() - began_s)))
    return pieces.answer()


class _Pieces:
    """What the pieces of a stream add up to."""

    def __init__(self, watch: Callable[[], Watch]) -> None:
        self._watch, self._thoughts = watch(), watch()
        self._rest = b""
        self._bytes = 0
        self._texts: dict[str, list[str]] = {name: [] for name in _TEXTS}
        self._arguments: list[str] = []  # of a tool call that stands in for a reply
        self._answer: dict[str, Any] = {"usage": None}
        self._finish_reason: Any = None
        self._done = False
        self._why: str | None = None
        self._unread: bytes | None = None

    def read(self, data: bytes) -> bool:
        """Take what came; returns whether that is enough."""
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES:
            self._unread = data
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        return any(self._event(line[5:].strip()) for line in lines if line.startswith(b"data:"))

    def answer(self) -> tuple[dict[str, Any] | bytes, bool]:
        """The completion so far, and whether the model had not ended it."""
        if self._unread is not None:
            return self._unread, False
        message: dict[str, Any] = {name: "".join(texts) for name, texts in self._texts.items() if texts}
        if self._arguments:
            message["tool_calls"] = [{"function": {"arguments": "".join(self._arguments)}}]
        if self._why is not None:
            message["content"] = message.get("content", "")[: self._watch.end]
        elif self._finish_reason is None and not self._done and "error" not in self._answer:
            raise TransportFault("the stream ended before the reply did")
        choice = {"message": {"content": None} | message, "finish_reason": self._finish_reason}
        choices = {} if "error" in self._answer else {"choices": [choice]}
        return self._answer | choices, self._why in ("repeats", "blank")

    def _event(self, data: bytes) -> bool:
        if data == b"[DONE]":
            self._done = True
            return False
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            self._unread = data
            return True
        self._answer |= {name: event[name] for name in ("error", "service_tier") if event.get(name) is not None}
        if (usage := event.get("usage") or _timed(event.get("timings"))) is not None:
            self._answer["usage"] = usage
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return False
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return False
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            if isinstance(arguments, str):
                self._arguments.append(arguments)
        for name in _TEXTS:
            text = delta.get(name)
            if isinstance(text, list):  # in parts, some of them thoughts
                text = "".join(str(part.get("text") or "") for part in text if isinstance(part, dict))
            if isinstance(text, str) and text:
                self._texts[name].append(text)
                if name == "content":
                    self._why = self._watch.feed(text)
                elif name != "refusal" and self._thoughts.feed(text) == "repeats":
                    self._why = "repeats"
        return self._why is not None


def _timed(timings: Any) -> dict[str, Any] | None:
    """llama.cpp's count so far, as `usage`."""
    if not isinstance(timings, dict):
        return None
    new, cached, completion = (timings.get(name) for name in ("prompt_n", "cache_n", "predicted_n"))
    if not isinstance(new, int) or not isinstance(completion, int):
        return None
    cached = cached if isinstance(cached, int) else 0
    return {
        "prompt_tokens": new + cached,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
