"""One corpus through every server and service: the same pairs, its tokens and money to the unit of what it bills."""

from __future__ import annotations

import pytest

from equal_hf.extraction.budget import Prices
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.extraction.first_ledger import PROBES
from equal_hf.types import Document
from tests.extraction.endpoints import SHORT, total
from tests.servers.faults import FaultyServer
from tests.servers.marked import marked_document, marked_pairs
from tests.servers.providers import PROVIDERS
from tests.servers.standin import StandIn

DOCUMENTS = [Document(f"d{number}", marked_document(number, pairs=number % 3), number) for number in range(6)]
PAIRS = [marked_pairs(document.text) for document in DOCUMENTS]

# What each does with a schema, and the form in which it is asked to.
SCHEMAS = dict.fromkeys(PROVIDERS, ("heeded", "json_schema")) | {
    "groq-json": ("json_mode", "json_mode"),
    "deepseek": ("json_mode", "json_mode"),
    "router-together": ("ignored", "json_schema"),
    "transformers": ("ignored", "json_schema"),
    "vllm": ("heeded", "structured_outputs"),
    "vllm-reasoning": ("heeded", "structured_outputs"),
    "llama.cpp": ("heeded", "json_object"),
    "tgi": ("heeded", "json"),
}
# These say nothing of what was thought.
SILENT = ("ollama", "router-together", "transformers", "vllm", "vllm-reasoning-content")


def connected(server: StandIn, **settings) -> EndpointExtractor:
    """An extractor as a user of this provider would set it up."""
    rules, rates = server.rules, server.rules.rates
    way_in = {}
    if rules.key:
        way_in = {"api_key": rules.key} if "bearer" in rules.key_headers else {"headers": {"api-key": rules.key}}
    tiers = {tier: rates.tiers.get(tier, 1.0) for tier in ("flex", "batch")}
    prices = Prices(rates.prompt, rates.completion, rates.cached, **tiers)
    known = {"model": rules.model, "max_new_tokens": 600, "prompt": SHORT, "prices": prices}
    return EndpointExtractor(server.url, **(known | way_in | settings))


def booked(endpoint: EndpointExtractor) -> int:
    """All that is in the ledger, in billionths: what the run paid, and the first contact."""
    return endpoint.paid().cost + endpoint._store.paid(PROBES).cost


def form_of(body: dict) -> str | None:
    """The form of schema that a body asks for."""
    return "structured_outputs" if "structured_outputs" in body else body.get("response_format", {}).get("type")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_same_pairs_for_what_the_provider_bills(provider: str) -> None:
    with StandIn(provider) as server:
        endpoint = connected(server)
        endpoint.begin("run")
        endpoint.check()
        probed = server.bill.total
        extractions = endpoint.extract(DOCUMENTS)
        found = [[(pair.question, pair.answer) for pair in extraction.pairs] for extraction in extractions]
        assert found == PAIRS
        used, paid, charged = total(extractions), endpoint.paid(), server.bill.total
        assert used.requests == len(DOCUMENTS)
        assert used.prompt_tokens == charged.prompt - probed.prompt
        assert used.cached_tokens == charged.cached - probed.cached
        assert used.completion_tokens == charged.completion - probed.completion
        thought = 0 if provider in SILENT else charged.reasoning - probed.reasoning
        assert used.reasoning_tokens == thought
        assert paid.cost == charged.cost - probed.cost
        assert booked(endpoint) == charged.cost
        state, form = SCHEMAS[provider]
        (told,) = endpoint.describe()["endpoints"]
        assert (told["schema"], told["schema_form"]) == (state, form)
        assert form_of(server.chats[-1].body) == {"json_mode": "json_object"}.get(form, form)
        endpoint.close()


def test_the_real_llama_cpp_in_every_form_it_heeds(llama) -> None:
    """Its tiny model writes nonsense, but along the schema, and the same nonsense in every form."""
    replies: list[dict] = []

    def recorded(reply: dict) -> dict:
        replies.append(reply)
        return reply

    found = {}
    for dialect, form in (("auto", "json_object"), ("openai", "json_schema")):
        with FaultyServer(llama, change_reply=recorded) as server:
            endpoint = EndpointExtractor(
                server.url,
                dialect=dialect,
                temperature=0.9,
                max_new_tokens=200,
                prompt=SHORT,
                prices=Prices(1.0, 2.0),
                stream="false",
            )
            endpoint.begin("run")
            endpoint.check()
            replies.clear()
            extractions = endpoint.extract(DOCUMENTS)
            found[form] = [[(pair.question, pair.answer) for pair in extraction.pairs] for extraction in extractions]
            used = total(extractions)
            assert len(replies) == used.requests
            for name in ("prompt_tokens", "completion_tokens"):
                assert getattr(used, name) == sum(reply["usage"][name] for reply in replies)
            assert endpoint.paid().cost == used.prompt_tokens * 1000 + used.completion_tokens * 2000
            (told,) = endpoint.describe()["endpoints"]
            assert (told["schema"], told["schema_form"]) == ("heeded", form)
            assert form_of(server.chats[-1].body) == form
            endpoint.close()
    assert found["json_object"] == found["json_schema"] and any(found["json_schema"])
