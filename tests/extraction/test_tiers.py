"""What is billed at a tier of its own, and thoughts that a provider counts in its own way, are booked as billed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from equal_hf.extraction.budget import Prices
from equal_hf.extraction.responses.ledger_lines import add_up
from equal_hf.extraction.responses.store_stats import ledger_lines
from equal_hf.types import Allowance, Usage
from tests.extraction.batch.test_batches import documents, pairs
from tests.extraction.endpoints import completion, extractor
from tests.servers.batches import BatchStandIn, Plan
from tests.servers.providers import PROVIDERS
from tests.servers.providers.openai import CHAT
from tests.servers.standin import StandIn

PRICES = Prices(1000.0, 2000.0)
USAGE = {"prompt_tokens": 100, "completion_tokens": 50}
OF_ONE = PRICES.cost(Usage(100, 50))


@pytest.mark.parametrize("told", ["priority", None, "default"])
def test_priority_is_booked_at_its_price_unless_it_was_not_served(tmp_path, told) -> None:
    path = tmp_path / "responses.sqlite"
    with StandIn(CHAT) as server:
        server.judge = lambda body, _: completion(usage=USAGE, service_tier=told)
        options = {"api_key": CHAT.key, "model": CHAT.model, "store": path, "prices": PRICES}
        endpoint = extractor(server.url, body={"service_tier": "priority"}, **options)
        endpoint.begin("run")
        assert len(endpoint.extract(documents(3))) == 3
        assert endpoint.paid().cost == 3 * OF_ONE * (1 if told == "default" else 2)
        (line,) = [line for line in add_up(ledger_lines(path), "run", "tier") if line.run == "run"]
        assert line.tier == ("" if told == "default" else "priority")
        endpoint.close()


def test_priority_that_is_set_for_a_whole_project_is_reserved_for(tmp_path) -> None:
    """It shows in the first reply. What two documents can cost at the full price is what one can at that tier."""
    with StandIn(CHAT) as server:
        server.judge = lambda body, _: completion(usage=USAGE, service_tier="priority")
        endpoint = extractor(server.url, api_key=CHAT.key, model=CHAT.model, prices=PRICES, max_new_tokens=100)
        endpoint.extract(documents(1))
        limit = endpoint.paid().cost
        for cap in (limit, limit + 1, 5 * limit):
            before = endpoint.paid().cost
            endpoint.extract(documents(40), Allowance(cost=cap))
            assert endpoint.paid().cost - before <= cap
        assert endpoint.paid().cost > limit


def test_geminis_thoughts_are_booked_in_batches_too(tmp_path) -> None:
    rules = PROVIDERS["gemini"]
    path = tmp_path / "responses.sqlite"
    prices = Prices(rules.rates.prompt, rules.rates.completion)
    with BatchStandIn(replace(rules, caches_from=0), tmp_path / "server", (Plan(per_s=1000),)) as server:
        options = {"api_key": rules.key, "model": rules.model, "store": path, "model_revision": "r"}
        endpoint = extractor(server.url, batch=True, batch_poll_s=0.05, prices=prices, max_new_tokens=2000, **options)
        endpoint.begin("run")
        assert pairs(endpoint.extract(documents(4))) == 8
        charges = [charge for charge in server.charges() if charge["tier"] == "batch"]
        assert len(charges) == 4 and all(charge["reasoning"] for charge in charges)
        assert endpoint.paid().cost == sum(charge["cost"] for charge in charges)
        endpoint.close()
