"""Flex: half the price where there is capacity, and the ledger says what was served."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from equal_hf.errors import ConfigError, EndpointError
from equal_hf.extraction.budget import Prices
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from tests.extraction.endpoints import extractor
from tests.extraction.test_endpoint_money import apples
from tests.servers.faults import Fault
from tests.servers.standin import StandIn

NO_CAPACITY = (
    Fault(429, body=json.dumps({"error": {"message": "Resource unavailable", "code": "resource_unavailable"}})),
    Fault(498, body='{"error": {"message": "flex tier capacity exceeded", "code": "capacity_exceeded"}}'),
)


def client(server: StandIn, store: Path, **options: Any) -> EndpointExtractor:
    rates = server.rules.rates
    settings = {"prices": Prices(rates.prompt, rates.completion, rates.cached), "model_revision": "r", "store": store}
    settings |= {"api_key": server.rules.key, "model": server.rules.model, "service_tier": "flex"}
    endpoint = extractor(server.url, **settings | options)
    endpoint.check()  # at the full price, and no run's
    server.bill.lines.clear()
    endpoint.begin("run")
    return endpoint


def tiers(server: StandIn) -> dict[str, int]:
    return {tier: line.requests for (_, _, tier), line in server.bill.lines.items()}


@pytest.mark.parametrize(("fallback", "served"), [(True, {"flex": 4, "default": 2}), (False, {"flex": 6})])
def test_without_capacity_it_is_waited_for_or_paid_in_full(tmp_path, fallback: bool, served: dict[str, int]) -> None:
    store = tmp_path / "responses.sqlite"
    with StandIn("openai-reasoning") as server:
        endpoint = client(server, store, flex_fallback=fallback, max_retries=0)
        server.faults += NO_CAPACITY
        extractions = endpoint.extract(apples(6))
        assert tiers(server) == served
        assert endpoint.paid().cost == server.bill.total.cost and endpoint.paid().unanswered == 0
        flex = [seen.body.get("service_tier") for seen in server.chats]
        assert flex.count("flex") == served["flex"] + 2
        with sqlite3.connect(store) as ledger:
            query = "SELECT tier, count(*) FROM attempts WHERE run = 'run' GROUP BY tier"
            booked = dict(ledger.execute(query))
        assert booked == {name.replace("default", ""): count for name, count in served.items()}
        # The tier is no part of a reply: without it, nothing is asked again.
        usual = client(server, store, service_tier=None)
        asked = len(server.chats)
        assert usual.extract(apples(6)) == extractions and len(server.chats) == asked


def test_a_server_that_does_not_tell_is_booked_at_the_full_price(tmp_path, caplog) -> None:
    with StandIn("openai-reasoning") as server:
        server.change_reply = lambda reply: {name: value for name, value in reply.items() if name != "service_tier"}
        endpoint = client(server, tmp_path / "responses.sqlite")
        endpoint.extract(apples(2))
        # Each of the server's costs is rounded up.
        assert 0 <= 2 * server.bill.total.cost - endpoint.paid().cost <= 2 and tiers(server) == {"flex": 2}
        assert "does not tell at which service tier" in caplog.text


def test_a_model_without_the_tier_ends_the_run_with_the_setting_to_change(tmp_path) -> None:
    with StandIn("openai") as server:
        endpoint = client(server, tmp_path / "responses.sqlite")
        with pytest.raises(EndpointError, match=r"service_tier: flex.*Leave out `extractor_service_tier`"):
            endpoint.extract(apples(2))
    with pytest.raises(ConfigError, match="both set"):
        extractor("http://localhost:1", service_tier="flex", batch=True)
    with pytest.raises(ConfigError, match="both set"):
        extractor("http://localhost:1", service_tier="flex", body={"service_tier": "priority"})
