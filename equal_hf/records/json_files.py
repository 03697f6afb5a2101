"""JSON files of a run: written whole or not at all, read with errors that name them, compared key by key."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equal_hf.errors import RecordError
from equal_hf.utils.files import write_file


def differences(recorded: Any, wanted: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, as `key: recorded → wanted`.

    >>> differences({"seed": 1, "a": {"b": 2}}, {"seed": 1, "a": {"b": 3}})
    ['a.b: 2 → 3']
    """
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        changes = []
        for key in sorted(recorded.keys() | wanted.keys()):
            changes += differences(recorded.get(key), wanted.get(key), f"{path}.{key}" if path else key)
        return changes
    return [] if recorded == wanted else [f"{path}: {_short(recorded)} → {_short(wanted)}"]


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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path} is missing: is {path.parent} a run folder?") from None
    except ValueError as error:
        raise RecordError(f"{path} is damaged ({error}): restore it, or start a new run elsewhere") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path} is damaged (it holds no object): restore it, or start a new run elsewhere")
    return content


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"
