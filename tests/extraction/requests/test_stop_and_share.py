"""Stopping in mid-flight, and several askers on one store: what was answered is not paid for twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from equal_hf.extraction.budget import NANO, Prices
from equal_hf.extraction.responses import leases
from equal_hf.extraction.responses.leases import is_gone, owner_id
from equal_hf.extraction.responses.ledger import LeaseWanted, Paid, Response
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Document, Usage
from tests.extraction.endpoints import extractor
from tests.servers import ROOT, spawn
from tests.servers.load import MODEL

CLIENT = """
import logging, signal, sys
from equal_hf.utils.stop_signals import interrupted_by_sigterm
from equal_hf.extraction.budget import Prices
from equal_hf.extraction.requests import cached_requests, documents
from equal_hf.extraction.responses import response_store
from equal_hf.types import Document
from tests.extraction.endpoints import extractor

logging.basicConfig(level=logging.WARNING)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started to ignore it
url, store, run, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
documents.WIND_DOWN_S = float(sys.argv[5])
if sys.argv[6] != "0":  # as if the other process were on another machine
    response_store.LEASE_S, cached_requests.RENEW_EVERY_S = float(sys.argv[6]), float(sys.argv[6]) / 5
    response_store.is_gone = lambda owner: False
endpoint = extractor(url, store=store, prices=Prices(1000.0, 1000.0), model_revision="r")
endpoint.begin(run)
endpoint.check()
print("ready", flush=True)
input()
with interrupted_by_sigterm():
    extractions = endpoint.extract([Document(f"d{n}", f"Note {n} holds {n} apples.") for n in range(count)])
