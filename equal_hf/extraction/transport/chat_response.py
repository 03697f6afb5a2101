"""A chat completion as the server gave it: reply text, what it used, or what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from equal_hf.extraction.transport.faults import TransportFault, judge_error
from equal_hf.types import Usage
from equal_hf.utils.known_secrets import mask_known


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """What is taken from a chat completion, whose fields the client library leaves unchecked.

    >>> from types import SimpleNamespace as Fields
    >>> choice = Fields(message=Fields(content="Hello!"), finish_reason="eos_token")
    >>> ChatResponse.read(Fields(choices=[choice], usage=Fields(prompt_tokens=9, completion_tokens=None)))
    ChatResponse(text='Hello!', cut_short=False, prompt_tokens=9, completion_tokens=None, refused=False)

    Args:
        text (`str`): The reply text; empty where there is none.
        cut_short (`bool`): Whether it ended at the limit of tokens.
        prompt_tokens (`int`, *optional*): The server's count; `None` where it gave none.
        completion_tokens (`int`, *optional*): The same for the reply.
        refused (`bool`): Whether the model or a filter on its words refused; the text then says so.
    """

    text: str
    cut_short: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    refused: bool = False

    @classmethod
    def read(cls, output: Any) -> ChatResponse:
        """Read a `ChatCompletionOutput`.

        Raises:
            `TransportFault`: If it holds no message: an error with status 200, or some other JSON. What it says
                that it used goes with it.
            `Refusal`, `Blocked`: If it is an error of theirs.
        """
        usage = _usage(getattr(output, "usage", None))
        choices = getattr(output, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        content = _joined(getattr(message, "content", None)) or _tool_arguments(message)
        if message is None and (error := getattr(output, "error", None)):
            raise judge_error(error, usage)
        if message is None or not isinstance(content, str | None):
            raise TransportFault("the answer is no chat completion", kind="malformed", usage=usage)
        finish_reason = getattr(choice, "finish_reason", None)
        refusal = _refusal(message, finish_reason, content or "")
        # JSON can spell a lone surrogate, which no file can hold.
        text = (refusal or content or "").encode("utf-8", "replace").decode()
        counts = getattr(output, "usage", None)
        return cls(
            mask_known(text),  # a server may echo what it was sent
            finish_reason == "length" and refusal is None,
            _count(getattr(counts, "prompt_tokens", None)),
            _count(getattr(counts, "completion_tokens", None)),
            refusal is not None,
        )


def _joined(content: Any) -> Any:
    """The text of a content that comes in parts, less those of other kinds, such as what a model thought."""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return content
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _refusal(message: Any, finish_reason: Any, content: str) -> str | None:
    """What is said of a refusal in place of a reply; `None` where there is none. Some gateways say more behind the
    name of a finish reason."""
    parts = getattr(message, "content", None)
    words = [part.get("refusal") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    said = next((one for one in (getattr(message, "refusal", None), *words) if isinstance(one, str) and one), "")
    if isinstance(finish_reason, str) and finish_reason.lower().startswith(("content_filter", "refusal")):
        return f"{finish_reason}: {said or content}".removesuffix(": ")
    return f"refusal: {said}" if said and not content.strip() else None


def _tool_arguments(message: Any) -> str | None:
    """What a model answered in a tool call instead, as JSON."""
    calls = getattr(message, "tool_calls", None)
    function = getattr(calls[0], "function", None) if isinstance(calls, list) and calls else None
    arguments = function.get("arguments") if isinstance(function, dict) else getattr(function, "arguments", None)
    if isinstance(arguments, dict):
        return json.dumps(arguments)
    return arguments if isinstance(arguments, str) else None


def _usage(usage: Any) -> Usage | None:
    prompt, completion = (_count(getattr(usage, f"{name}_tokens", None)) for name in ("prompt", "completion"))
    return None if prompt is None or completion is None else Usage(prompt, completion, 1)


def _count(value: Any) -> int | None:
    # No server counts so far: larger numbers are nonsense, and no database holds them.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
