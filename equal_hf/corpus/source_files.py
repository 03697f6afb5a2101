"""The files that a corpus or a target is made of: a local file, folder or glob, or a dataset on the Hub.

A local folder means all of its files, at any depth, in the order of their paths; nothing is taken from how they are
called. Only a split that is asked for by name picks files: those called like it (`train.jsonl`, `train/a.txt`,
`train-00000-of-00002.parquet`). A dataset on the Hub, or a local folder whose `README.md` declares `configs`, is made
of the files that `datasets` finds for a split.
"""

from __future__ import annotations

import copy
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from equal_hf.corpus.file_rows import COMPRESSIONS, FORMATS, SourceFile, count_rows
from equal_hf.errors import CorpusError
from equal_hf.utils.hub_retry import wait_for_hub
from equal_hf.utils.markdown import split_front_matter
from equal_hf.utils.printable import first_line

_HUB = "hf://datasets/"
_BUILDERS = ("parquet", "arrow", "json", "csv", "text", "harbor")  # of `datasets`, whose files are read here
# Written by `datasets` beside the data, and no data.
_METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


@dataclass(frozen=True, slots=True)
class DatasetName:
    """What names a dataset.

    Args:
        source (`str`): A Hub dataset id, or a local file, folder or glob.
        config (`str`, *optional*): Configuration of the dataset.
        split (`str`, *optional*): Split, or an expression such as `"train[:500]"`; of a local folder all files where
            left out, of a dataset on the Hub `"train"`.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.
        setting (`str`, *optional*, defaults to `"corpus"`): The setting that messages name.
    """

    source: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    token: str | bool | None = None
    setting: str = "corpus"


def find_files(dataset: DatasetName) -> list[SourceFile]:
    """The files of a dataset in the order in which they are read; those that are not say why (`problem`).

    Raises:
        CorpusError: Nothing is there, it holds no data, it may not be read, or it lacks the configuration or split.
    """
    root, paths = _local_paths(dataset)
    if paths is None:
        return _declared_files(dataset)
    files = [_local_file(path, root, dataset) for path in paths]
    readable = [file for file in files if not file.problem]
    if not readable:
        told = unread_files(files)
        raise CorpusError(
            f"`{dataset.setting}`: {dataset.source} cannot be opened: {told or 'it holds no files'}. Name a file or "
            f"a folder of files that end in {', '.join(FORMATS)}; compressed ones in {', '.join(COMPRESSIONS)} behind "
            "that."
        )
    if dataset.split is None or root is None:
        picked = readable if "[" not in (dataset.split or "") else _select(dataset, lambda _: readable)
        return picked + [file for file in files if file.problem]
    return _select(dataset, lambda split: _files_of_split(readable, split))


def unread_files(files: list[SourceFile]) -> str:
    """Names and counts the files that are not read, by why they are not; empty where all are.

    >>> unread_files([SourceFile("a.png", "a.png", problem="a .png file"), SourceFile("b.txt", "b.txt", "text")])
    '1 file is not read: a .png file (a.png)'
    """
    unread = [file for file in files if file.problem]
    reasons = Counter(file.problem for file in unread)
    parts = []
    for reason, count in reasons.most_common():
        names = [file.relative or file.name for file in unread if file.problem == reason]
        parts.append(f"{reason} ({', '.join(names[:3])}{f' and {count - 3} more' if count > 3 else ''})")
    return f"{len(unread)} file{' is' if len(unread) == 1 else 's are'} not read: {'; '.join(parts)}" if unread else ""


# -- local files ------------------------------------------------------------------------------------------------------


def _local_paths(dataset: DatasetName) -> tuple[Path | None, list[Path] | None]:
    """The folder that paths are told from and the files below it; no folder for a single file, no files for a dataset
    that `datasets` has to list."""
    source, setting = dataset.source, dataset.setting
    path = Path(source).expanduser()
    if path.is_file():
        if _format(path) is None:
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
    if source.startswith(("/", ".", "~")) or source.count("/") > 1 or path.suffix in (*FORMATS, *COMPRESSIONS):
        raise CorpusError(f"`{setting}`: nothing is at {source}. Name an existing file, a folder or a Hub dataset id.")
    return None, None


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


