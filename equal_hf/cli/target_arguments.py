"""The keys `target`, `target_*` of a recipe, which hold one value for every target or one for each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from equal_hf.errors import ConfigError

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments

# By key, the argument of `load_target` that it gives.
PER_TARGET = {
    "target": "source",
    "target_config": "name",
    "target_revision": "revision",
    "target_reference_split": "reference_split",
    "target_validation_split": "validation_split",
    "target_test_split": "test_split",
    "target_split_column": "split_column",
    "target_question_column": "question_column",
    "target_answer_column": "answer_column",
}
NONE = "null"  # as YAML writes it; the way to say it by flag
ONLY = "target"  # the name of a run's one target


def as_list(value: Any) -> list[str] | None:
    """One value or a list of them, from YAML, flag or record, as a list of texts.

    >>> as_list("train[:10]"), as_list(["main", None]), as_list(None)
    (['train[:10]'], ['main', 'null'], None)
    """
    if value in (None, ""):
        return None
    return [NONE if item is None else str(item) for item in (value if isinstance(value, list | tuple) else [value])]


def target_settings(run: RunArguments) -> dict[str, dict[str, Any]]:
    """For every target by name, what `load_target` is told of it.

    Raises:
        [`ConfigError`]: If a key has neither one value nor one for each target, or two targets have one name.
    """
    settings: list[dict[str, Any]] = [{} for _ in run.target]
    for key, argument in PER_TARGET.items():
        values = getattr(run, key)
        if values is not None and len(values) not in (1, len(settings)):
            raise ConfigError(
                f"`{key}` has {len(values)} values for {len(settings)} targets: give one for all, or one for each"
            )
        for place, of_target in enumerate(settings):
            value = None if values is None else values[place % len(values)]
            of_target[argument] = None if value == NONE else value
    return dict(zip(_names(run), settings, strict=True))


def _names(run: RunArguments) -> list[str]:
    names = run.target_names or ([ONLY] if len(run.target) == 1 else [_name(source) for source in run.target])
    if len(names) != len(run.target):
        raise ConfigError(f"`target_names` has {len(names)} values for {len(run.target)} targets: give one for each")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name, re.ASCII):
            raise ConfigError(f"`target_names` holds {name!r}: use letters, digits, _ and - only")
        if names.count(name) > 1:
            raise ConfigError(f"two targets are called {name!r}: tell them apart with `target_names`")
    return names


def _name(source: str) -> str:
    """A target's name where none is given: the last part of where it is.

    >>> _name("HuggingFaceH4/MATH-500"), _name("data/gsm8k.jsonl"), _name("sums/")
    ('MATH-500', 'gsm8k', 'sums')
    """
    last = re.sub(r"\.(parquet|jsonl?|csv)$", "", re.split(r"[/\\]", source.rstrip("/\\"))[-1])
    return re.sub(r"[^A-Za-z0-9_-]", "_", last)
