"""Split expressions: which files of a dataset a split has, and which of their rows.

[`select_split`] takes what `datasets` takes (`"train[:500]+test"`); [`files_of_split`] finds the files of a local
folder that are called like a split.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from equal_hf.corpus.file_rows import DatasetName, SourceFile, count_rows
from equal_hf.errors import CorpusError
from equal_hf.utils.printable import first_line


def select_split(
    dataset: DatasetName,
    files_of: Callable[[str], list[SourceFile]],
    open_rows: Callable[[SourceFile], Any] | None = None,
) -> list[SourceFile]:
    """The files of a split expression, such as `"train[:500]+test"`, with the rows that a slice leaves of them."""
    from datasets import ReadInstruction

    picked: list[SourceFile] = []
    try:
        for part in (dataset.split or "train").split("+"):
            split = part.partition("[")[0].strip()
            files = files_of(split)
            if "[" not in part:
                picked += files
                continue
            counts = [count_rows(file, open_rows) for file in files]
            (instruction,) = ReadInstruction.from_spec(part.strip()).to_absolute({split: sum(counts)})
            first, last = instruction.from_ or 0, sum(counts) if instruction.to is None else instruction.to
            begin = 0
            for file, count in zip(files, counts, strict=True):
                rows = max(first - begin, 0), min(last - begin, count)
                if rows[0] < rows[1]:
                    picked.append(replace(file, name=f"{file.name} {part.strip()}", rows=rows))
                begin += count
    except (ValueError, AssertionError) as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(
            f"`{dataset.setting}`: {dataset.source!r} (configuration {dataset.config!r}, split {dataset.split!r}) "
            f"cannot be opened: {first_line(error)}. Name a split that it has."
        ) from error
    return picked


def files_of_split(files: list[SourceFile], split: str) -> list[SourceFile]:
    """Files that are called like a split; for `"train"`, where none is, all of them.

    The other words for a split that `datasets` knows count too (`dev.jsonl` for `"validation"`), as whole names only.
    """
    from datasets.data_files import SPLIT_KEYWORDS

    words = {str(name): list(other) for name, other in SPLIT_KEYWORDS.items()}.get(split, [])
    for word in dict.fromkeys([split, *words]):
        # As a whole name, without endings and the number of a shard.
        called = re.compile(rf"{re.escape(word)}(-\d+-of-\d+)?(\.\w+)*")
        found = [
            file for file in files if any(called.fullmatch(part) for part in _name_and_folder(file.relative, word))
        ]
        if found:
            return found
    if split == "train":
        return files
    names = sorted({Path(file.relative).name.partition(".")[0] for file in files})
    raise ValueError(f'Unknown split "{split}"; files are called {", ".join(names[:10])}')


def _name_and_folder(relative: str, word: str) -> list[str]:
    *folders, name = relative.split("/")
    return [name, *(folder for folder in folders if folder == word)]
