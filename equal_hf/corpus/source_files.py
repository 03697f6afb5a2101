"""The files that a corpus or a target is made of: a local file, folder or glob, or a dataset on the Hub.

A local folder means all of its files, at any depth, in the order of their paths; nothing is taken from how they are
called. Only a split that is asked for by name picks files: those called like it (`train.jsonl`, `train/a.txt`,
`train-00000-of-00002.parquet`). A dataset on the Hub, or a local folder whose `README.md` declares `configs`, is made
of the files that `datasets` finds for a split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

from equal_hf.corpus.declared_files import declared_files
from equal_hf.corpus.file_rows import DatasetName, SourceFile
from equal_hf.corpus.local_files import local_file, local_paths
from equal_hf.corpus.row_formats import COMPRESSIONS, FORMATS, PARSERS
from equal_hf.corpus.splits import files_of_split, select_split
from equal_hf.errors import CorpusError, MissingDependencyError


def find_files(dataset: DatasetName) -> list[SourceFile]:
    """The files of a dataset in the order in which they are read; those that are not say why (`problem`).

    Raises:
        CorpusError: Nothing is there, it holds no data, it may not be read, or it lacks the configuration or split.
        MissingDependencyError: A file needs a parser that is not installed.
    """
    files = _find_files(dataset)
    for file in files:
        missing = [name for name in PARSERS.get(file.format, ()) if not file.problem and find_spec(name) is None]
        if missing:
            raise MissingDependencyError(
                f"`{dataset.setting}`: {file.name} takes {' and '.join(missing)} to read, not installed here. Install "
                'what reads documents: pip install "equal-hf[documents]".'
            )
    return files


def _find_files(dataset: DatasetName) -> list[SourceFile]:
    root, paths = local_paths(dataset)
    if paths is None:
        return declared_files(dataset)
    files = [local_file(path, root, dataset) for path in paths]
    readable = [file for file in files if not file.problem]
    if not readable:
        told = unread_files(files)
        endings = [end for end, kind in FORMATS.items() if dataset.setting == "corpus" or kind not in PARSERS]
        raise CorpusError(
            f"`{dataset.setting}`: {dataset.source} cannot be opened: {told or 'it holds no files'}. Name a file or "
            f"a folder of files that end in {', '.join(endings)}; compressed ones in {', '.join(COMPRESSIONS)} behind "
            "that."
        )
    if dataset.split is None or root is None:
        picked = readable if "[" not in (dataset.split or "") else select_split(dataset, lambda _: readable)
        return picked + [file for file in files if file.problem]
    return select_split(dataset, lambda split: files_of_split(readable, split))


def unread_files(files: list[SourceFile]) -> str:
    """Names and counts the files that are not read, by why they are not; empty where all are.

    >>> unread_files([SourceFile("a.png", "a.png", problem="a .png file"), SourceFile("b.txt", "b.txt", "text")])
    '1 file is not read: a .png file (a.png)'
    """
    unread = [file for file in files if file.problem]
    reasons = Counter(file.problem for file in unread)
    parts = []
    for reason, _ in reasons.most_common():
        names = [file.relative or file.name for file in unread if file.problem == reason]
        parts.append(f"{reason} ({some_names(names)})")
    return f"{len(unread)} file{' is' if len(unread) == 1 else 's are'} not read: {'; '.join(parts)}" if unread else ""


def some_names(names: Sequence[str]) -> str:
    """The first three of some names, and how many more there are.

    >>> some_names(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
