"""The table a run ends with.

>>> print(format_summary({"equal": {"pairs": 10, "test_loss": 3.0}, "uniform": {"pairs": 9, "test_loss": 3.5}}))
             equal   uniform
pairs           10         9
test_loss   3.0000    3.5000
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equal_hf.errors import RecordError
from equal_hf.records.json_files import read_json

UNTOUCHED, TRAINED = "untouched", "trained"


def evaluation_folder(run_dir: str | Path) -> Path:
    """Where a run keeps what its model was measured to be, and the replies."""
    return Path(run_dir) / "evaluation"


def measured(run_dir: str | Path, stage: str) -> dict[str, Any] | None:
    """What a run's model was measured to be, `None` where it was not.

    Args:
        run_dir (`str` or `Path`): The run folder.
        stage (`str`): `"untouched"`, before training, or `"trained"`.

    Returns:
        `dict[str, Any]`: Numbers by name, and `model`, which tells it from others.
    """
    try:
        return read_json(evaluation_folder(run_dir) / f"{stage}.json")
    except RecordError:
        return None


def with_untouched(run_dir: str | Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with the model before training first, where that was measured.

    Args:
        run_dir (`str` or `Path`): The run folder.
        summary (`Mapping[str, Any]`): Measures by run.
    """
    found = measured(run_dir, UNTOUCHED)
    numbers = {name: value for name, value in (found or {}).items() if name != "model"}
    return ({UNTOUCHED: numbers} if numbers else {}) | dict(summary)


def format_summary(summary: Mapping[str, Any]) -> str:
    """Runs side by side, then where dataset and model are.

    Args:
        summary (`Mapping[str, Any]`): What `summary.json` holds: a mapping of measures for each run, and paths; or
            `review`, the lines of a run that stopped for one.
    """
    if "review" in summary:
        return "\n".join(summary["review"])
    runs = {name: values for name, values in summary.items() if isinstance(values, Mapping)}
    measures = list(dict.fromkeys(measure for values in runs.values() for measure in values))
    rows = [["", *runs], *([measure, *(_cell(runs[name].get(measure)) for name in runs)] for measure in measures)]
    first = max(len(row[0]) for row in rows)
    widths = [max(len(row[i + 1]) for row in rows) for i in range(len(runs))]
    lines = [
        row[0].ljust(first) + "".join(f"   {cell:>{width}}" for cell, width in zip(row[1:], widths, strict=True))
        for row in rows
    ]
    lines += [f"{name}: {summary[name]}" for name in ("dataset", "model") if name in summary]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) and abs(value) < 10 else f"{value:,}"
