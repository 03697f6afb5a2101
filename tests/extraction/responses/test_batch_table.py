"""Batches in the response store: a request in one is nobody else's, and the ledger knows what became of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from equal_hf.cli import main
from equal_hf.extraction.responses.batch_table import (
    BatchEnded,
    BatchPlanned,
    BatchRequestDone,
    BatchSubmitted,
    BatchUploaded,
    lease_key,
)
from equal_hf.extraction.responses.leases import owner_id
from equal_hf.extraction.responses.ledger import (
    AttemptStarted,
    LeaseReleased,
    LeaseWanted,
    Response,
    ResponseReceived,
)
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Usage

WORST = Usage(10, 20, 1)


@pytest.fixture
def store(tmp_path) -> Iterator[ResponseStore]:
    with ResponseStore(tmp_path / "responses.sqlite") as opened:
        yield opened


def plan(store: ResponseStore, name: str = "b", keys: str = "xyz") -> None:
    """A batch of a run called `run`; attempts are numbered by their keys' letters."""
    started = [AttemptStarted(ord(key), "run", key, WORST, 7) for key in keys]
    store.commit([*started, BatchPlanned(name, "http://e", "{}", tuple((key, ord(key)) for key in keys))])


def test_each_step_is_on_the_disk_before_the_next(store, tmp_path) -> None:
    plan(store)
    store.commit([BatchUploaded("b", "file-1")])
    store.commit([BatchSubmitted("b", "batch_1")])
    with ResponseStore(tmp_path / "responses.sqlite") as other:
        (batch,) = other.open_batches()
        assert (batch.name, batch.file_id, batch.batch_id) == ("b", "file-1", "batch_1")
        assert [(one.key, one.cost) for one in other.batched(run="run")] == [("x", 7), ("y", 7), ("z", 7)]
        assert other.batched(run="another") == other.batched(batch="another") == []
        assert other.paid("run").lost == Usage(30, 60, 3), "reserved at the most it can use"


def test_what_is_under_way_is_shown(store, tmp_path, capsys) -> None:
    plan(store)
    store.commit([BatchSubmitted("b", "batch_1")])
    store.close()
    assert main(["store", "stats", str(tmp_path / "responses.sqlite")]) == 0
    assert "batch batch_1 at http://e: 3 requests under way since" in capsys.readouterr().out


def test_a_request_in_a_batch_is_its_keepers_alone(store) -> None:
    keeper, other = owner_id(), owner_id()
    plan(store)

    def want(key: str, owner: str) -> object:
        return store.commit([LeaseWanted(key, owner, 16)])[0]

    assert want("x", other) is False, "in nobody's care, it is paid for all the same"
    assert want(lease_key("b"), keeper) is True and want(lease_key("b"), other) is False
    assert want("x", keeper) is True and want("y", other) is False
    store.commit([LeaseReleased("x", keeper)])
    assert want("x", other) is False
    store.commit([ResponseReceived("x", Response("text", "stop", Usage(1, 2, 1)), 16), BatchRequestDone("b", "x")])
    assert want("x", other) == Response("text", "stop", Usage(1, 2, 1))
    store.commit([BatchEnded("b", maybe_billed=False)])
    assert want("y", other) is True and want(lease_key("b"), other) is True


@pytest.mark.parametrize("maybe_billed", [False, True])
def test_what_a_batch_left_is_freed_or_stays_at_its_most(store, maybe_billed: bool) -> None:
    plan(store)
    answer = ResponseReceived("x", Response("text", "stop", Usage(1, 2, 1)), 16, attempt=ord("x"), cost=3)
    store.commit([answer, BatchRequestDone("b", "x"), BatchEnded("b", maybe_billed)])
    paid = store.paid("run")
    assert (paid.usage, paid.unanswered, paid.cost) == (Usage(1, 2, 1), 2 * maybe_billed, 3 + 14 * maybe_billed)
    assert store.open_batches() == store.batched() == []


def test_a_store_of_version_4_takes_batches(store, tmp_path) -> None:
    path = tmp_path / "earlier.sqlite"
    with ResponseStore(path) as earlier:
        earlier.put("k", Response("text", "stop", Usage(7, 3, 1)), 16)
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE batches; DROP TABLE batch_requests; PRAGMA user_version = 4")
    connection.close()
    with ResponseStore(path) as opened:
        plan(opened)
        assert opened.get("k", 16) is not None and len(opened.open_batches()) == 1
