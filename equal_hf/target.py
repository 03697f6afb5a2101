"""The target task: the questions and answers that say what good data looks like.

A target has three disjoint parts: the *reference* pays the transport reward, the *validation* set pays the loss
reward, and the *test* set is touched by nothing but the final measurement. There may be several targets, each with a
name and a weight.

>>> shares = target_shares(["gsm8k", "math"], [3.0, 1.0])
>>> shares, weighted_mean({"gsm8k": 2.0, "math": 4.0}, shares)
({'gsm8k': 0.75, 'math': 0.25}, 2.5)
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from equal_hf.corpus.file_rows import UnreadableFile
from equal_hf.corpus.open_dataset import open_dataset
from equal_hf.corpus.row_reader import text_of
from equal_hf.errors import ConfigError, CorpusError, TargetError
from equal_hf.types import QAPair
from equal_hf.utils.settings import NULL, Range, check_settings, setting

logger = logging.getLogger(__name__)

ONLY = "target"  # the name of a run's one target
PerTarget = list[Annotated[str, NULL]]  # one value for every target, or one for each
Size = Annotated[int, Range(1)] | None


@dataclass
class TargetConfig:
    """Where the target tasks are: one value of `target_…` for all of them, or one for each, `null` for none.

    Each field says what it is.
    """

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


@dataclass(frozen=True, slots=True)
class TargetItem:
    """A question of the target task.

    Args:
        question (`str`): The question.
        answer (`str`): The full answer.
        final (`str`, *optional*): The bare result, where the task has one (GSM8K's number); scored by exact match. A
            blank one is `None`.
    """

    question: str
    answer: str
    final: str | None = None

    def __post_init__(self) -> None:
        if self.final is not None and not str(self.final).strip():
            object.__setattr__(self, "final", None)  # a frozen dataclass is set this way

    def text(self) -> str:
        """The item as it is embedded; the same form as a pair's."""
        return f"{self.question}\n{self.answer}"


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a target task.

    Args:
        reference (`tuple[TargetItem, ...]`): Pays the transport reward.
        validation (`tuple[TargetItem, ...]`): Pays the loss reward.
        test (`tuple[TargetItem, ...]`): Measures the gain, and nothing else.
    """

    reference: tuple[TargetItem, ...]
    validation: tuple[TargetItem, ...] = ()
    test: tuple[TargetItem, ...] = ()

    def protected(self) -> list[TargetItem]:
        """Every item that no pair may repeat."""
        return [*self.reference, *self.validation, *self.test]


def load_target(
    source: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    reference_split: str = "reference",
    validation_split: str | None = "validation",
    test_split: str | None = "test",
    split_column: str | None = None,
    question_column: str = "question",
    answer_column: str = "answer",
    final_column: str | None = None,
    n_reference: int | None = 100,
    n_validation: int | None = None,
    n_test: int | None = None,
    seed: int = 42,
    token: str | None = None,
) -> Target:
    """Read a target task from the Hub or from local files.

    Args:
        source (`str`): Hub id, folder or file, as for the corpus.
        name (`str`, *optional*): Configuration of the dataset (`"main"` for GSM8K).
        revision (`str`, *optional*): Revision of the dataset.
        reference_split, validation_split, test_split (`str`, *optional*): Split expressions, slices included
            (`"train[:500]"`); with `split_column`, values of that column. `None` leaves a part empty.
        split_column (`str`, *optional*): Column that names each row's split, for a dataset that is one table (its
            `train` split).
        question_column, answer_column (`str`): Columns to read.
        final_column (`str`, *optional*): Column of bare results; `final`, where there is one, if left out. An item
            without a result there has the one that [`marked_result`] reads from its answer.
        n_reference, n_validation, n_test (`int`, *optional*): Size of a seeded sample of each part; `None` takes all.
        seed (`int`, *optional*, defaults to `42`): Seeds the samples.
        token (`str`, *optional*): Hub token.

    Raises:
        [`TargetError`]: If the source, a split or a column is missing, or a part is empty.
    """
    parts: dict[str, tuple[TargetItem, ...]] = {}
    wanted = {
        "reference": (reference_split, n_reference),
        "validation": (validation_split, n_validation),
        "test": (test_split, n_test),
    }
    for part, (split, size) in wanted.items():
        if split is None:
            parts[part] = ()
            continue
        rows = _open(source, part, split, split_column, name=name, revision=revision, token=token)
        where = f"split {split!r} of target {source!r}"
        items = read_items(rows, question_column, answer_column, final_column, where=where)
        if size is not None and size < len(items):
            chosen = sorted(random.Random(f"{seed}-{part}").sample(range(len(items)), size))
            items = [items[i] for i in chosen]
        parts[part] = tuple(items)
    return Target(**parts)


def load_targets(config: TargetConfig, seed: int) -> dict[str, Target]:
    """The target tasks by name; the only one of a run that has one is called `"target"`.

    Args:
        config ([`TargetConfig`]): Where they are.
        seed (`int`): Seeds the samples.

    Raises:
        [`TargetError`]: If a split or column is missing.
        [`ConfigError`]: If settings do not fit the targets.
    """
    sizes: dict[str, Any] = {name: getattr(config, name) for name in ("n_reference", "n_validation", "n_test")}
    return {name: load_target(**arguments, **sizes, seed=seed) for name, arguments in config.by_name().items()}


def read_items(
    rows: Iterable[Mapping[str, Any]],
    question_column: str,
    answer_column: str,
    final_column: str | None = None,
    where: str = "the target",
) -> list[TargetItem]:
    """The rows of a dataset as target items; rows without a question or an answer are counted and left out.

    Args:
        rows (`Iterable[Mapping[str, Any]]`): The rows. Numbers are taken as they are written.
        question_column, answer_column, final_column (`str`): Columns to read, as for [`load_target`].
        where (`str`, *optional*): What messages call the rows.

    Raises:
        [`TargetError`]: If a column is missing or no row is usable.
    """
    rows = list(rows)
    columns = {name for row in rows for name in row}
    keys = {
        "target_question_column": question_column,
        "target_answer_column": answer_column,
        "target_final_column": final_column,
    }
    for key, column in keys.items():
        if rows and column is not None and column not in columns:
            raise TargetError(
                f"{where} has no column {column!r}: set `{key}` to one of {', '.join(sorted(columns)) or 'none'}"
            )
    wanted = (question_column, answer_column, final_column or "final")
    items = [
        TargetItem(question, answer, final if final.strip() else marked_result(answer))
        for question, answer, final in ((text_of(row.get(column)) for column in wanted) for row in rows)
        if question.strip() and answer.strip()
    ]
    if not items:
        raise TargetError(f"{where} holds no question with an answer: name another split or other columns")
    if len(items) < len(rows):
        logger.warning("%s: %d of %d rows have no question or no answer", where, len(rows) - len(items), len(rows))
    return items


def marked_result(text: str) -> str | None:
    r"""The result that a text marks as such: behind `####` at its end, as in GSM8K, or in its last `\boxed{}`.

    >>> marked_result("3 * 4 = <<3*4=12>>12\n#### 12"), marked_result(r"So $x = \boxed{\frac{1}{2}}$.")
    ('12', '\\frac{1}{2}')
    >>> marked_result("#### Step 1\nAdd 2 and 2.") is None  # a heading
    True
    """
    if (last := _HASHES.search(text)) is not None:
        return last[1].strip()
    for box in reversed(list(_BOX.finditer(text))):
        if (inside := _inside(text, box.end()) if box[0].endswith("{") else box[1]) and inside.strip():
            return inside.strip()
    return None


_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*(\S[^\n]*)\s*\Z")
_BOX = re.compile(r"\\f?boxed\s*(?:\{|([^\s{}$]+))")


def _inside(text: str, start: int) -> str:
    """What stands in braces, others within included; empty where they are not closed."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    return ""


