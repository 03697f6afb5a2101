"""Target items as datasets that a trainer evaluates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from equal_hf.target.items import Target, TargetItem, without_annotations
from equal_hf.types import QAPair


def conversational(items: Iterable[TargetItem]) -> Any:
    """Target items as a conversational prompt-completion dataset, or `None` where there are none."""
    from datasets import Dataset

    rows = [QAPair(item.question, item.answer, document_id="").messages() for item in items]
    return Dataset.from_list(rows) if rows else None


def evaluation_sets(
    targets: Mapping[str, Target], part: Literal["validation", "test"], *, annotations: str = "strip"
) -> Any:
    """A part of the targets as a trainer evaluates it: a dataset where there is one target, else one by name.

    Args:
        targets (`Mapping[str, Target]`): The targets.
        part (`str`): `"validation"` or `"test"`.
        annotations (`str`, *optional*, defaults to `"strip"`): `"strip"` or `"keep"` calculator annotations.

    Returns:
        `Dataset`, `dict[str, Dataset]` or `None`: `None` where no target has that part.
    """
    shown = without_annotations if annotations == "strip" else lambda item: item
    sets = {name: conversational(map(shown, getattr(target, part))) for name, target in targets.items()}
    if len(sets) == 1:
        return next(iter(sets.values()))
    return {name: items for name, items in sets.items() if items is not None} or None
