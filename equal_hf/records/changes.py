"""What of a run may change between two starts, and what it was in earlier rounds.

Limits may be raised, and lowered as far as nothing spent is beyond them; when a run ends by itself may change too.
Prompt, extractor and target may change where the run was stopped for a review, and at any time what an endpoint takes:
a parameter that it refuses by now, a schema that it heeds. Rounds on record stay as they are; the changes are in
`run.json`.

>>> changes = [{"from_round": 3, "changed": {"max_documents": [100, 200]}}]
>>> [value_at("max_documents", 200, changes, index) for index in (2, 3)]
[100, 200]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from equal_hf.errors import ResumeError

LIMITS = ("num_rounds", "max_documents", "max_prompt_tokens", "max_completion_tokens", "max_cost")
# By these a run ends by itself; another value may let it go on.
ENDS = ("stop_when", "max_cost_per_useful_pair")
# The filters know the items that no pair may repeat.
REVIEWABLE = ("extractor", "reference", "protected", "filters")


def changed_values(recorded: Any, wanted: Any, path: str = "") -> dict[str, list[Any]]:
    """Where two JSON values differ: by dotted key, what was recorded and what is wanted.

    >>> changed_values({"seed": 1, "a": {"b": 2}}, {"seed": 1, "a": {"b": 3}})
    {'a.b': [2, 3]}
    """
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        changes: dict[str, list[Any]] = {}
        for key in sorted(recorded.keys() | wanted.keys()):
            changes |= changed_values(recorded.get(key), wanted.get(key), f"{path}.{key}" if path else key)
        return changes
    return {} if recorded == wanted else {path: [recorded, wanted]}


def not_changeable(keys: Iterable[str], *, under_review: bool) -> list[str]:
    """The dotted keys that have to stay as they are.

    Args:
        keys (`Iterable[str]`): Keys that differ.
        under_review (`bool`): Whether the run was stopped for a review, and no round followed yet.
    """
    free = LIMITS + ENDS + (REVIEWABLE if under_review else ())
    return [key for key in keys if key.partition(".")[0] not in free]


def is_endpoints_own(key: str, changed: Mapping[str, Sequence[Any]]) -> bool:
    """Whether a difference comes from what an endpoint takes or refuses by now, and not from a setting.

    Args:
        key (`str`): The dotted key.
        changed (`Mapping[str, Sequence]`): From [`changed_values`].

    >>> changed = changed_values({"extractor": {"sampling": {"temperature": 0.0}}}, {"extractor": {"sampling": {}}})
    >>> is_endpoints_own("extractor.sampling.temperature", changed)
    True
    """
    if key == "extractor.schema_hash":
        return "extractor.prompt_hash" not in changed
    # Its context may be known by now, and was not.
    own = key.startswith("extractor.sampling.") or key == "extractor.max_prompt_tokens"
    return own and None in changed[key]


def in_words(key: str, recorded: Any, wanted: Any) -> str:
    """A change of the fingerprint; two hashes of items tell a reader nothing."""
    if key == "protected" or key.endswith(".protected") or key.startswith("reference."):
        return "the items of the target changed (`target…`, `n_reference`, `n_validation`, `n_test`, `seed`)"
    return f"{key}: {_short(recorded)} → {_short(wanted)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"


def require_room(changed: Mapping[str, Sequence[Any]], spent: Mapping[str, float], run_dir: str) -> None:
    """Refuse a limit that was lowered below what is spent.

    Args:
        changed (`Mapping[str, Sequence]`): From [`changed_values`].
        spent (`Mapping[str, float]`): What is spent, by the name of the limit.
        run_dir (`str`): The run folder, for the message.

    Raises:
        [`ResumeError`]: If one is below.
    """
    for name in LIMITS:
        limit = changed[name][1] if name in changed else None
        if limit is not None and limit < spent[name]:
            before = changed[name][0]
            raise ResumeError(
                f"`{name}` was {'not set' if before is None else before} and is {limit} now, but {run_dir} has spent "
                f"{spent[name]:,.10g} already: raise it to that at least, or set `output_dir` to a new folder"
            )


def value_at(key: str, value: Any, changes: Sequence[Mapping[str, Any]], index: int) -> Any:
    """What a setting was in a round.

    Args:
        key (`str`): The setting.
        value (`Any`): What it is now.
        changes (`Sequence[Mapping]`): `changes` of `run.json`, the oldest first.
        index (`int`): The round.
    """
    for change in reversed(changes):
        if change["from_round"] > index and key in change["changed"]:
            value = change["changed"][key][0]
    return value


def limits_at_start(run: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that a run began under; what its documents are weighed against stays as these say.

    Args:
        run (`Mapping[str, Any]`): `run.json`.

    >>> changes = [{"from_round": 3, "changed": {"max_cost": [None, 2.0]}}]
    >>> limits_at_start({"fingerprint": {"max_documents": 9, "max_cost": 2.0}, "changes": changes})["max_cost"]
    """
    recorded, changes = run["fingerprint"], run.get("changes", [])
    return {name: value_at(name, recorded.get(name), changes, 0) for name in LIMITS}
