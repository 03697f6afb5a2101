"""The body of a chat request, as one endpoint takes it: the same for a request that is sent and a line of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from equal_hf.extraction.transport.dialects import guided
from equal_hf.types import Messages


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server takes in a chat request, as it was found out.

    Args:
        dialect (`str`): What kind of server it is.
    """

    dialect: str


def chat_body(
    capabilities: Capabilities,
    model: str,
    messages: Messages,
    schema: Mapping[str, Any] | None,
    max_tokens: int,
    sampling: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body of a chat request.

    Args:
        capabilities ([`Capabilities`]): What the server takes.
        model (`str`): The model's name there.
        messages (`list[dict[str, str]]`): The conversation.
        schema (`Mapping[str, Any]`, *optional*): What the reply should look like.
        max_tokens (`int`): Limit of the reply, thoughts included.
        sampling (`Mapping[str, Any]`): Sampling parameters.
        extra (`Mapping[str, Any]`, *optional*): Further fields of the user's own, which go before all others.

    >>> chat_body(Capabilities("openai"), "m", [], None, 16, {"temperature": 0.0}, {"service_tier": "flex"})
    {'messages': [], 'model': 'm', 'max_tokens': 16, 'temperature': 0.0, 'service_tier': 'flex'}
    """
    body: dict[str, Any] = {"messages": messages, "model": model, "max_tokens": max_tokens, **sampling}
    if schema is not None:
        body |= guided(capabilities.dialect, dict(schema))
    return body | dict(extra or {})
