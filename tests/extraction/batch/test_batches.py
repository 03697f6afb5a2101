"""Rounds sent as batches: half the price, each request paid once whatever happens to a batch, and the ledger is the
bill."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from equal_hf.errors import ConfigError, EndpointError
from equal_hf.extraction.batch import submission
from equal_hf.extraction.batch.openai_batches import OpenAIBatches
from equal_hf.extraction.budget import Prices
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Allowance, Document, Extraction, Usage
from tests.extraction.endpoints import MODELS, completion, extractor
from tests.servers.batches import BatchStandIn, Plan
from tests.servers.faults import FaultyServer
from tests.servers.marked import marked_document
from tests.servers.providers import PROVIDERS

RULES = replace(PROVIDERS["openai"], caches_from=0)
PRICES = Prices(0.4, 1.6)
PLAN = Plan(per_s=1000)


def documents(count: int) -> list[Document]:
    return [Document(f"d{number}", marked_document(number)) for number in range(count)]


@pytest.fixture
def serve(tmp_path, monkeypatch) -> Callable[..., Any]:
    monkeypatch.setattr(submission, "LATE_S", 0.05)

    @contextmanager
    def start(*plan: Plan, **options: Any) -> Iterator[BatchStandIn]:
        with BatchStandIn(RULES, tmp_path / "server", plan or (PLAN,), **options) as server:
            yield server

    return start


def client(server: BatchStandIn, folder: Path, run: str = "run", **options: Any) -> EndpointExtractor:
    settings = {"batch": True, "batch_poll_s": 0.05, "prices": PRICES, "model_revision": "r"}
    settings |= {"api_key": RULES.key, "model": RULES.model, "store": folder / "responses.sqlite"}
    endpoint = extractor(server.url, **settings | options)
    endpoint.begin(run)
    return endpoint


def pairs(extractions: list[Extraction]) -> int:
    return sum(len(extraction.pairs) for extraction in extractions)


def is_bill(server: BatchStandIn, *endpoints: EndpointExtractor) -> None:
    """The ledgers of all runs are what the server charged, less each one's probe, and nothing was charged twice."""
    charges = [charge for charge in server.charges() if charge["prompt"] > 20]
    assert max(Counter(charge["request"] for charge in charges).values(), default=1) == 1
    paid = [endpoint.paid() for endpoint in endpoints]
    assert sum(one.cost for one in paid) == sum(charge["cost"] for charge in charges)
    assert sum(one.unanswered for one in paid) == 0


def uploads(server: BatchStandIn) -> int:
    log = server.folder / "events.log"
    return log.read_text().split().count("submitted") if log.exists() else 0


def test_a_round_is_one_batch_at_half_the_price_and_its_replies_serve_all(serve, tmp_path) -> None:
    with serve() as server:
        endpoint = client(server, tmp_path)
        extractions = endpoint.extract(documents(12))
        assert pairs(extractions) == 24 and uploads(server) == 1
        assert {charge["tier"] for charge in server.charges()} == {"default", "batch"}, "the probe, and the batch"
        is_bill(server, endpoint)
        used = sum((extraction.usage for extraction in extractions), Usage())
        assert 0 < endpoint.paid().cost <= PRICES.cost(used) // 2 + 12
        assert [*(server.folder / "files").iterdir()] == [], "what was read is deleted"
        singly = client(server, tmp_path, "another", batch=False)
        assert singly.extract(documents(12)) == extractions and singly.paid().cost == 0
        endpoint.close()
        with ResponseStore(tmp_path / "responses.sqlite") as store:
            assert store.open_batches() == [] and {state for state, *_ in _attempts(store)} == {"answered"}
            assert {tier for _, tier in _attempts(store)} == {"batch"}


def _attempts(store: ResponseStore) -> list[tuple[str, str]]:
    return store._connection.execute("SELECT state, tier FROM attempts WHERE run = 'run'").fetchall()


def test_second_requests_are_a_second_batch_and_few_are_sent_one_by_one(serve, tmp_path) -> None:
    with serve() as server:
        endpoint = client(server, tmp_path, refine=True)
        assert pairs(endpoint.extract(documents(6))) == 12
        assert uploads(server) == 2
        few = client(server, tmp_path / "few", "few", batch_min_requests=7)
        assert pairs(few.extract(documents(6))) == 12 and uploads(server) == 2
        singles = [charge for charge in server.charges() if charge["tier"] == "default" and charge["prompt"] > 20]
        assert len(singles) == 6 and few.paid().cost == sum(charge["cost"] for charge in singles)


