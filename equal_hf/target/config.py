"""Settings: where the target tasks are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from equal_hf.errors import ConfigError
from equal_hf.utils.effective import SEVERAL, AllNeeds
from equal_hf.utils.settings import check_settings, setting
from equal_hf.utils.typed_values import NULL, Range

ONLY = "target"  # the name of a run's one target
PerTarget = list[Annotated[str, NULL]]  # one value for every target, or one for each
Size = Annotated[int, Range(1)] | None


@dataclass
class TargetConfig:
    """Where the target tasks are: one value of `target_…` for all of them, or one for each, `null` for none.

    Each field says what it is.
    """

    needs: ClassVar[AllNeeds] = {"target_names": {"target": SEVERAL}}

    target: PerTarget = setting(
        [], "Questions and answers of the target task, or of several: Hub dataset, file, folder."
    )
    target_names: list[str] | None = setting(
        None, "Names of several targets in rewards, losses and tables; the last part of their `target` if unset."
    )
    target_config: PerTarget | None = setting(None, "Configuration of the Hub dataset.")
    target_revision: PerTarget | None = setting(None, "Revision of the Hub dataset.")
    target_reference_split: PerTarget = setting(["reference"], "Split that says what is wanted; pays rewards.")
    target_validation_split: PerTarget | None = setting(["validation"], "Split whose loss pays `loss_drop`.")
    target_test_split: PerTarget | None = setting(["test"], "Split that measures, and nothing else.")
    target_split_column: PerTarget | None = setting(
        None, "Column that names the split of each row, for a target that is one table."
    )
    target_question_column: PerTarget = setting(["question"], "Column of questions.")
    target_answer_column: PerTarget = setting(["answer"], "Column of answers.")
    target_final_column: PerTarget | None = setting(
        None,
        "Column of bare results, which exact match compares; if unset, `final` where there is one. An item without a "
        "result there has the one behind `####` or in `\\boxed{}` in its answer.",
    )
    target_annotations: str = setting(
        "strip",
        "Calculator annotations in validation and test answers, as GSM8K's `<<48/2=24>>`: `strip` them before the "
        "loss is measured, or `keep` them. The reference keeps them.",
        ("strip", "keep"),
    )
    n_reference: Size = setting(100, "Reference items used of each target, a seeded sample; all if null.")
    n_validation: Size = setting(None, "Validation items used of each target, a seeded sample; all if unset.")
    n_test: Size = setting(None, "Test items used of each target, a seeded sample; all if unset.")

    def __post_init__(self) -> None:
        check_settings(self, only=TargetConfig)
        self.by_name()

    def by_name(self) -> dict[str, dict[str, Any]]:
        """The arguments of [`load_target`] for every target, by its name.

        Raises:
            [`ConfigError`]: If a key has neither one value nor one for each target, or two targets have one name.
        """
        arguments: list[dict[str, Any]] = [{} for _ in self.target]
        for key in ("target", "target_config", *(f"target_{name}" for name in _PER_TARGET)):
            values = getattr(self, key) or [NULL]
            if len(values) not in (1, len(arguments)) and arguments:
                raise ConfigError(
                    f"`{key}` has {len(values)} values for {len(arguments)} targets: give one for all, or one for each"
                )
            argument = {"target": "source", "target_config": "name"}.get(key, key.removeprefix("target_"))
            for index, of_target in enumerate(arguments):
                value = values[index % len(values)]
                of_target[argument] = None if value in (NULL, "") else value
        return dict(zip(self._names(), arguments, strict=True))

    def _names(self) -> list[str]:
        names = self.target_names or ([ONLY] if len(self.target) == 1 else [_short_name(one) for one in self.target])
        if len(names) != len(self.target):
            raise ConfigError(
                f"`target_names` has {len(names)} values for {len(self.target)} targets: give one for each"
            )
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name, re.ASCII):
                raise ConfigError(f"`target_names` holds {name!r}: use letters, digits, _ and - only")
            if names.count(name) > 1:
                raise ConfigError(f"two targets are called {name!r}: tell them apart with `target_names`")
        return names


_PER_TARGET = (
    "revision reference_split validation_split test_split split_column question_column answer_column final_column"
).split()


def _short_name(source: str) -> str:
    """A target's name where none is given: the last part of where it is.

    >>> _short_name("HuggingFaceH4/MATH-500"), _short_name("data/gsm8k.jsonl"), _short_name("sums/")
    ('MATH-500', 'gsm8k', 'sums')
    """
    last = re.sub(r"\.(parquet|jsonl?|csv)$", "", re.split(r"[/\\]", source.rstrip("/\\"))[-1])
    return re.sub(r"[^A-Za-z0-9_-]", "_", last)
