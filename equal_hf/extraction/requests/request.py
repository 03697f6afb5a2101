"""What one extractor asks of its endpoints, and one request of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equal_hf.extraction.budget import Prices
from equal_hf.types import Messages


@dataclass(frozen=True)
class Settings:
    """What one extractor asks of its endpoints.

    Args:
        model (`str`): What they serve.
        revision (`str`): The model's revision, or `"unknown"`.
        max_new_tokens (`int`): Limit of a reply text, in tokens.
        completion_limit (`int`): Limit of a response: what the model thinks, and its reply.
        prompt_limit (`int`, *optional*): Limit of a prompt.
        sampling (`dict[str, Any]`): Sampling parameters that change a response, as far as all endpoints take them.
        asked_sampling (`dict[str, Any]`): The same as the user asks for them.
        guided (`bool`): Whether responses are guided by a schema.
        prices ([`Prices`]): What tokens cost.
        record_reasoning (`bool`): Whether pairs carry what the model thought.
        service_tier (`str`): What single requests are asked at; empty for the provider's usual tier.
        extra (`dict[str, Any]`): Further fields of every body.
        dearest_tier (`str`): The service tier that single requests may be answered at and that costs more than the
            full price; empty for none.
    """

    model: str
    revision: str
    max_new_tokens: int
    completion_limit: int
    prompt_limit: int | None
    sampling: dict[str, Any]
    asked_sampling: dict[str, Any]
    guided: bool
    prices: Prices
    extra: dict[str, Any]
    record_reasoning: bool = False
    service_tier: str = ""
    dearest_tier: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be answered from the store.

    Args:
        key (`str`): Its key there.
        messages (`list[dict[str, str]]`): What is sent.
        bound (`int`): Upper bound of the prompt's tokens.
        schema (`dict[str, Any]`, *optional*): What the response is guided by.
    """

    key: str
    messages: Messages
    bound: int
    schema: dict[str, Any] | None
