"""Several endpoints, and when to stop: real servers behind ones that misbehave."""

from __future__ import annotations

import pytest

from equal_hf.errors import ConfigError, EndpointError
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Document
from tests.extraction.endpoints import MODELS, completion, extractor
from tests.servers.faults import Fault, FaultyServer


def apples(count: int) -> list[Document]:
    return [Document(f"d{n}", f"Anna buys {n} bags of 12 apples.", cluster=n) for n in range(count)]


def canned(server: FaultyServer, count: int = 500) -> None:
    server.faults = [completion() for _ in range(count)]


def test_two_endpoints_share_the_work() -> None:
    with FaultyServer(pages=MODELS) as one, FaultyServer(pages=MODELS) as two:
        canned(one), canned(two)
        endpoint = extractor([one.url, two.url], concurrency=4)
        extractions = endpoint.extract(apples(60))
        assert {extraction.finish_reason for extraction in extractions} == {"stop"}
        # A probe each, and every document once.
        assert len(one.chats) + len(two.chats) == 62
        assert min(len(one.chats), len(two.chats)) > 5
        assert [each["url"] for each in endpoint.describe()["endpoints"]] == [one.url, two.url]


def test_the_same_endpoint_twice_is_one() -> None:
    with FaultyServer(pages=MODELS) as server:
        canned(server)
        assert len(extractor([server.url, server.url + "/v1"]).describe()["endpoints"]) == 1


def test_no_endpoint_is_told_of() -> None:
    with pytest.raises(ConfigError, match="`extractor_url` names no endpoint"):
        extractor([])


def test_endpoints_that_serve_different_models_are_refused() -> None:
    other = {"/v1/models": Fault(body='{"data": [{"id": "other"}]}')}
    with FaultyServer(pages=MODELS) as one, FaultyServer(pages=other) as two:
        canned(one), canned(two)
        with pytest.raises(EndpointError, match=rf"{one.url} serves m at .* {two.url} other .*`extractor_url`"):
            extractor([one.url, two.url]).check()


def test_one_that_goes_away_is_done_without(caplog) -> None:
    with FaultyServer(pages=MODELS) as one, FaultyServer(pages=MODELS) as two:
        canned(one), canned(two)
        endpoint = extractor([one.url, two.url], max_retries=1, load_timeout_s=0.3)
        endpoint.check()
        two.go_away()
        assert {extraction.finish_reason for extraction in endpoint.extract(apples(40))} == {"stop"}
        assert len(one.chats) == 41
        assert f"{two.url} is down: going on without it" in caplog.text
        two.listen()
        canned(two)
        while "answers again" not in caplog.text:
            endpoint.extract(apples(40))
        assert {extraction.finish_reason for extraction in endpoint.extract(apples(40))} == {"stop"}


def test_one_whose_key_is_revoked_is_done_without(caplog) -> None:
    with FaultyServer(pages=MODELS) as one, FaultyServer(pages=MODELS) as two:
        canned(one), canned(two)
        endpoint = extractor([one.url, two.url])
        endpoint.check()
        two.faults = [Fault(401)] * 100
        assert {extraction.finish_reason for extraction in endpoint.extract(apples(30))} == {"stop"}
        assert "Going on with the other endpoints" in caplog.text


def test_a_slow_one_serves_little_and_the_end_does_not_wait_for_it(tmp_path) -> None:
    with FaultyServer(pages=MODELS) as fast, FaultyServer(pages=MODELS) as slow:
        canned(fast, 2000), canned(slow, 10)
        endpoint = extractor([fast.url, slow.url], max_retries=30, timeout_s=20)
        endpoint.check()
        # Two seconds, then the connection is cut: each of these documents goes to the fast one in the end.
        slow.faults = [Fault(action="hang")] * 100
        assert {extraction.finish_reason for extraction in endpoint.extract(apples(300))} == {"stop"}
        assert len(slow.chats) - 1 <= 8, "no more than it was tried with at first"


def test_too_many_failures_stop_the_run_and_keep_what_came(tmp_path) -> None:
    with FaultyServer(pages=MODELS) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        canned(server)
        endpoint = extractor(server.url, store=store, error_window=20, max_error_rate=0.3, max_retries=10)
        assert len(endpoint.extract(apples(25))) == 25
        server.faults = [Fault(500, body="out of memory")] * 1000
        with pytest.raises(
            EndpointError, match=r"stopped: \d+ % of the last 20 .* × HTTP 500 out of memory.*`extractor"
        ):
            endpoint.extract(apples(80))
        assert len(store) == 25
        canned(server)
        assert {extraction.finish_reason for extraction in endpoint.extract(apples(80))} == {"stop"}, "it can go on"


def test_faults_that_pass_do_not_stop_the_run() -> None:
    with FaultyServer(pages=MODELS) as server:
        canned(server)
        endpoint = extractor(server.url, max_retries=30, error_window=50, max_error_rate=0.2)
        endpoint.check()
        server.faults = [Fault(500) if n % 3 == 0 else completion() for n in range(300)]
        assert {extraction.finish_reason for extraction in endpoint.extract(apples(60))} == {"stop"}


def test_a_busy_server_is_no_broken_one() -> None:
    with FaultyServer(pages=MODELS) as server:
        canned(server)
        endpoint = extractor(server.url, max_retries=0, error_window=5, max_error_rate=0.0)
        endpoint.check()
        # Every request is refused once, while others are answered.
        server.faults = [fault for _ in range(200) for fault in (completion(), Fault(429), completion())]
        assert {extraction.finish_reason for extraction in endpoint.extract(apples(60))} == {"stop"}


def test_a_cap_of_tokens_limits_prompts_too(documents) -> None:
    with FaultyServer(pages=MODELS) as server:
        canned(server)
        endpoint = extractor(server.url, max_new_tokens=100, tokens_per_minute=1_000_000)
        assert endpoint.identity()["max_prompt_tokens"] == 1_000_000 - 100
    with pytest.raises(ConfigError, match="`extractor_tokens_per_minute`"):
        extractor("http://localhost", max_new_tokens=100, tokens_per_minute=100)
