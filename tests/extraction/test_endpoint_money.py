"""What is paid is in the ledger, and a cap on money is never passed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equal_hf.cli import main
from equal_hf.extraction.budget import Prices, nano
from equal_hf.extraction.first_ledger import PROBES
from equal_hf.extraction.responses.ledger import Paid
from equal_hf.extraction.responses.ledger_lines import add_up
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.responses.store_stats import ledger_lines
from equal_hf.types import Allowance, Document, Usage
from tests.extraction.endpoints import MODELS, completion, extractor, total
from tests.servers import ROOT
from tests.servers.faults import Fault, FaultyServer
from tests.servers.marked import marked_document
from tests.servers.standin import StandIn

PRICES = Prices(prompt=1000.0, completion=2000.0)


def apples(count: int) -> list[Document]:
    return [Document(f"d{n}", f"Anna buys {n} bags of 12 apples.", cluster=n) for n in range(count)]


def test_the_ledger_says_what_was_paid_and_cached_replies_cost_nothing(tgi, documents, tmp_path) -> None:
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = extractor(tgi, store=store, prices=PRICES)
        endpoint.begin("first")
        used = total(endpoint.extract(documents[:6]))
        assert endpoint.paid() == Paid(PRICES.cost(used), used, 0)
        endpoint.begin("second")
        assert total(endpoint.extract(documents[:6])) == used
        assert endpoint.paid() == Paid()
        more = total(endpoint.extract(documents)) + Usage(-used.prompt_tokens, -used.completion_tokens, -used.requests)
        assert endpoint.paid() == Paid(PRICES.cost(more), more, 0)


def test_a_cap_refuses_what_it_cannot_pay_for_and_stored_replies_pass_it(documents, tmp_path) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 50}
    with FaultyServer(pages=MODELS) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        server.faults = [completion(usage=usage)] * 100
        endpoint = extractor(server.url, store=store, prices=PRICES, max_new_tokens=100)
        endpoint.extract(documents[:2])
        # The rest is worth one worst case: two prompts bounded by their bytes, and two replies of 100 tokens.
        left = Allowance(cost=nano(1.2))
        reasons = [extraction.finish_reason for extraction in endpoint.extract(documents[:8], left)]
        assert reasons[:3] == ["stop"] * 3 and "budget" in reasons
        assert endpoint.paid().cost <= nano(1.2) + 2 * PRICES.cost(Usage(100, 50))
        broke = Allowance(cost=0)
        assert [e.finish_reason for e in endpoint.extract(documents[:3], broke)] == ["stop"] * 3, "they are paid for"


@settings(max_examples=6)
@given(st.integers(0, 1000), st.floats(0.2, 12.0))
def test_the_cap_holds_whatever_breaks(seed: int, cap: float) -> None:
    rng = random.Random(seed)
    usage = {"prompt_tokens": 60, "completion_tokens": 40}
    kinds = [
        lambda: completion(usage=usage),
        lambda: completion("no JSON", usage=usage),
        lambda: Fault(500),
        lambda: Fault(429),
        lambda: Fault(action="drop"),
        lambda: Fault(body="x" * 100, action="truncate"),
        lambda: Fault(body="<html>"),
    ]
    with FaultyServer(pages=MODELS, faults=[completion()]) as server:
        endpoint = extractor(server.url, prices=PRICES, max_new_tokens=100, max_retries=2, error_window=10_000)
        endpoint.check()
        faults = [rng.choices(kinds, weights=[8, 2, 1, 1, 1, 1, 1])[0]() for _ in range(400)]
        server.faults = list(faults)
        extractions = endpoint.extract(apples(20), Allowance(cost=nano(cap)))
        paid = endpoint.paid()
        assert paid.cost <= nano(cap)
        # What the server may have billed: whole replies, and whatever broke after it had the request.
        sent = faults[: len(server.chats) - 1]
        answered = [fault for fault in sent if fault.action is None and fault.status == 200 and fault.body != "<html>"]
        assert paid.usage == Usage(60 * len(answered), 40 * len(answered), len(answered))
        assert paid.unanswered == sum(fault.action is not None or fault.body == "<html>" for fault in sent)
        assert len(extractions) == 20


@pytest.mark.parametrize("provider", ["openai", "openai-reasoning", "openrouter", "router", "deepseek", "xai"])
def test_the_ledger_says_what_the_bill_says(provider: str, tmp_path) -> None:
    """To the billionth and the token, first contact included; without any price where costs or prices are told."""
    documents = [Document(f"d{n}", marked_document(n, words=1200 if n % 2 else 0)) for n in range(8)]
    path = tmp_path / "responses.sqlite"
    with StandIn(provider) as server:
        rules, rates = server.rules, server.rules.rates
        told = provider in ("openrouter", "router")
        prices = Prices() if told else Prices(rates.prompt, rates.completion, rates.cached)
        options = {"api_key": rules.key, "model": rules.model, "store": path, "concurrency": 1}
        endpoint = extractor(server.url, prices=prices, max_new_tokens=2000, **options)
        extractions = endpoint.extract(documents)
        endpoint.close()
        (line,) = add_up(ledger_lines(path))
        bill = server.bill.total
        used = Usage(bill.prompt, bill.completion, bill.requests, bill.cached, bill.reasoning)
        assert (line.usage, line.cost) == (used, bill.cost)
        assert not endpoint.prices.free
        assert bill.cost > 0 and sum(len(extraction.pairs) for extraction in extractions) == 16
        assert (bill.reasoning > 0) == (provider != "openai")
        server.bill.write_csv(tmp_path / "bill.csv")
    arguments = ["store", "stats", str(path), "--bill", str(tmp_path / "bill.csv"), "--tolerance", "0"]
    assert main(arguments) == 0


CLIENT = """
import sys
from equal_hf.extraction.budget import Prices
from tests.extraction.test_endpoint_money import PRICES, apples
from tests.extraction.endpoints import extractor