def _open(source: str, part: str, split: str, split_column: str | None, **hub: Any) -> list[Mapping[str, Any]]:
    try:
        rows: list[Any] = list(open_dataset(source, split=None if split_column else split, setting="target", **hub))
        return rows if split_column is None else _rows_of_split(rows, split, split_column)
    except UnreadableFile as error:
        raise TargetError(str(error)) from error
    except (CorpusError, ValueError, KeyError) as error:
        raise TargetError(
            f"target {source!r} has no {part} part in split {split!r} ({error}): "
            f"set `target_{part}_split` to a split it has, or to null to go without"
        ) from error


def _rows_of_split(rows: list[Any], split: str, split_column: str) -> list[Mapping[str, Any]]:
    columns = dict.fromkeys(name for row in rows for name in row)
    if split_column not in columns:
        raise ValueError(f"no column {split_column!r} among {', '.join(columns)}; see `target_split_column`")
    found = [row for row in rows if text_of(row.get(split_column)) == split]
    if not found:
        values = sorted({text_of(row.get(split_column)) for row in rows})
        raise ValueError(f"column {split_column!r} holds {', '.join(values)}")
    return found


def conversational(items: Iterable[TargetItem]) -> Any:
    """Target items as a conversational prompt-completion dataset, or `None` where there are none."""
    from datasets import Dataset

    rows = [QAPair(item.question, item.answer, document_id="").messages() for item in items]
    return Dataset.from_list(rows) if rows else None


