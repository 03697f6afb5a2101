"""An exported bill of a provider beside the ledger, by day and model.

A bill is a CSV with a header. Minimal: a column `date`, one of `input_tokens`, `output_tokens`, `cached_tokens` or
`amount`, and `model` where it tells models apart:

```csv
date,model,input_tokens,cached_tokens,output_tokens,amount
2026-11-26,gpt-4.1,1500000,400000,90000,3.12
```

OpenAI's exports of costs and of usage are read as they are, together or alone; others by the spellings in `COLUMNS`.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from equal_hf.errors import ConfigError
from equal_hf.extraction.budget import NANO
from equal_hf.extraction.responses.ledger_lines import LedgerLine, add_up

COLUMNS = {
    "day": "date day usage_date date_utc start_time_iso timestamp start_time created_at time",
    "model": "model model_name model_id model_permaslug snapshot_id line_item",
    "prompt_tokens": "input_tokens prompt_tokens tokens_prompt n_context_tokens_total",
    "completion_tokens": "output_tokens completion_tokens tokens_completion n_generated_tokens_total",
    "cached_tokens": "input_cached_tokens cached_tokens cached_input_tokens tokens_cached",
    "cost": "amount amount_value amount_usd cost cost_usd cost_total total_cost",
}
WHAT = ("prompt_tokens", "cached_tokens", "completion_tokens", "cost")
_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8})$")

Bill = dict[tuple[str, str], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of the ledger beside the bill's.

    Args:
        day (`str`): The day of UTC, as `2026-11-26`.
        model (`str`): Model id; empty for all models together.
        what (`str`): `"prompt_tokens"`, `"cached_tokens"`, `"completion_tokens"` or `"cost"`.
        ledger (`float`): What the ledger says, money in the currency.
        bill (`float`): What the bill says.
        differs (`bool`): Whether they differ by more than the tolerance.
    """

    day: str
    model: str
    what: str
    ledger: float
    bill: float
    differs: bool


def read_bill(paths: Iterable[str | Path]) -> Bill:
    """What a bill says: numbers by day and model. Lines of one day and model add up.

    Args:
        paths (`Iterable[str | Path]`): Its CSV files.

    Raises:
        [`ConfigError`]: If one cannot be read as a bill.
    """
    bill: Bill = {}
    for path in paths:
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                delimiter = _delimiter(file.readline())
                file.seek(0)
                _read(csv.DictReader(file, strict=True, delimiter=delimiter), bill, decimal_comma=delimiter == ";")
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            said = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise ConfigError(
                f"{path} cannot be read as a bill: {said}. A bill is a CSV with a header that names a day (`date`), "
                "and tokens (`input_tokens`, `output_tokens`, `cached_tokens`) or money (`amount`)."
            ) from error
    return bill


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _read(rows: csv.DictReader[str], bill: Bill, *, decimal_comma: bool) -> None:
    header = {re.sub(r"\W+", "_", (name or "").strip().lower()).strip("_"): name for name in rows.fieldnames or ()}
    found = {what: [header[name] for name in names.split() if name in header] for what, names in COLUMNS.items()}
    if not found["day"]:
        raise ValueError(f"its header names no day ({', '.join(header) or 'it is empty'})")
    if not any(found[what] for what in WHAT):
        raise ValueError(f"its header names neither tokens nor money ({', '.join(header)})")
    for row in rows:
        at = f"line {rows.line_num}"
        if any(row.get(None) or ()):  # type: ignore[call-overload]  # an unquoted comma within a number shifts cells
            raise ValueError(f"{at} has more cells than the header")
        cells = {
            what: next((text for name in names if (text := (row[name] or "").strip())), "")
            for what, names in found.items()
        }
        if not any(cells[what] for what in WHAT):  # a day without use
            continue
        model = cells["model"].split(", ")[0]  # a line item: "gpt-4.1-2025-04-14, cached input"
        entry = bill.setdefault((_day(cells["day"], at), model), {})
        for what in WHAT:
            if cells[what]:
                value = _number(cells[what], at, decimal_comma=decimal_comma)
                if what != "cost" and not value.is_integer():
                    raise ValueError(f"{at} has {cells[what]!r} for a number of tokens")
                entry[what] = entry.get(what, 0.0) + value


