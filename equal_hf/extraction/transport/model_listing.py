"""What a list of models (`/v1/models`) tells of one: its context, and its price.

Servers name them in their own ways; the router of Hugging Face lists the providers of a model, and what each of them
takes and costs. Where a request may go to several, the smallest context and the dearest price hold.

>>> pricing = {"input": 0.1, "output": 0.4}
>>> entry = {"id": "org/model", "providers": [{"provider": "a", "context_length": 8192, "pricing": pricing}]}
>>> listed([entry], "org/model:a")
Listed(context=8192, prices={'completion': 0.4, 'prompt': 0.1})
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CONTEXTS = ("max_model_len", "context_length", "context_window", "loaded_context_length", "max_context_length")
# By the name that they have here: a million tokens' price, and one token's.
_PER_MILLION = {
    "prompt": ("input", "input_tokens"),
    "completion": ("output", "output_tokens"),
    "cached": ("cached_input", "cache_read_tokens"),
}
_PER_TOKEN = {"prompt": "prompt", "completion": "completion", "cached": "input_cache_read"}


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list tells of a model.

    Args:
        context (`int`, *optional*): Most tokens of prompt and reply together.
        prices (`Mapping[str, float]`, *optional*): Prices of a million tokens, by `prompt`, `completion` and `cached`,
            in the currency of whoever bills.
    """

    context: int | None = None
    prices: Mapping[str, float] | None = None


def listed(entries: Sequence[Mapping[str, Any]], model: str) -> Listed:
    """What the entries of a list tell of a model.

    Args:
        entries (`Sequence[Mapping[str, Any]]`): The list.
        model (`str`): The model that requests ask for; behind a colon may stand one of its providers.
    """
    entry = next((one for one in entries if one.get("id") == model), None)
    name, _, provider = model.rpartition(":")
    if entry is None and name:
        entry = next((one for one in entries if one.get("id") == name), None)
    if entry is None:
        return Listed()
    offers = [entry, *_providers(entry, provider)]
    contexts = [context for offer in offers if (context := _context(offer)) is not None]
    prices = [price for offer in offers if (price := _prices(offer)) is not None]
    names = {name for price in prices for name in price}
    dearest = {name: max(price.get(name, price["prompt"]) for price in prices) for name in sorted(names)}
    return Listed(min(contexts, default=None), dearest or None)


def _providers(entry: Mapping[str, Any], provider: str) -> list[Mapping[str, Any]]:
    """Those that may answer: the one that is named, else all that are there."""
    offers = entry.get("providers")
    offers = [offer for offer in offers if isinstance(offer, Mapping)] if isinstance(offers, list) else []
    named = [offer for offer in offers if provider and offer.get("provider") == provider]
    return named or [offer for offer in offers if offer.get("status", "live") == "live"]


def _context(offer: Mapping[str, Any]) -> int | None:
    top = offer.get("top_provider")
    values = [offer.get(name) for name in _CONTEXTS]
    values += [top.get("context_length")] if isinstance(top, Mapping) else []
    counts = [value for value in values if isinstance(value, int) and not isinstance(value, bool) and value > 0]
    return min(counts, default=None)


def _prices(offer: Mapping[str, Any]) -> dict[str, float] | None:
    pricing = offer.get("pricing")
    if not isinstance(pricing, Mapping):
        return None
    found: dict[str, float | None] = {}
    for name, many in _PER_MILLION.items():
        found[name] = next((price for one in many if (price := _price(pricing.get(one))) is not None), None)
        if found[name] is None and (price := _price(pricing.get(_PER_TOKEN[name]))) is not None:
            found[name] = round(price * 1e6, 9)
    if found["prompt"] is None or found["completion"] is None:
        return None
    return {name: price for name, price in found.items() if price is not None}


def _price(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        price = float(value)
    except (ValueError, OverflowError):
        return None
    return price if math.isfinite(price) and price >= 0 else None