def without_annotations(item: TargetItem) -> TargetItem:
    """An item without calculator annotations in its answer.

    In GSM8K's answers they take a third of the tokens, and no pair of a corpus has them: a loss with them says less of
    what is learned.

    >>> without_annotations(TargetItem("Half of 48?", "It is 48/2 = <<48/2=24>>24.\\n#### 24")).answer
    'It is 48/2 = 24.\\n#### 24'
    """
    return replace(item, answer=_ANNOTATION.sub("", item.answer))


_ANNOTATION = re.compile(r"<<[-+*/().\d]{1,200}=[-+*/().=\d]{1,200}>>")


def has_annotations(targets: Mapping[str, Target], part: Literal["validation", "test"]) -> bool:
    """Whether an answer of that part of a target has calculator annotations."""
    return any(_ANNOTATION.search(item.answer) for target in targets.values() for item in getattr(target, part))


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


def target_shares(names: Iterable[str], weights: Sequence[float] | Mapping[str, float] | None) -> dict[str, float]:
    """Weights of the targets, made to add up to 1.

    Args:
        names (`Iterable[str]`): The targets.
        weights (`Sequence[float]` or `Mapping[str, float]`, *optional*): One each, in the same order or by name; the
            same where left out.

    Raises:
        [`ConfigError`]: If they do not fit the targets, one is below 0, or all are 0.
    """
    names = list(names)
    if weights is not None and not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise ConfigError(
                f"`target_weights` has {len(weights)} values for {len(names)} targets ({', '.join(names)}): "
                "give one each"
            )
        weights = dict(zip(names, weights, strict=True))
    given = dict.fromkeys(names, 1.0) | dict(weights or {})
    if set(given) != set(names) or min(given.values()) < 0 or not sum(given.values()) > 0:
        raise ConfigError(
            f"`target_weights` is {dict(weights or {})} for the targets {', '.join(names)}: give each of them a "
            "weight, none below 0 and not all 0"
        )
    return {name: given[name] / sum(given.values()) for name in names}


def weighted_mean(values: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """Mean over the targets that have a value, by their shares; a plain mean where all of these count nothing.

    Args:
        values (`Mapping[str, float]`): A value for one target at least.
        shares (`Mapping[str, float]`): What each target counts.

    >>> weighted_mean({"math": 4.0}, {"gsm8k": 0.75, "math": 0.25})
    4.0
    """
    weights = {name: shares[name] for name in values}
    total = sum(weights.values())
    if not total > 0:
        return sum(values.values()) / len(values)
    return sum(weights[name] * value for name, value in values.items()) / total