def _day(text: str, at: str) -> str:
    try:
        if re.fullmatch(r"\d{9,11}(?:\.\d+)?", text):  # seconds since 1970
            return datetime.fromtimestamp(float(text), UTC).date().isoformat()
        moment = datetime.fromisoformat(text)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
    except (ValueError, OverflowError):
        raise ValueError(f"{at} names no day: {text!r} is not like 2026-11-26") from None


def _number(text: str, at: str, *, decimal_comma: bool) -> float:
    """`1,500.25`, `1.500,25`, `3,12`, `-$0.50`, `($0.50)`; a lone comma before three digits is of thousands.

    Args:
        text (`str`): The cell.
        at (`str`): Where it stands.
        decimal_comma (`bool`): Whether a lone comma is a decimal point whatever follows, as in a CSV with semicolons.
    """
    plain = re.sub(r"[$€£\s]", "", text)
    if plain.startswith("(") and plain.endswith(")"):
        plain = f"-{plain[1:-1]}"
    thousands = re.fullmatch(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", plain) is not None
    if "," in plain and "." in plain:
        point = max(",.", key=plain.rfind)
    elif plain.count(",") == 1:
        point = "," if decimal_comma or not thousands else "."
    else:
        point = "," if plain.count(".") > 1 else "."
    other = "." if point == "," else ","
    plain = plain.replace(other, "").replace(point, ".")
    try:
        value = float(plain)
    except ValueError:
        raise ValueError(f"{at} has {text!r} for a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{at} has {text!r} for a number")
    return value


def compare(lines: Sequence[LedgerLine], bill: Bill, tolerance: float) -> tuple[list[Difference], list[str]]:
    """The ledger beside the bill, on the days that the bill is of.

    A bill names a model by its dated version, a ledger as it was asked for: `gpt-4.1-2025-04-14` is `gpt-4.1`.

    Args:
        lines (`Sequence[LedgerLine]`): The ledger.
        bill (`dict`): From [`read_bill`].
        tolerance (`float`): Share of the larger by which the two may differ.

    Returns:
        `tuple[list[Difference], list[str]]`: Every number that the bill tells, and the days of the ledger on which it
        is silent because they are before or after its own.

    Raises:
        [`ConfigError`]: If the bill holds nothing.
    """
    if not bill:
        raise ConfigError("the bill holds no number: export the days of the runs")
    by_model = any(model for _, model in bill)
    totals = {
        (line.day, line.model): {
            "prompt_tokens": line.usage.prompt_tokens,
            "cached_tokens": line.usage.cached_tokens,
            "completion_tokens": line.usage.completion_tokens,
            "cost": line.cost / NANO,
        }
        for line in add_up(lines, *(("day", "model") if by_model else ("day",)))
    }
    known = {model for _, model in totals}
    billed: Bill = {}
    for (day, model), numbers in bill.items():
        plain = model if model in known else _DATED.sub("", model)
        entry = billed.setdefault((day, plain if plain in known else model), {})
        for what, value in numbers.items():
            entry[what] = entry.get(what, 0.0) + value
    days = [day for day, _ in billed]
    told = [what for what in WHAT if any(what in numbers for numbers in billed.values())]
    left_out = sorted({day for day, _ in totals if not min(days) <= day <= max(days)})
    differences = []
    for day, model in sorted({*billed, *(key for key in totals if key[0] not in left_out)}):
        ours, theirs = totals.get((day, model), {}), billed.get((day, model), {})
        for what in told:
            ledger, amount = ours.get(what, 0), theirs.get(what, 0.0)
            # Sums of decimals that a bill rounds differ by less than a billionth for each.
            differs = abs(ledger - amount) > max(tolerance * max(abs(ledger), abs(amount)), 0.5 / NANO)
            if ledger or amount:
                differences.append(Difference(day, model, what, ledger, amount, differs))
    return differences, left_out
