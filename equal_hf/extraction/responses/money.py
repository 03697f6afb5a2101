"""What a run paid, by the ledger of the response store that it paid from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def money_paid(run_dir: str | Path, run: Mapping[str, Any]) -> float | None:
    """Money in the currency of the prices; `None` where there is no ledger, or nothing costs anything.

    Args:
        run_dir (`str` or `Path`): The run folder.
        run (`Mapping[str, Any]`): What its `run.json` says.
    """
    from equal_hf.extraction.responses.maintenance import stats

    for store in (run.get("config", {}).get("response_store"), Path(run_dir) / "responses.sqlite"):
        if store and Path(store).is_file():
            entry = stats(Path(store))["runs"].get(run.get("id"))
            return entry["cost"] or None if entry else None
    return None
