"""Local files that are meant by a path: the file, all files of a folder, or what a glob matches."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from equal_hf.corpus.file_rows import DatasetName, SourceFile
from equal_hf.corpus.row_formats import COMPRESSIONS, FORMATS, PARSERS
from equal_hf.errors import CorpusError
from equal_hf.utils.markdown import split_front_matter

# Written by `datasets` beside the data, and no data.
_METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


def local_paths(dataset: DatasetName) -> tuple[Path | None, list[Path] | None]:
    """The folder that paths are told from and the files below it; no folder for a single file, no files for a dataset
    that `datasets` has to list."""
    source, setting = dataset.source, dataset.setting
    path = Path(source).expanduser()
    if path.is_file():
        if format_of(path) is None:
            raise CorpusError(
                f"`{setting}`: the file {source} is none of {', '.join(FORMATS)}. Convert it, or "
                "name a folder or a Hub dataset."
            )
        return None, [path]
    if path.is_dir():
        if _declares_configs(path):
            return path, None
        if not any(path.iterdir()):
            raise CorpusError(
                f"`{setting}`: the folder {source} is empty. Name one that holds {', '.join(FORMATS)} files."
            )
        if dataset.config is not None:
            raise CorpusError(
                f"`{setting}`: the folder {source} declares no configurations in a README.md, and "
                f"{dataset.config!r} is asked for. Leave that out."
            )
        return path, list(_walk(path))
    if glob.has_magic(source):
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
        if not found:
            raise CorpusError(
                f"`{setting}`: nothing is at {source}. Name a file, a folder or a glob that matches one."
            )
        nested = [list(_walk(one)) if one.is_dir() else [one] for one in found]
        plain = [part for part in path.parts if not glob.has_magic(part)]
        root = Path(*path.parts[: next((i for i, part in enumerate(path.parts) if part not in plain), len(plain))])
        return root, list(dict.fromkeys(one for group in nested for one in group))
    if looks_local(source):
        raise CorpusError(f"`{setting}`: nothing is at {source}. Name an existing file, a folder or a Hub dataset id.")
    return None, None


def looks_local(source: str) -> bool:
    """Whether a name can only be meant as a path: no repository on the Hub is called so.

    >>> looks_local("nothere.parquet"), looks_local("./notes"), looks_local("org/name")
    (True, True, False)
    """
    return (
        source.startswith(("/", ".", "~")) or source.count("/") > 1 or Path(source).suffix in (*FORMATS, *COMPRESSIONS)
    )


def _declares_configs(folder: Path) -> bool:
    try:
        metadata, _ = split_front_matter((folder / "README.md").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(metadata.get("configs"))


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder by their paths, links followed, each folder once; hidden folders are not entered."""
    seen: set[str] = set()
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(parent, name) for name in folders if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names]
    yield from sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def format_of(path: Path) -> str | None:
    """The format that the ending of a name stands for, with that of a compression or without.

    >>> format_of(Path("a.jsonl.gz")), format_of(Path("B.TXT")), format_of(Path("c.tar.gz"))
    ('jsonl', 'text', None)
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def separator_of(name: str) -> str:
    """What separates the values of a CSV file, by the ending of its name."""
    return "\t" if ".tsv" in Path(name.lower()).suffixes[-2:] else ","


def local_file(path: Path, root: Path | None, dataset: DatasetName) -> SourceFile:
    """A file as it is read, or with why it is not; `root` is the folder that was named, if one was."""
    absolute = str(path.absolute())
    relative = path.name if root is None else path.relative_to(root).as_posix()
    try:
        facts = path.stat()
    except OSError as error:
        problem = f"no file that can be read: {error.strerror}"
        return SourceFile(absolute, absolute, "", "", relative, problem=problem, setting=dataset.setting)
    kind = format_of(path)
    problem = ""
    if kind in PARSERS and dataset.setting != "corpus":
        problem = f"a {path.suffix.lower()} file, which holds documents and no rows with columns"
    elif root is None:  # named by itself, so it is meant
        problem = "an empty file" if facts.st_size == 0 else ""
    elif path.name.startswith("."):
        problem = "a hidden folder" if path.is_dir() else "a hidden file"
    elif not stat.S_ISREG(facts.st_mode):
        problem = "no regular file"
    elif path.name in _METADATA:
        problem = "metadata of `datasets`"
    elif path.name == "README.md" and _is_card(path):
        problem = "a dataset card"
    elif kind is None:
        problem = f"a {path.suffix.lower()} file" if path.suffix else "a file without an ending"
    elif facts.st_size == 0:
        problem = "an empty file"
    return SourceFile(
        absolute,
        absolute,
        kind or "",
        # The last changes with any write, also where a copy keeps the time of the original.
        f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ctime_ns}",
        relative,
        problem=problem,
        separator=separator_of(path.name),
        setting=dataset.setting,
    )


def _is_card(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4).startswith(b"---")