@pytest.mark.parametrize(
    ("first", "batches"),
    [
        (replace(PLAN, errors=4), 2),
        (replace(PLAN, errors=4, status=429), 2),
        (replace(PLAN, expire=0.5), 2),
        (replace(PLAN, drop_upload=True), 1),
        (replace(PLAN, drop_submit=True), 1),
        (replace(PLAN, validate_s=0.2), 1),
    ],
    ids=["errors", "busy", "expired", "upload unanswered", "submission unanswered", "slow validation"],
)
def test_what_a_batch_did_not_answer_is_sent_again_and_paid_once(serve, tmp_path, first: Plan, batches: int) -> None:
    with serve(first, PLAN) as server:
        endpoint = client(server, tmp_path)
        assert pairs(endpoint.extract(documents(10))) == 20
        assert uploads(server) == batches
        is_bill(server, endpoint)
        assert [*(server.folder / "files").iterdir()] == []


def test_a_round_beyond_the_limits_of_a_file_is_several_batches(serve, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(OpenAIBatches, "max_requests", 4)
    with serve(replace(PLAN, per_s=100)) as server:
        endpoint = client(server, tmp_path)
        assert pairs(endpoint.extract(documents(10))) == 20 and uploads(server) == 3
        assert sorted(len(file.splitlines()) for file in server.uploads) == [2, 4, 4]
        is_bill(server, endpoint)


def test_batches_of_a_limited_account_are_sent_in_turn(serve, tmp_path) -> None:
    with serve(replace(PLAN, per_s=100), replace(PLAN, fail="token_limit_exceeded"), PLAN) as server:
        endpoint = client(server, tmp_path, batch_max_requests=4)
        with pytest.raises(EndpointError, match="extractor_batch_max_requests"):
            endpoint.extract(documents(10))
        assert uploads(server) == 2 and endpoint.paid().usage.requests == 4, "the third was not sent"
        events = [one for one in (server.folder / "events.log").read_text().split() if one in ("submit", "content")]
        assert events == ["submit", "content", "submit"]
        assert pairs(endpoint.extract(documents(10))) == 20
        is_bill(server, endpoint)


def test_a_batch_at_another_endpoint_is_not_paid_for_again_unnoticed(serve, tmp_path) -> None:
    with serve(replace(PLAN, per_s=20)) as server:
        endpoint = client(server, tmp_path)
        interrupt_when_polled(server, endpoint, 3)
        endpoint.close()
        with BatchStandIn(RULES, tmp_path / "other") as other:
            elsewhere = client(other, tmp_path, "elsewhere")
            with pytest.raises(EndpointError, match=rf"{server.origin}.*another `response_store`"):
                elsewhere.extract(documents(3))
            assert uploads(other) == 0
            with ResponseStore(tmp_path / "responses.sqlite") as store:
                store._connection.execute("UPDATE batches SET made_unix_s = made_unix_s - 200000")
            assert pairs(elsewhere.extract(documents(3))) == 6, "no provider keeps one for days"
        assert endpoint_paid(tmp_path, "run") == 3, "what it left may have been billed"


def endpoint_paid(folder: Path, run: str) -> int:
    with ResponseStore(folder / "responses.sqlite") as store:
        return store.paid(run).unanswered


def test_a_batch_that_fails_ends_the_run_with_its_reason_and_costs_nothing(serve, tmp_path) -> None:
    with serve(replace(PLAN, fail="token_limit_exceeded"), PLAN) as server:
        endpoint = client(server, tmp_path)
        with pytest.raises(EndpointError, match=r"ran into token_limit_exceeded.*other batches"):
            endpoint.extract(documents(5))
        assert endpoint.paid().cost == 0 and endpoint.paid().unanswered == 0
        assert pairs(endpoint.extract(documents(5))) == 10
        is_bill(server, endpoint)


def test_a_batch_that_somebody_cancelled_is_not_sent_anew_by_itself(serve, tmp_path) -> None:
    with serve(replace(PLAN, cancel=0.4), PLAN) as server:
        endpoint = client(server, tmp_path)
        with pytest.raises(EndpointError, match="cancelled there: 4 of 10"):
            endpoint.extract(documents(10))
        is_bill(server, endpoint)
        assert pairs(endpoint.extract(documents(10))) == 20
        is_bill(server, endpoint)


def test_what_the_provider_forgot_counts_at_its_most_and_is_told(serve, tmp_path, caplog) -> None:
    with serve(replace(PLAN, lose=True), PLAN) as server:
        endpoint = client(server, tmp_path)
        assert pairs(endpoint.extract(documents(4))) == 8
        assert "does not know batch_" in caplog.text and endpoint.paid().unanswered == 4
        assert endpoint.paid().cost > 4 * PRICES.cost(Usage(0, 200), "batch")


def test_answers_that_a_finished_batch_lacks_may_have_been_billed(serve, tmp_path) -> None:
    with serve(replace(PLAN, missing=2), PLAN) as server:
        endpoint = client(server, tmp_path)
        assert pairs(endpoint.extract(documents(6))) == 12
        assert endpoint.paid().unanswered == 2
        assert endpoint.paid().cost >= sum(one["cost"] for one in server.charges() if one["tier"] == "batch")


def test_a_cap_on_money_is_a_cap_at_the_price_of_batches(serve, tmp_path) -> None:
    worst = PRICES.cost(Usage(0, 200))
    with serve() as server:
        cap = Allowance(cost=5 * worst)
        dear = client(server, tmp_path / "dear", "dear", batch=False)
        half = client(server, tmp_path / "half", "half")
        admitted = [
            sum(extraction.finish_reason != "budget" for extraction in one.extract(documents(40), cap))
            for one in (dear, half)
        ]
        assert admitted[1] >= 1.8 * admitted[0] > 0
        assert dear.paid().cost <= 5 * worst and half.paid().cost <= 5 * worst
        assert uploads(server) > 1, "who waits for the money of others comes in a later batch"


def test_two_runs_on_one_store_pay_for_each_request_once(serve, tmp_path) -> None:
    with serve(replace(PLAN, per_s=50)) as server:
        runs = [client(server, tmp_path, name) for name in ("a", "b")]
        results: dict[int, int] = {}

        def work(number: int) -> None:
            results[number] = pairs(runs[number].extract(documents(10)))

        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {0: 20, 1: 20}
        is_bill(server, *runs)


def interrupt_when_polled(server: BatchStandIn, endpoint: EndpointExtractor, count: int) -> None:
    """Extract, and stop that from another thread while the batch is under way."""
    log = server.folder / "events.log"

    def stop() -> None:
        while not (log.exists() and "poll" in log.read_text()):
            time.sleep(0.02)
        endpoint.interrupt()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(CancelledError):
        endpoint.extract(documents(count))
    thread.join()


@pytest.mark.parametrize("batch", [True, False], ids=["as a batch", "one by one"])
def test_a_run_that_is_stopped_leaves_its_batch_and_takes_it_up_again(serve, tmp_path, caplog, batch: bool) -> None:
    caplog.set_level(logging.INFO)
    with serve(replace(PLAN, per_s=20)) as server:
        endpoint = client(server, tmp_path)
        interrupt_when_polled(server, endpoint, 8)
        assert "It goes on at" in caplog.text
        assert endpoint.paid().unanswered == 8, "at the most that they can cost"
        endpoint.close()
        again = client(server, tmp_path, batch=batch)
        # Not enough for one document and its repair, if what is set aside for the batch were not theirs.
        left = Allowance(cost=int(1.3 * again.paid().cost / 8)) if batch else None
        assert pairs(again.extract(documents(8), left)) == 16
        assert "holds 8 requests without an answer" in caplog.text and uploads(server) == 1
        is_bill(server, again)


def test_a_finished_batch_of_another_run_is_read_for_the_one_that_paid(serve, tmp_path) -> None:
    with serve(replace(PLAN, per_s=20)) as server:
        endpoint = client(server, tmp_path, "first")
        interrupt_when_polled(server, endpoint, 4)
        other = client(server, tmp_path, "other")
        assert pairs(other.extract(documents(5))) == 10
        assert other.paid().usage.requests == 1 and endpoint.paid().usage.requests == 4
        is_bill(server, endpoint, other)


def test_a_server_without_batches_is_told_so_before_anything_is_sent(tmp_path) -> None:
    with FaultyServer(pages=MODELS, faults=[completion()]) as server:
        with pytest.raises(EndpointError, match=r"takes no batches.*`extractor_batch`"):
            extractor(server.url, batch=True, store=tmp_path / "responses.sqlite").check()
        with pytest.raises(ConfigError, match="A batch goes to one"):
            extractor([server.url, "http://localhost:1"], batch=True)