options = {"prices": PRICES, "max_new_tokens": 100, "concurrency": int(sys.argv[3])}
endpoint = extractor(sys.argv[1], store=sys.argv[2], **options)
endpoint.begin("killed")
endpoint.extract(apples(int(sys.argv[4])))
"""


def test_a_kill_in_the_first_contact_leaves_no_request_that_the_ledger_does_not_know(tmp_path) -> None:
    """It is booked before it is sent, and no more once it is answered."""
    path = tmp_path / "responses.sqlite"
    with FaultyServer(pages=MODELS, faults=[Fault(action="hang")] * 3) as server:
        process = subprocess.Popen([sys.executable, "-c", CLIENT, server.url, str(path), "1", "1"], cwd=ROOT)
        while not server.chats:
            time.sleep(0.02)
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        server.faults = [completion()] * 9
        with ResponseStore(path) as store:
            left = store.paid(PROBES)
            assert left.unanswered == 1 and left.cost >= PRICES.cost(Usage(20, 16))
            extractor(server.url, store=store, prices=PRICES, max_new_tokens=100).check()
            assert store.paid(PROBES).usage == Usage(5, 2, 1) and store.paid(PROBES).unanswered == 1


@pytest.mark.parametrize(("concurrency", "asked", "sent", "unanswered"), [(64, 4, 4, 4), (1, 20, 1, 2)])
def test_what_a_kill_left_unanswered_counts_in_full(
    concurrency: int, asked: int, sent: int, unanswered: int, tmp_path
) -> None:
    """Beside what was sent, no more than the next request for each slot is booked."""
    path = tmp_path / "responses.sqlite"
    with FaultyServer(pages=MODELS) as server:
        server.faults = [completion(), *[Fault(action="hang")] * 100]
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, server.url, str(path), str(concurrency), str(asked)], cwd=ROOT
        )
        while len(server.chats) < 1 + sent:
            time.sleep(0.02)
            assert process.poll() is None
        time.sleep(0.3)  # for what is booked ahead
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with ResponseStore(path) as store:
            left = store.paid("killed")
            assert sent <= left.unanswered <= unanswered and left.usage == Usage()
            assert left.cost > left.unanswered * PRICES.cost(Usage(0, 100)), "each at the most it can have cost"
            assert store.paid("another") == Paid()
