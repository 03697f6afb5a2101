"""Reading target tasks from the Hub or from local files."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping
from typing import Any

from equal_hf.corpus.file_rows import UnreadableFile
from equal_hf.corpus.open_dataset import open_dataset
from equal_hf.corpus.row_reader import text_of
from equal_hf.errors import CorpusError, TargetError
from equal_hf.target.config import TargetConfig
from equal_hf.target.items import Target, TargetItem, marked_result

logger = logging.getLogger(__name__)


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
        raise TargetError(
            f"{where} holds no question with an answer: name another split, or set `target_question_column` "
            f"({question_column!r}) and `target_answer_column` ({answer_column!r}) to other columns"
            if rows
            else f"{where} is empty: name another split or another `target`"
        )
    if len(items) < len(rows):
        logger.warning("%s: %d of %d rows have no question or no answer", where, len(rows) - len(items), len(rows))
    return items


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
