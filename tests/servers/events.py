"""A completion in pieces, as providers stream it.

>>> reply = {"id": "1", "choices": [{"message": {"content": "Hello!"}, "finish_reason": "stop"}], "usage": {"n": 2}}
>>> for event, tokens in events(reply, {"stream_options": {"include_usage": True}}, 5): print(tokens, event)
2 {'id': '1', 'choices': [{'index': 0, 'delta': {'role': 'assistant', 'content': 'Hello!'}, 'finish_reason': None}]}
2 {'id': '1', 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]}
2 {'id': '1', 'choices': [], 'usage': {'n': 2}}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.servers.marked import tokens_of

_TEXTS = ("reasoning", "reasoning_content", "content", "refusal")
_PIECE = 12


def events(reply: dict[str, Any], body: dict[str, Any], prompt_tokens: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The events of a stream, each with the tokens that are written when it is sent.

    Args:
        reply (`dict[str, Any]`): The completion in one piece.
        body (`dict[str, Any]`): The request, whose options say which counts go along.
        prompt_tokens (`int`): Tokens of the prompt.
    """
    head = {name: value for name, value in reply.items() if name not in ("choices", "usage", "timings")}
    if "object" in head:
        head["object"] = "chat.completion.chunk"
    options = body.get("stream_options") or {}
    choice = reply["choices"][0]
    written, first = 0, {"role": "assistant"}
    for name in _TEXTS:
        text = choice["message"].get(name) or ""
        done = written
        for start in range(0, len(text), _PIECE):
            written = done + len(tokens_of(text[: start + _PIECE]))
            delta = first | {name: text[start : start + _PIECE]}
            event = head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            if options.get("continuous_usage_stats"):
                total = prompt_tokens + written
                event["usage"] = {
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": written,
                    "total_tokens": total,
                }
            if body.get("timings_per_token"):
                event["timings"] = {"prompt_n": prompt_tokens, "cache_n": 0, "predicted_n": written}
            first = {}
            yield event, written
    yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}, written
    if options.get("include_usage"):
        yield head | {"choices": [], "usage": reply["usage"]}, written