print(sum(len(extraction.pairs) for extraction in extractions), endpoint.paid().usage.requests, flush=True)
"""


@pytest.fixture
def client() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that extract from so many documents, and ends those that are left."""
    processes: list[subprocess.Popen[str]] = []

    def begin(
        url: str, store: Path, run: str, count: int, *, go: bool = True, wind_down_s: float = 10, lease_s: float = 0
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, url, str(store), run, str(count), str(wind_down_s), str(lease_s)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        if go:
            start(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        if not process.stdout.closed:
            process.communicate()


def start(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def stats(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as reply:
        return json.load(reply)


def wait_for(happened, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def load():
    with spawn("tests.servers.load", "--latency-s", "1") as url:
        yield url


def asked(url: str) -> float:
    return stats(url)["answered"] + stats(url)["in_flight"] + stats(url)["abandoned"]


def test_two_processes_pay_for_each_response_once(load, client, tmp_path) -> None:
    before = asked(load)
    processes = [client(load, tmp_path / "responses.sqlite", name, 12, go=False) for name in ("a", "b")]
    for process in processes:
        start(process)
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [pairs for pairs, _ in outputs] == ["12", "12"]
    assert sum(int(requests) for _, requests in outputs) == 12, "each is in one run's ledger"
    assert asked(load) - before == 12 + 2, "and the probes"


def test_two_extractors_of_one_process_pay_for_each_response_once(load, tmp_path) -> None:
    before = asked(load)
    documents = [Document(f"d{n}", f"Note {n} is shared.") for n in range(8)]
    endpoints = [extractor(load, store=tmp_path / "responses.sqlite", model_revision="r") for _ in range(2)]
    results: list[object] = []
    threads = [threading.Thread(target=lambda e=e: results.append(e.extract(documents))) for e in endpoints]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert asked(load) - before == 8 + 2


def test_what_a_killed_process_asked_for_is_anybodys(load, client, tmp_path) -> None:
    store = tmp_path / "responses.sqlite"
    killed, waiting = (client(load, store, name, 4, go=False) for name in ("killed", "waiting"))
    start(killed)
    wait_for(lambda: stats(load)["in_flight"] == 4)
    start(waiting)
    time.sleep(0.3)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    started = time.monotonic()
    assert waiting.communicate(timeout=60)[0].split() == ["4", "4"]
    assert time.monotonic() - started < 15, "nobody waits for the dead"
    with ResponseStore(store) as opened:
        assert opened.paid("killed").unanswered == 4


@pytest.mark.parametrize("kill", [False, True])
def test_a_lease_is_renewed_as_long_as_its_process_lives_and_ends_after_it(client, tmp_path, kill: bool) -> None:
    store = tmp_path / "responses.sqlite"
    with spawn("tests.servers.load", "--latency-s", "3") as url:
        first, second = (client(url, store, name, 2, go=False, lease_s=1) for name in ("first", "second"))
        before = asked(url)
        start(first)
        wait_for(lambda: stats(url)["in_flight"] == 2)
        start(second)
        time.sleep(2)  # longer than a lease
        assert asked(url) - before == 2, "it waits"
        if kill:
            first.kill()
        assert second.communicate(timeout=60)[0].split() == ["2", "2" if kill else "0"]
        assert asked(url) - before == (4 if kill else 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_for_what_is_paid_for(load, client, tmp_path, number: int) -> None:
    store = tmp_path / "responses.sqlite"
    before = asked(load)
    stopped = client(load, store, "run", 9)
    wait_for(lambda: stats(load)["in_flight"] == 4)
    stopped.send_signal(number)
    _, said = stopped.communicate(timeout=30)
    assert stopped.returncode not in (0, -9) and "which are paid for" in said and "given up" not in said
    with ResponseStore(store) as opened:
        assert len(opened) == 4 and opened.paid("run").unanswered == 0
    assert client(load, store, "run", 9).communicate(timeout=60)[0].split() == ["9", "9"]
    assert asked(load) - before == 9 + 2


@pytest.mark.parametrize("again", [True, False])
def test_what_a_stop_waits_for_in_vain_is_told_at_its_most(client, tmp_path, again: bool) -> None:
    store = tmp_path / "responses.sqlite"
    with spawn("tests.servers.load", "--latency-s", "3") as url:
        process = client(url, store, "run", 3, wind_down_s=10 if again else 0.5)
        wait_for(lambda: stats(url)["in_flight"] == 3)
        process.send_signal(signal.SIGINT)
        wait_for(lambda: "paid for" in process.stderr.readline())
        if again:
            process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - started < 2.5
        assert "3 requests were given up" in said
    with ResponseStore(store) as opened:
        lost = opened.paid("run")
        assert (lost.unanswered, lost.usage) == (3, Usage())
        assert lost.cost > 3 * Prices(1000.0, 1000.0).cost(Usage(0, 200))
        assert f"{lost.cost / NANO:.4f}" in said


def test_leases_end_are_renewed_and_given_up(tmp_path, monkeypatch) -> None:
    with ResponseStore(tmp_path / "responses.sqlite") as store:

        def want(owner: str, key: str = "k") -> object:
            return store.commit([LeaseWanted(key, owner, 16)])[0]

        one, other = owner_id(), owner_id()
        assert want(one) is True and want(one) is True and want(other) is False
        store.release_leases(one)
        assert want(other) is True
        gone = other.rsplit("|", 2)[0] + "|0|x"  # this process id, begun at another time
        assert is_gone(gone) and not is_gone("elsewhere|1|2|x"), "what cannot be seen may live"
        assert want(gone, "k2") is True and want(one, "k2") is True
        now = time.time()
        monkeypatch.setattr("equal_hf.extraction.responses.response_store.time.time", lambda: now + leases.LEASE_S + 1)
        assert want(one, "k") is True, "not renewed in time"
        store.renew_leases(one)
        monkeypatch.setattr("equal_hf.extraction.responses.response_store.time.time", lambda: now + 2 * leases.LEASE_S)
        assert want(other, "k") is False
        store.put("k", Response("text", "stop", Usage(1, 1, 1)), 16)
        assert want(other, "k") == Response("text", "stop", Usage(1, 1, 1))


def test_a_store_of_version_2_is_brought_up_to_date(tmp_path) -> None:
    path = tmp_path / "responses.sqlite"
    with ResponseStore(path) as store:
        store.put("k", Response("text", "stop", Usage(7, 3, 1)), 16, dialect="tgi", model=MODEL)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE responses RENAME COLUMN dialect TO flavour")
        connection.execute("DROP TABLE leases")
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with ResponseStore(path) as store:
        assert store.get("k", 16) == Response("text", "stop", Usage(7, 3, 1))
        assert store.commit([LeaseWanted("new", owner_id(), 16)]) == [True]
        assert store.paid("run") == Paid()