def _format(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def separator_of(name: str) -> str:
    """What separates the values of a CSV file, by the ending of its name."""
    return "\t" if ".tsv" in Path(name).suffixes[-2:] else ","


def _local_file(path: Path, root: Path | None, dataset: DatasetName) -> SourceFile:
    absolute = str(path.absolute())
    relative = path.name if root is None else path.relative_to(root).as_posix()
    try:
        facts = path.stat()
    except OSError as error:
        problem = f"no file that can be read: {error.strerror}"
        return SourceFile(absolute, absolute, "", "", relative, problem=problem, setting=dataset.setting)
    kind = _format(path)
    problem = ""
    if path.name.startswith("."):
        problem = "a hidden folder" if path.is_dir() else "a hidden file"
    elif not path.is_file():
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


def _files_of_split(files: list[SourceFile], split: str) -> list[SourceFile]:
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


# -- splits -----------------------------------------------------------------------------------------------------------


def _select(dataset: DatasetName, files_of: Callable[[str], list[SourceFile]]) -> list[SourceFile]:
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
            counts = [count_rows(file, open_declared(dataset)) for file in files]
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


# -- datasets that `datasets` lists -----------------------------------------------------------------------------------


def _declared_files(dataset: DatasetName) -> list[SourceFile]:
    _builder.cache_clear()  # files may have changed since an earlier look in this process
    builder = _load_builder(dataset)
    by_split = {str(split): files for split, files in (builder.config.data_files or {}).items()}
    if not by_split:  # offline `datasets` has what it once made of the files, not the files
        return [_whole(dataset)]
    plain, separator = _is_plain(builder), str(getattr(builder.config, "sep", ","))

    def files_of(split: str) -> list[SourceFile]:
        if split not in by_split:
            raise ValueError(f'Unknown split "{split}"; it has {", ".join(sorted(by_split))}')
        urls = [str(url) for url in by_split[split]]
        identities = _identities(urls, dataset)
        return [
            SourceFile(
                _name(url),
                url,
                (_format(Path(url)) or "") if plain else "",
                identities[url],
                _relative(url),
                separator=separator_of(url) if separator == "," else separator,
                setting=dataset.setting,
            )
            for url in urls
        ]

    files = _select(dataset, files_of)
    if not files:
        raise CorpusError(
            f"`{dataset.setting}`: the split {dataset.split!r} of {dataset.source} has no files. Name another split."
        )
    return files


def _is_plain(builder: Any) -> bool:
    """Whether a dataset is read without options that only `datasets` knows."""
    config = builder.config
    if builder.info.builder_name not in _BUILDERS or len(str(getattr(config, "sep", ","))) != 1:
        return False
    default = type(config)(name=config.name)
    own = {"name", "version", "data_dir", "data_files", "description", "sep", "features"}
    return all(getattr(config, f.name) == getattr(default, f.name) for f in fields(config) if f.name not in own)


def _load_builder(dataset: DatasetName) -> Any:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    setting, source = dataset.setting, dataset.source
    try:
        return wait_for_hub(lambda: _builder(dataset), f"looking up the {setting} {source!r}")
    except datasets.exceptions.DatasetNotFoundError as error:
        raise CorpusError(
            f"`{setting}`: the Hub has no dataset {source!r} that this token may read. Check the spelling and the "
            "revision; for a private or gated dataset log in with `hf auth login` or pass `token`."
        ) from error
    except (
        datasets.exceptions.DatasetsError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        OSError,
        ValueError,
    ) as error:
        raise CorpusError(
            f"`{setting}`: {source!r} (configuration {dataset.config!r}, split {dataset.split or 'train'!r}) "
            f"cannot be opened: {first_line(error)}. Check the name, the configuration and the connection."
        ) from error


@cache
def _builder(dataset: DatasetName) -> Any:
    import datasets

    source = str(Path(dataset.source).expanduser()) if Path(dataset.source).expanduser().is_dir() else dataset.source
    return datasets.load_dataset_builder(source, name=dataset.config, revision=dataset.revision, token=dataset.token)


def open_declared(dataset: DatasetName) -> Callable[[SourceFile], Any]:
    """Opens one file as the dataset itself reads it: with its options, and by its exact name."""

    def open_rows(file: SourceFile) -> Any:
        from datasets.data_files import DataFilesDict, DataFilesList

        if not file.url:
            return _load_whole(dataset)
        builder = copy.copy(_load_builder(dataset))
        builder.config, builder.info = copy.copy(builder.config), builder.info.copy()
        for files in builder.config.data_files.values():
            if file.url in files:
                place = list(files).index(file.url)
                only = DataFilesList([file.url], files.origin_metadata[place : place + 1])
                builder.config.data_files = DataFilesDict({"train": only})
                return builder.as_streaming_dataset(split="train")
        raise CorpusError(f"The file {file.name} of the {dataset.setting} is no longer there. Start again.")

    return open_rows


def _whole(dataset: DatasetName) -> SourceFile:
    """All rows of a split as one file."""
    rows = _load_whole(dataset)
    name = f"{dataset.source} {dataset.split or 'train'}"
    return SourceFile(name, "", "", str(rows._fingerprint), setting=dataset.setting)


def _load_whole(dataset: DatasetName) -> Any:
    import datasets

    try:
        return wait_for_hub(
            lambda: datasets.load_dataset(
                dataset.source,
                name=dataset.config,
                split=dataset.split or "train",
                revision=dataset.revision,
                token=dataset.token,
            ),
            f"loading the {dataset.setting} {dataset.source!r}",
        )
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise CorpusError(
            f"`{dataset.setting}`: {dataset.source!r} (configuration {dataset.config!r}, split "
            f"{dataset.split or 'train'!r}) cannot be opened: {first_line(error)}. Name a split that it has."
        ) from error


def _name(url: str) -> str:
    if not url.startswith(_HUB):
        return url
    repo, _, rest = url.removeprefix(_HUB).partition("@")
    return f"{repo}/{rest.partition('/')[2]}"


def _relative(url: str) -> str:
    return url.removeprefix(_HUB).partition("@")[2].partition("/")[2] if url.startswith(_HUB) else Path(url).name


def _identities(urls: list[str], dataset: DatasetName) -> dict[str, str]:
    """What changes with the content of each file."""
    if not urls or not urls[0].startswith(_HUB):
        return {url: _local_file(Path(url), None, dataset).identity for url in urls}
    from huggingface_hub import HfFileSystem
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    filesystem = HfFileSystem(token=dataset.token)
    found: dict[str, str] = {}
    # The first derives from the HTTP client's own base error, which also covers lost connections.
    errors: tuple[type[Exception], ...] = (HfHubHTTPError.__bases__[0], HFValidationError, OSError, KeyError)
    try:
        for parent in dict.fromkeys(url.rpartition("/")[0] for url in urls):
            entries: list[Any] = wait_for_hub(partial(filesystem.ls, parent, detail=True), f"listing {parent}")
            for entry in entries:
                lfs = entry.get("lfs") or {}
                found[f"hf://{entry['name']}"] = str(lfs.get("sha256") or entry.get("blob_id"))
        return {url: found[url] for url in urls}
    except errors as error:
        raise CorpusError(
            f"The files of the {dataset.setting} cannot be listed: {first_line(error)}. Check the connection."
        ) from error
