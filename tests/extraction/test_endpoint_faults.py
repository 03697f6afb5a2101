"""What breaks on the way: a real server behind one that misbehaves."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from equal_hf.errors import EndpointError
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Usage
from tests.extraction.endpoints import MODELS, PAIRS, completion, extractor
from tests.servers import spawn
from tests.servers.faults import Fault, FaultyServer


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, body='{"error": "Model is overloaded", "error_type": "overloaded"}'),
        Fault(500, body='{"error": "Incomplete generation", "error_type": "incomplete_generation"}'),
        Fault(424, body='{"error": "Request failed during generation", "error_type": "generation"}'),
        Fault(502, body="<html>Bad gateway</html>"),
        Fault(503, body="busy"),
        Fault(action="drop"),
        Fault(body=PAIRS * 100, action="truncate"),
        Fault(body="<html>Sign in</html>"),
        Fault(body='{"choices": [{"message": '),
        Fault(body='{"choices": null}'),
        Fault(body='{"error": "something"}'),
        Fault(body=b"\xff\xfe"),
        Fault(headers={"Content-Encoding": "gzip"}, body=b"not gzip"),
    ],
    ids=lambda fault: f"{fault.status}-{fault.action or fault.body[:16]}",
)
def test_transport_faults_are_tried_again_and_leave_no_trace(fault, tgi, documents, tmp_path) -> None:
    expected = extractor(tgi).extract(documents[:1])
    with FaultyServer(tgi) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = extractor(server.url, store=store)
        endpoint.check()
        server.faults = [fault, fault]
        assert endpoint.extract(documents[:1]) == expected
        assert len(server.chats) == 4  # the probe, two faults, the reply
        assert len(store) == 1


def test_a_request_that_hangs_is_given_up_and_sent_again(tgi, documents) -> None:
    with FaultyServer(tgi) as server:
        endpoint = extractor(server.url, timeout_s=1.0)
        endpoint.check()
        server.faults = [Fault(action="hang")]
        assert endpoint.extract(documents[:1])[0].finish_reason == "stop"


def test_after_all_retries_only_that_document_is_lost(tgi, documents, tmp_path) -> None:
    with FaultyServer(tgi) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = extractor(server.url, max_retries=2, concurrency=1, store=store)
        endpoint.check()
        server.faults = [Fault(500, body="boom")] * 3
        (first,) = endpoint.extract(documents[:1])
        assert (first.finish_reason, first.dropped, first.usage) == ("error", {"transport_error": 1}, Usage())
        assert "boom" in first.rejected[0].raw
        (second,) = endpoint.extract(documents[1:2])
        assert second.finish_reason == "stop"
        assert len(store) == 1, "a fault is no reply"


@pytest.mark.parametrize("dated", [False, True])
def test_retry_after_is_obeyed_by_all(dated: bool, tgi, documents) -> None:
    with FaultyServer(tgi) as server:
        endpoint = extractor(server.url, concurrency=1)
        endpoint.check()
        when = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True) if dated else "2"
        server.faults = [Fault(429, {"Retry-After": when})]
        assert all(extraction.finish_reason == "stop" for extraction in endpoint.extract(documents[:2]))
        _, refused, again, _ = (seen.at_s for seen in server.chats)
        assert again - refused >= (1.5 if dated else 2.0)


def test_a_server_that_takes_fewer_requests_than_we_send(documents) -> None:
    with spawn("tests.servers.tgi", "--max-concurrent-requests", "2", "--delay-s", "0.05") as url:
        # /info tells the limit, so it is kept from the start.
        assert {e.finish_reason for e in extractor(url, max_retries=0).extract(documents)} == {"stop"}
        # Behind a gateway that hides /info the 429s do it.
        with FaultyServer(url, pages={"/info": Fault(404)}) as server:
            endpoint = extractor(server.url, dialect="tgi", model="m", concurrency=6, max_retries=30)
            assert {e.finish_reason for e in endpoint.extract(documents[:6])} == {"stop"}
            assert len(server.chats) > 1 + 6, "there was no 429"


def test_a_server_that_is_loading_is_waited_for(caplog) -> None:
    with spawn("tests.servers.tgi", "--load-s", "4") as url:
        with pytest.raises(EndpointError, match=r"still loading after 0 s.*`extractor_load_timeout_s`"):
            extractor(url, load_timeout_s=0.2).check()
        extractor(url, load_timeout_s=20).check()
    assert "loading: waiting up to 20 s" in caplog.text


def test_a_server_that_restarts_is_waited_for(tgi, documents) -> None:
    with FaultyServer(tgi) as server:
        endpoint = extractor(server.url, max_retries=0, concurrency=2, load_timeout_s=20)
        endpoint.check()
        server.go_away()
        threading.Timer(1.5, server.listen).start()
        assert {extraction.finish_reason for extraction in endpoint.extract(documents[:4])} == {"stop"}


def test_a_server_that_stays_away_ends_the_run(tgi, documents) -> None:
    with FaultyServer(tgi) as server:
        endpoint = extractor(server.url, load_timeout_s=0.5)
        endpoint.check()
        server.go_away()
        with pytest.raises(EndpointError, match="still down"):
            endpoint.extract(documents)


def test_a_key_that_is_revoked_on_the_way_ends_the_run_and_loses_nothing(tgi, documents, tmp_path) -> None:
    with FaultyServer(tgi) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = extractor(server.url, concurrency=1, store=store)
        endpoint.extract(documents[:3])
        server.faults = [Fault(401)]
        with pytest.raises(EndpointError, match="`extractor_api_key`"):
            endpoint.extract(documents)
        assert len(store) == 3


def test_the_first_answer_of_no_use_that_is_paid_for_is_told_of(documents, caplog) -> None:
    page, error = Fault(body="<html>hidden-treasure</html>"), Fault(body='{"error": "out of memory"}')
    with FaultyServer(pages=MODELS, faults=[completion(), page, error, page, completion()]) as server:
        (extraction,) = extractor(server.url, api_key="hidden-treasure", max_retries=4).extract(documents[:1])
    assert len(extraction.pairs) == 1 and extraction.lost.requests == 3
    told = [record.getMessage() for record in caplog.records if "answer of no use" in record.getMessage()]
    assert len(told) == 2 and all("count as used" in message for message in told)
    assert "no chat completion, it holds '<html>***</html>'" in told[0] and "out of memory" in told[1]
