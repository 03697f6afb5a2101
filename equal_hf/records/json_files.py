"""JSON files of a run: written whole or not at all, and read with errors that name them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equal_hf.errors import RecordError
from equal_hf.utils.files import write_file


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is there whole or not at all, and survives a power cut.

    A number that is not finite, as a training that diverges measures, becomes `null`: JSON has none.
    """
    write_file(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """The value with `None` for every number in it that is not finite.

    >>> finite({"loss": float("nan"), "losses": [1.5, float("inf")]})
    {'loss': None, 'losses': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run.

    Raises:
        [`RecordError`]: If it is missing or damaged.
    """
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("it holds no object")
        return content


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in whatever its content raises while it is read.

    Args:
        path (`Path`): The file.

    Raises:
        [`RecordError`]: If it is missing, cannot be read, is cut short, or holds values of another shape.
    """
    remedy = "restore it, or start a new run elsewhere"
    try:
        yield
    except RecordError:
        raise
    except FileNotFoundError:
        raise RecordError(f"{path} is missing: {remedy}") from None
    except MemoryError:
        raise
    except Exception as error:  # Arrow, safetensors and JSON each raise their own
        known = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        reason = " ".join(known.replace(str(path), "it").split()) or type(error).__name__
        raise RecordError(f"{path} is damaged ({reason}): {remedy}") from error


def check_rewards(record: Mapping[str, Any], arms: int | None = None) -> None:
    """Whether a record of rewards has the shape that everything reads.

    Args:
        record (`Mapping[str, Any]`): `rewards` by name; `mixed`, `metrics`, `useful_pairs` and `forecast` where they
            are known.
        arms (`int`, *optional*): How many values each of them has.

    Raises:
        `TypeError`: If a part has another shape.
    """
    rewards = record["rewards"]
    if not isinstance(rewards, Mapping):
        raise TypeError("`rewards` is no mapping")
    if not isinstance(record.get("metrics", {}), Mapping):
        raise TypeError("`metrics` is no mapping")
    for name, values in {**rewards, **({"mixed": record["mixed"]} if "mixed" in record else {})}.items():
        if not isinstance(values, list) or not all(_is_number(value) for value in values):
            raise TypeError(f"`{name}` is no list of numbers")
        if arms is not None and len(values) != arms:
            raise TypeError(f"`{name}` has {len(values)} values for {arms} decisions")
    if not _is_number(record.get("useful_pairs")):
        raise TypeError("`useful_pairs` is no number")
    if (forecast := record.get("forecast")) is not None:
        numbers = [forecast[name] for name in ("useful", "spent", "left", "found_share", "cost_per_useful_pair")]
        numbers += [part[name] for part in forecast["ahead"] for name in ("share", "budget", "useful", "low", "high")]
        if not all(_is_number(value) for value in numbers):
            raise TypeError("`forecast` holds something else than numbers")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
