"""The body of a chat request, as one endpoint takes it: the same for a request that is sent and a line of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from equal_hf.extraction.transport.schema_forms import JSON_MODE, guided
from equal_hf.types import Messages

LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
SAMPLING_FIELDS = ("temperature", "seed")
STREAM_FIELDS = ("stream", "stream_options", "continuous_usage_stats", "timings_per_token")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server takes in a chat request, as it was found out.

    Args:
        schema_form (`str`, *optional*, defaults to `"json_schema"`): How it is given a JSON schema, or asked for JSON
            (`JSON_MODE`); `None` if it takes neither.
        limit_field (`str`, *optional*, defaults to `"max_tokens"`): What it calls the limit of a reply.
        left_out (`frozenset[str]`, *optional*): Sampling parameters that it refuses.
    """

    schema_form: str | None = "json_schema"
    limit_field: str = LIMIT_FIELDS[0]
    left_out: frozenset[str] = frozenset()

    def without(self, parameter: str) -> Capabilities | None:
        """The same for a server that refuses a parameter: renamed, or left out; `None` where neither is possible.

        Args:
            parameter (`str`): Its name in the body.

        >>> Capabilities().without("max_tokens").limit_field, Capabilities().without("seed").left_out
        ('max_completion_tokens', frozenset({'seed'}))
        >>> Capabilities().without("seed").without("seed") is None
        True
        """
        if parameter == LIMIT_FIELDS[0] and self.limit_field == parameter:
            return replace(self, limit_field=LIMIT_FIELDS[1])
        if parameter in SAMPLING_FIELDS and parameter not in self.left_out:
            return replace(self, left_out=self.left_out | {parameter})
        return None

    def sampling(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Those sampling parameters that are sent."""
        return {name: value for name, value in asked.items() if name not in self.left_out}


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

    >>> chat_body(Capabilities(), "m", [], None, 16, {"temperature": 0.0}, {"service_tier": "flex"})
    {'messages': [], 'model': 'm', 'max_tokens': 16, 'temperature': 0.0, 'service_tier': 'flex'}
    """
    body: dict[str, Any] = {"messages": messages, "model": model, capabilities.limit_field: max_tokens}
    body |= capabilities.sampling(sampling)
    form = capabilities.schema_form
    if form is not None and (schema is not None or form == JSON_MODE):
        body |= guided(form, schema or {})
    return body | dict(extra or {})
