"""The table a run ends with.

>>> print(format_summary({"equal": {"pairs": 10, "test_loss": 3.0}, "uniform": {"pairs": 9, "test_loss": 3.5}}))
             equal   uniform
pairs           10         9
test_loss   3.0000    3.5000
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
