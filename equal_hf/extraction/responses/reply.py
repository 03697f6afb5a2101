"""What an endpoint answered, and the address it is stored under.

>>> Reply("", "stop", Usage()).serves(16, 1024), Reply("", "length", Usage()).serves(16, 1024)
(True, False)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from equal_hf.types import Messages, Usage


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint answered.

    Args:
        text (`str`): The raw reply; for a refusal, the server's error.
        finish_reason (`str`): `"stop"`, `"length"` (cut short), or `"refused"` (it will be refused every time).
        usage (`Usage`): Tokens of this one request.
    """

    text: str
    finish_reason: str
    usage: Usage

    def serves(self, paid_max_new_tokens: int, max_new_tokens: int) -> bool:
        """Whether a reply obtained under one limit answers a request under another."""
        if self.finish_reason == "length":
            return max_new_tokens <= paid_max_new_tokens
        if self.finish_reason == "refused":  # asking for fewer tokens may fit the context after all
            return max_new_tokens >= paid_max_new_tokens
        return True


def response_key(
    model: str,
    revision: str,
    messages: Messages,
    sampling: Mapping[str, Any],
    schema: Mapping[str, Any] | None = None,
    attempt: int = 0,
) -> str:
    """The address of a reply: SHA-256 over everything that determines it.

    Args:
        model (`str`): Model id.
        revision (`str`): The model's revision, or `"unknown"`.
        messages (`list[dict[str, str]]`): The messages as sent.
        sampling (`Mapping[str, Any]`): Sampling parameters that change the reply, such as `temperature` and `seed`.
        schema (`Mapping[str, Any]`, *optional*): The JSON schema that guides decoding.
        attempt (`int`, *optional*, defaults to `0`): 0 for the first request, 1 for its repair.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    parts = [model, revision, messages, dict(sampling), dict(schema) if schema is not None else None, attempt]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
