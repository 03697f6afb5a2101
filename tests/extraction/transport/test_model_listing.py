"""What lists of models tell."""

from __future__ import annotations

import pytest

from equal_hf.extraction.transport.model_listing import Listed, listed
from tests.servers.providers.hosted import GROQ, OPENROUTER, ROUTER_MODELS
from tests.servers.providers.local import SGLANG, VLLM

ROUTER = ROUTER_MODELS["data"]


@pytest.mark.parametrize(
    ("entries", "model", "found"),
    [
        (ROUTER, "openai/gpt-oss-20b:groq", Listed(131_072, {"prompt": 0.075, "completion": 0.3})),
        (ROUTER, "openai/gpt-oss-20b:together", Listed(32_768, {"prompt": 0.05, "completion": 0.2})),
        # Whoever answers: the smallest context and the dearest price. One that is down is none.
        (ROUTER, "openai/gpt-oss-20b", Listed(32_768, {"prompt": 0.075, "completion": 0.3})),
        (ROUTER, "openai/gpt-oss-20b:cheapest", Listed(32_768, {"prompt": 0.075, "completion": 0.3})),
        (ROUTER, "no/such", Listed()),
        (
            OPENROUTER.pages["/v1/models"]["data"],
            OPENROUTER.model,
            Listed(131_072, {"prompt": 0.05, "completion": 0.2}),
        ),
        (GROQ.pages["/v1/models"]["data"], GROQ.model, Listed(131_072)),
        (VLLM.pages["/v1/models"]["data"], VLLM.model, Listed(32_768)),
        (SGLANG.pages["/v1/models"]["data"], SGLANG.model, Listed(32_768)),
        ([{"id": "qwen3:8b", "max_model_len": 7}], "qwen3:8b", Listed(7)),
    ],
)
def test_context_and_prices_of_the_model_that_is_asked_for(entries, model, found) -> None:
    assert listed(entries, model) == found


@pytest.mark.parametrize("junk", [None, "x", -1, True, [], {"a": 1}, 1e999, "nan", {"input": "free", "output": -1}])
def test_junk_tells_nothing(junk) -> None:
    entry = {"id": "m", "providers": junk, "pricing": junk, "context_length": junk if junk != 1e999 else "x"}
    assert listed([entry, {"id": "m:x", "providers": [junk]}], "m") == Listed()


def test_cached_prices_by_their_names() -> None:
    per_million = {"input": 2, "output": 8, "cached_input": 0.5}
    per_token = {"prompt": "0.000002", "completion": "0.000008", "input_cache_read": "0.0000005"}
    for pricing in (per_million, per_token):
        prices = listed([{"id": "m", "pricing": pricing}], "m").prices
        assert prices == {"prompt": 2.0, "completion": 8.0, "cached": 0.5}
