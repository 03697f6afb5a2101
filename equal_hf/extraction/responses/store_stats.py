"""What is in a response store, and what each run paid by its ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from equal_hf.extraction.responses.ledger_lines import LedgerLine, add_up
from equal_hf.extraction.responses.maintenance import connect, open_store


def ledger_lines(path: str | Path, run: str | None = None) -> list[LedgerLine]:
    """All lines of a store's ledger, oldest first.

    Args:
        path (`str` or `Path`): The store.
        run (`str`, *optional*): Those of this run alone.

    Raises:
        [`RecordError`]: If there is no store, or it cannot be read.
    """
    with open_store(path) as store:
        return store.lines(run)


def run_ledger(run_dir: str | Path, run: Mapping[str, Any]) -> list[LedgerLine]:
    """The lines of one run; none where it has no ledger.

    Args:
        run_dir (`str` or `Path`): The run folder.
        run (`Mapping[str, Any]`): What its `run.json` says.
    """
    for store in (run.get("config", {}).get("response_store"), Path(run_dir) / "responses.sqlite"):
        if store and Path(store).is_file():
            return ledger_lines(store, str(run.get("id")))
    return []


def stats(path: str | Path) -> dict[str, Any]:
    """What a store holds, as JSON types: size in bytes, responses by model and ending; its ledger by run, by
    endpoint and by day; and batches that are under way.

    Raises:
        [`RecordError`]: If there is no store, or it cannot be read.
    """
    with connect(path) as connection:
        rows = connection.execute(
            "SELECT model, finish_reason, count(*), sum(prompt_tokens), sum(completion_tokens) FROM responses "
            "GROUP BY model, finish_reason ORDER BY model, finish_reason"
        ).fetchall()
        times = connection.execute("SELECT run, min(sent_unix_s), max(sent_unix_s) FROM attempts GROUP BY run")
        batches = connection.execute(
            "SELECT batches.endpoint, batch_id, made_unix_s, count(*) FROM batches "
            "JOIN batch_requests ON batch_requests.batch = batches.name GROUP BY batches.name ORDER BY made_unix_s"
        ).fetchall()
        spans = {run: {"first_unix_s": first, "last_unix_s": last} for run, first, last in times}
    lines = ledger_lines(path)
    runs: dict[str, Any] = {
        line.run: {**line.row(), **spans.get(line.run, {}), "attempts": {}} for line in add_up(lines, "run")
    }
    for line in add_up(lines, "run", "state"):
        runs[line.run]["attempts"][line.state] = {"attempts": line.usage.requests, **line.row()}
    names = ("responses", "prompt_tokens", "completion_tokens")
    files = [Path(f"{path}{suffix}") for suffix in ("", "-wal")]
    return {
        "path": str(path),
        "bytes": sum(file.stat().st_size for file in files if file.exists()),
        "responses": sum(row[2] for row in rows),
        "by_model": [
            {"model": model, "finish_reason": reason, **dict(zip(names, counts, strict=True))}
            for model, reason, *counts in rows
        ],
        "runs": runs,
        "by_endpoint": _rows(lines, "endpoint", "model", "tier"),
        "by_day": _rows(lines, "day", "model"),
        "batches": [
            dict(zip(("endpoint", "batch_id", "made_unix_s", "requests"), batch, strict=True)) for batch in batches
        ],
    }


def _rows(lines: Iterable[LedgerLine], *by: str) -> list[dict[str, Any]]:
    return [{name: getattr(line, name) for name in by} | line.row() for line in add_up(lines, *by)]
