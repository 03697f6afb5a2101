"""Batches that are ended for good: what was answered is paid and kept, and nothing more is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from equal_hf.cli import main
from equal_hf.errors import EndpointError
from equal_hf.extraction.budget import NANO
from equal_hf.extraction.responses.batch_table import lease_key
from equal_hf.extraction.responses.leases import owner_id
from equal_hf.extraction.responses.ledger import LeaseWanted
from equal_hf.extraction.responses.response_store import ResponseStore
from tests.extraction.batch.test_batches import PLAN, RULES, client, documents, interrupt_when_polled, is_bill, pairs
from tests.servers.batches import BatchStandIn


@pytest.fixture
def left_under_way(tmp_path, monkeypatch):
    """A provider with a batch of eight requests that a stopped run left there, and what makes that run again."""
    monkeypatch.setenv("EQUAL_API_KEY", RULES.key)
    with BatchStandIn(RULES, tmp_path / "server", (replace(PLAN, stops=3), PLAN)) as server:
        endpoint = client(server, tmp_path)
        interrupt_when_polled(server, endpoint, 8)
        endpoint.close()
        yield server, lambda: client(server, tmp_path)


def cancel(folder: Path, capsys, *flags: str) -> list[dict]:
    capsys.readouterr()
    assert main(["store", "cancel", str(folder / "responses.sqlite"), "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_was_answered_is_kept_and_the_rest_is_not_billed(left_under_way, tmp_path, capsys) -> None:
    server, again = left_under_way
    (ended,) = cancel(tmp_path, capsys)
    charged = [charge["cost"] for charge in server.charges() if charge["tier"] == "batch"]
    assert (ended["requests"], ended["answered"], len(charged)) == (8, 3, 3)
    assert ended["cost"] == pytest.approx(sum(charged) / NANO)
    assert json.loads(next((server.folder / "batches").glob("*.json")).read_text())["status"] == "cancelled"
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        assert store.open_batches() == [] and store.paid("run").unanswered == 0
    assert cancel(tmp_path, capsys) == []
    endpoint = again()
    assert pairs(endpoint.extract(documents(8))) == 16, "it can go on all the same"
    is_bill(server, endpoint)


def test_a_batch_that_is_waited_for_is_left_to_its_run(left_under_way, tmp_path, capsys) -> None:
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        (batch,) = store.open_batches()
        assert store.commit([LeaseWanted(lease_key(batch.name), owner_id(), 0)]) == [True]
        assert main(["store", "cancel", str(tmp_path / "responses.sqlite")]) != 0
    assert "is waited for by a run that goes on" in capsys.readouterr().err


def test_another_account_pays_for_no_batch_again_and_forgets_it_only_when_told(
    left_under_way, tmp_path, capsys
) -> None:
    """It gets 404 for a batch that it does not know."""
    server, again = left_under_way
    for path in (server.folder / "batches").glob("*.json"):
        path.rename(path.with_suffix(".of_another"))
    endpoint = again()
    with pytest.raises(EndpointError, match=r"does not know batch_.*one of the account that sent it.*--forget"):
        endpoint.extract(documents(8))
    endpoint.close()
    assert main(["store", "cancel", str(tmp_path / "responses.sqlite")]) != 0
    (ended,) = cancel(tmp_path, capsys, "--forget")
    assert (ended["requests"], ended["answered"]) == (8, 0)
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        assert store.paid("run").unanswered == 8 and store.open_batches() == []
