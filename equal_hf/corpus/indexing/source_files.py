"""The files of a dataset: the pieces in which it is read, each known by what it holds."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.dataset import ReadReport, open_dataset, read_documents
from equal_hf.errors import CorpusError
from equal_hf.types import Document
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.config import IndexArguments

_HUB = "hf://datasets/"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the dataset.

    Args:
        name (`str`): Its path, without a revision.
        url (`str`): Where it is opened.
        builder (`str`): What of `datasets` reads a file that is named by itself, such as `"parquet"`; empty for one
            of a dataset, which says that itself.
        identity (`str`): Changes when its content does.
    """

    name: str
    url: str
    builder: str
    identity: str


def list_files(args: IndexArguments) -> list[SourceFile]:
    """The files of the corpus, in the order in which `datasets` reads them.

    Raises:
        CorpusError: There is no such dataset, configuration or split, it may not be read, or it has no files.
    """
    split = args.corpus_split
    if "[" in split:
        raise CorpusError(f"`corpus_split` is {split!r}: an index is made of whole splits. Name one, such as 'train'.")
    path = Path(args.corpus).expanduser()
    _builder.cache_clear()  # files may have changed since an earlier index was made in this process
    if path.is_file() or not _exists_as_dataset(args):
        # Says what is wrong; a single file it opens.
        dataset = open_dataset(
            args.corpus, name=args.corpus_config, split=split, revision=args.corpus_revision, streaming=True
        )
        builder, urls = dataset.info.builder_name, [str(path.absolute())]
    else:
        builder, urls = "", _dataset_files(args)
    if not urls:
        raise CorpusError(f"`corpus`: the split {split!r} of {args.corpus} has no files. Name another `corpus_split`.")
    identities = _hub_identities(urls) if urls[0].startswith(_HUB) else {url: _local_identity(url) for url in urls}
    return [SourceFile(_name(url), url, str(builder), identities[url]) for url in urls]


def read_file(file: SourceFile, args: IndexArguments, report: ReadReport) -> Iterator[Document]:
    """The usable documents of one file.

    Raises:
        CorpusError: It cannot be read, or lacks a column.
    """
    try:
        yield from read_documents(
            _open(file, args),
            text_column=args.text_column,
            id_column=args.id_column,
            metadata_columns=args.metadata_columns,
            min_characters=args.min_characters,
            report=report,
            deduplicate=False,  # that is done over all files
        )
    except CorpusError:
        raise
    except Exception as error:  # what a damaged file raises is up to its format: pyarrow, json, csv, zlib, …
        raise UnreadableFile(
            f"The file {file.name} of the corpus cannot be read after {report.rows} rows: "
            f"{first_line(error)[:300]}. Repair or remove it, or set `on_bad_file` to 'skip' to go on without it."
        ) from error


def _open(file: SourceFile, args: IndexArguments) -> Any:
    """One file as the dataset itself reads it: with its options, such as a separator, and by its exact name."""
    import datasets
    from datasets.data_files import DataFilesDict, DataFilesList

    if file.builder:
        return datasets.load_dataset(
            file.builder, data_files={args.corpus_split: [file.url]}, split=args.corpus_split, streaming=True
        )
    builder = copy.copy(_builder(args.corpus, args.corpus_config, args.corpus_revision))
    builder.config, builder.info = copy.copy(builder.config), builder.info.copy()
    files = builder.config.data_files[args.corpus_split]
    place = list(files).index(file.url)
    only = DataFilesList([file.url], files.origin_metadata[place : place + 1])
    builder.config.data_files = DataFilesDict({args.corpus_split: only})
    return builder.as_streaming_dataset(split=args.corpus_split)


class UnreadableFile(CorpusError):
    """One file of the corpus is damaged; the others may be fine."""


def _exists_as_dataset(args: IndexArguments) -> bool:
    import datasets

    try:
        _builder(args.corpus, args.corpus_config, args.corpus_revision)
    except (datasets.exceptions.DatasetsError, OSError, ValueError):
        return False
    return True


@cache
def _builder(corpus: str, config: str | None, revision: str | None) -> Any:
    import datasets

    return datasets.load_dataset_builder(corpus, name=config, revision=revision)


def _dataset_files(args: IndexArguments) -> list[str]:
    files = _builder(args.corpus, args.corpus_config, args.corpus_revision).config.data_files or {}
    if args.corpus_split not in files:
        raise CorpusError(
            f"`corpus_split`: {args.corpus} has no split {args.corpus_split!r}; it has "
            f"{', '.join(map(repr, map(str, files))) or 'none'}."
        )
    return [str(url) for url in files[args.corpus_split]]


def _name(url: str) -> str:
    if not url.startswith(_HUB):
        return url
    repo, _, rest = url.removeprefix(_HUB).partition("@")
    return f"{repo}/{rest.partition('/')[2]}"


def _local_identity(url: str) -> str:
    try:
        facts = Path(url).stat()
    except OSError as error:
        raise CorpusError(f"The file {url} of the corpus cannot be read: {error}. Check `corpus`.") from error
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _hub_identities(urls: list[str]) -> dict[str, str]:
    """The content hash of every file, a folder at a time."""
    from huggingface_hub import HfFileSystem

    from equal_hf.corpus.hub import hub_errors

    filesystem = HfFileSystem()
    found: dict[str, str] = {}
    errors: tuple[type[Exception], ...] = (*hub_errors(), KeyError)
    try:
        for parent in dict.fromkeys(url.rpartition("/")[0] for url in urls):
            entries: list[Any] = list(filesystem.ls(parent, detail=True))
            for entry in entries:
                lfs = entry.get("lfs") or {}
                found[f"hf://{entry['name']}"] = str(lfs.get("sha256") or entry.get("blob_id"))
        return {url: found[url] for url in urls}
    except errors as error:
        raise CorpusError(f"The files of the corpus cannot be listed: {error}. Check the connection.") from error
