"""`equal-hf store`: what users do with the file that holds what they paid for."""

from __future__ import annotations

import json
import sqlite3

import pyarrow.parquet as pq
import pytest

from equal_hf.cli import main
from equal_hf.extraction.budget import NANO
from equal_hf.extraction.responses.ledger import AttemptFailed, AttemptStarted, Response, ResponseReceived
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Usage


@pytest.fixture
def folder(tmp_path):
    """A run folder with a store: two models, three endings, two runs, one attempt left unanswered."""
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        for n in range(5):
            store.commit([AttemptStarted(n, "run-a", f"{n:064x}", Usage(100, 50, 1), NANO)])
            reply = Response(f"reply {n} – ünïcode", "length" if n == 4 else "stop", Usage(90, 10 * n, 1))
            store.commit([ResponseReceived(f"{n:064x}", reply, 50, "tgi", "org/one", n, NANO // 2)])
        store.commit([AttemptStarted(10, "run-b", "f" * 64, Usage(100, 50, 1), NANO)])
        store.commit(
            [AttemptStarted(11, "run-b", "e" * 64, Usage(100, 50, 1), NANO), AttemptFailed(11, maybe_billed=True)]
        )
        store.commit(
            [AttemptStarted(12, "run-b", "d" * 64, Usage(100, 50, 1), NANO), AttemptFailed(12, maybe_billed=False)]
        )
        store.put("a" * 64, Response("too long", "refused", Usage(requests=1)), 50, model="other")
    return tmp_path


def run(capsys, *argv: str) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_stats_tell_replies_and_ledger(folder, capsys) -> None:
    summary = json.loads(run(capsys, "store", "stats", str(folder), "--json"))
    assert summary["responses"] == 6 and summary["bytes"] > 1000
    assert {(row["model"], row["finish_reason"], row["responses"]) for row in summary["by_model"]} == {
        ("org/one", "stop", 4),
        ("org/one", "length", 1),
        ("other", "refused", 1),
    }
    assert summary["runs"]["run-a"]["cost"] == 2.5
    assert summary["runs"]["run-b"]["cost"] == 2.0, "what was refused for good is not billed, the rest may be"
    assert set(summary["runs"]["run-b"]["attempts"]) == {"sent", "lost"}
    text = run(capsys, "store", "stats", str(folder / "responses.sqlite"))
    assert "6 responses" in text and "run run-a: 5 answered; cost 2.5000" in text


def test_export_gives_rows(folder, capsys) -> None:
    lines = folder / "responses.jsonl"
    assert "5 responses" in run(capsys, "store", "export", str(folder), str(lines), "--model", "org/one")
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == [f"reply {n} – ünïcode" for n in range(5)]
    table = folder / "responses.parquet"
    run(capsys, "store", "export", str(folder), str(table))
    assert [row for row in pq.read_table(table).to_pylist() if row["model"] == "org/one"] == rows


def test_prune_deletes_what_is_named_and_keeps_the_ledger(folder, capsys) -> None:
    assert "1 responses would be deleted" in run(
        capsys, "store", "prune", str(folder), "--finish-reason", "length", "--dry-run"
    )
    assert "1 responses deleted" in run(capsys, "store", "prune", str(folder), "--finish-reason", "length")
    assert "0 responses deleted" in run(capsys, "store", "prune", str(folder), "--older-than-days", "1")
    with ResponseStore(folder / "responses.sqlite") as store:
        assert len(store) == 5
        assert store.paid("run-a").cost == 5 * NANO // 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["prune", "{folder}"], "--model, --finish-reason or --older-than-days"),
        (["export", "{folder}", "{folder}/responses.csv"], ".jsonl or .parquet"),
        (["stats", "{folder}/nowhere"], "there is no response store"),
        (["stats", "{folder}/foreign.sqlite"], "another program"),
    ],
)
def test_mistakes_are_told_and_change_nothing(argv: list[str], words: str, folder, capsys) -> None:
    foreign = sqlite3.connect(folder / "foreign.sqlite")
    foreign.execute("CREATE TABLE mine (x)")
    foreign.close()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["store", *(word.format(folder=folder) for word in argv)]) == 1
    assert words in capsys.readouterr().err
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == before
