"""What passes is asked again and never stored; what does not pass stops the run and keeps what came."""

from __future__ import annotations

import json
import time

import pytest

from equal_hf.cli import main
from equal_hf.errors import EndpointError
from equal_hf.extraction.responses.ledger import Response
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Document, Usage
from tests.extraction.endpoints import MODELS, completion, extractor
from tests.servers.faults import Fault, FaultyServer

TOO_LONG = Fault(400, body='{"error": {"message": "maximum context length is 64 tokens"}}')


def apples(count: int) -> list[Document]:
    return [Document(f"d{n}", f"Anna buys {n} bags of 12 apples.", cluster=n) for n in range(count)]


@pytest.mark.parametrize("status", [400, 409, 415, 418, 425, 498, 520, 529])
def test_what_passes_is_asked_again_within_a_run(status: int, tmp_path) -> None:
    with FaultyServer(pages=MODELS) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        server.faults = [completion(), Fault(status), Fault(status), *[completion()] * 4]
        endpoint = extractor(server.url, concurrency=1, store=store)
        assert {one.finish_reason for one in endpoint.extract(apples(2))} == {"stop"}
        assert len(store) == 2


@pytest.mark.parametrize("status", [400, 415, 498, 503])
def test_what_lasts_stops_a_short_run_and_leaves_nothing_behind(status: int, tmp_path) -> None:
    with FaultyServer(pages=MODELS) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        server.faults = [completion(), *[Fault(status, {"Retry-After": "0.01"})] * 500]
        with pytest.raises(EndpointError, match=rf"stopped: 100 % of the last \d+ .*HTTP {status}.*response store"):
            extractor(server.url, store=store, max_retries=1).extract(apples(4))
        assert len(store) == 0
        server.faults = [completion()] * 100
        assert {one.finish_reason for one in extractor(server.url, store=store).extract(apples(4))} == {"stop"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(402, body='{"error": "Payment Required"}'),
        Fault(429, body='{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}'),
        Fault(400, body='{"error": {"code": "billing_hard_limit_reached"}}'),
        Fault(200, body='{"error": {"code": 402, "message": "Insufficient credits"}}'),
    ],
    ids=lambda fault: str(fault.status),
)
def test_an_empty_account_stops_the_run_at_once_in_one_line(fault, tmp_path) -> None:
    with FaultyServer(pages=MODELS) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        server.faults = [completion(), *[completion()] * 3, *[fault] * 100]
        endpoint = extractor(server.url, concurrency=1, store=store)
        with pytest.raises(EndpointError, match="no money or quota left") as caught:
            endpoint.extract(apples(20))
        assert "\n" not in str(caught.value)
        assert len(server.chats) <= 6, "nobody asks an empty account again"
        assert len(store) == 3, "what came is kept"
        server.faults = [completion()] * 100
        assert {one.finish_reason for one in endpoint.extract(apples(20))} == {"stop"}
        assert len(store) == 20


def test_a_refusal_is_that_server_s_and_that_limit_s(tmp_path) -> None:
    with (
        FaultyServer(pages=MODELS) as one,
        FaultyServer(pages=MODELS) as other,
        ResponseStore(tmp_path / "responses.sqlite") as store,
    ):
        one.faults = [completion(), TOO_LONG]
        endpoint = extractor(one.url, store=store)
        (refused,) = endpoint.extract(apples(1))
        assert refused.dropped == {"refused": 1}
        assert endpoint.extract(apples(1)) == [refused] and len(one.chats) == 2, "it is not asked again"
        other.faults = [completion()] * 2
        assert extractor(other.url, store=store).extract(apples(1))[0].pairs, "another server may take it"
        store.close()
    with FaultyServer(pages=MODELS) as one, ResponseStore(tmp_path / "other.sqlite") as store:
        one.faults = [completion(), TOO_LONG, completion(), completion()]
        extractor(one.url, store=store).extract(apples(1))
        assert extractor(one.url, store=store, max_new_tokens=50).extract(apples(1))[0].pairs, (
            "a shorter reply may fit"
        )


def test_a_corpus_of_documents_that_are_refused_goes_on() -> None:
    with FaultyServer(pages=MODELS) as server:
        server.faults = [completion(), *[TOO_LONG] * 6, *[completion()] * 2]
        extractions = extractor(server.url, concurrency=1).extract(apples(8))
    assert [one.finish_reason for one in extractions] == ["error"] * 6 + ["stop"] * 2


def test_refusals_of_earlier_versions_do_not_count_and_can_be_pruned(tmp_path, capsys) -> None:
    path = tmp_path / "responses.sqlite"
    with FaultyServer(pages=MODELS) as server, ResponseStore(path) as store:
        server.faults = [completion(), *[completion()] * 3]
        keys = {
            pair.response_key for one in extractor(server.url, store=store).extract(apples(3)) for pair in one.pairs
        }
        for key in keys:  # as they were stored: whatever the server said, under the response's own key
            store._connection.execute("DELETE FROM responses WHERE key = ?", (key,))
            store.put(key, Response("HTTP 415: Unsupported Media Type", "refused", Usage(requests=1)), 200)
        store.put("money", Response("HTTP 400: billing_hard_limit_reached", "refused", Usage(requests=1)), 200)
        server.faults = [completion()] * 4
        assert all(one.pairs for one in extractor(server.url, store=store).extract(apples(3)))
        store.put("another", Response("HTTP 415: Unsupported Media Type", "refused", Usage(requests=1)), 200)
    assert main(["store", "prune", str(path), "--reason", "http 415", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"responses": 1, "deleted": False}
    assert main(["store", "prune", str(path), "--reason", "refused", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"responses": 2, "deleted": True}
    with ResponseStore(path) as store:
        assert len(store) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "1.2"},
        {"retry-after-ms": "1200"},
        {"x-ratelimit-reset-requests": "1200ms", "x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-reset-tokens": "1.2s"},
    ],
    ids=str,
)
def test_a_wait_is_obeyed_by_all_in_whatever_form(headers: dict[str, str]) -> None:
    with FaultyServer(pages=MODELS) as server:
        server.faults = [completion(), Fault(429, headers), *[completion()] * 10]
        endpoint = extractor(server.url, concurrency=1, max_retries=1)
        assert {one.finish_reason for one in endpoint.extract(apples(3))} == {"stop"}
        _, refused, again, *_ = (seen.at_s for seen in server.chats)
        assert 1.2 <= again - refused < 4


def test_a_run_waits_as_long_as_it_is_asked_to_whatever_its_retries() -> None:
    with FaultyServer(pages=MODELS) as server:
        server.faults = [completion()]
        endpoint = extractor(server.url, max_retries=2, error_window=10)
        endpoint.check()
        until = time.monotonic() + 2.5
        server.upstream = "own"
        server._pass_on = lambda *_: (
            completion()
            if time.monotonic() > until
            else Fault(429, {"x-ratelimit-reset-requests": f"{until - time.monotonic() + 0.05:.3f}s"})
        )
        assert {one.finish_reason for one in endpoint.extract(apples(30))} == {"stop"}
