"""Files of a dataset that `datasets` lists: one on the Hub, or a local folder whose `README.md` declares `configs`."""

from __future__ import annotations

import contextlib
import copy
import logging
import re
from collections.abc import Callable
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from equal_hf.corpus.file_rows import DatasetName, SourceFile
from equal_hf.corpus.local_files import format_of, local_file, separator_of
from equal_hf.corpus.splits import select_split
from equal_hf.errors import CorpusError
from equal_hf.utils.hub_retry import wait_for_hub
from equal_hf.utils.printable import first_line

logger = logging.getLogger(__name__)

_HUB = "hf://datasets/"
_BUILDERS = (
    "parquet",
    "arrow",
    "json",
    "csv",
    "text",
    "pdffolder",
    "harbor",
)  # of `datasets`, whose files are read here


def hub_is_off() -> bool:
    """Whether the Hub is not to be asked (`HF_HUB_OFFLINE`)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def declared_files(dataset: DatasetName) -> list[SourceFile]:
    _offline_builder.cache_clear()
    _builder.cache_clear()  # files may have changed since an earlier look in this process
    builder = _load_builder(dataset)
    by_split = {str(split): files for split, files in (builder.config.data_files or {}).items()}
    if not by_split:  # offline `datasets` has what it once made of the files, not the files
        return [_whole(dataset)]
    if dataset.setting != "corpus":
        _keep_card(dataset)
    plain, separator = _is_plain(builder), str(getattr(builder.config, "sep", ","))

    def files_of(split: str) -> list[SourceFile]:
        if split not in by_split:
            raise ValueError(f'Unknown split "{split}"; it has {", ".join(sorted(by_split))}')
        urls = [str(url) for url in by_split[split]]
        identities = _identities(urls, dataset)
        return [
            SourceFile(
                _name(url),
                _kept(url, dataset) if plain else url,
                (format_of(Path(url)) or "") if plain else "",
                identities[url],
                _relative(url),
                separator=separator_of(url) if separator == "," else separator,
                setting=dataset.setting,
            )
            for url in urls
        ]

    files = select_split(dataset, files_of, open_declared(dataset))
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
        if (builder := _offline_builder(dataset)) is not None:
            logger.warning("`%s`: offline, %s is what the Hub cache has of it", setting, source)
            return builder
        raise CorpusError(
            f"`{setting}`: {source!r} (configuration {dataset.config!r}, split {dataset.split or 'train'!r}) "
            f"cannot be opened: {first_line(error)}. Check the name, the configuration and the connection."
        ) from error


@cache
def _builder(dataset: DatasetName) -> Any:
    import datasets

    source = str(Path(dataset.source).expanduser()) if Path(dataset.source).expanduser().is_dir() else dataset.source
    return datasets.load_dataset_builder(source, name=dataset.config, revision=dataset.revision, token=dataset.token)


@cache
def _offline_builder(dataset: DatasetName) -> Any:
    """The dataset by what the Hub cache holds of it, where the Hub is not to be asked; `None` if that is nothing."""
    import datasets
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if not hub_is_off():
        return None
    try:
        folder = snapshot_download(
            dataset.source, repo_type="dataset", revision=dataset.revision, local_files_only=True
        )
        return datasets.load_dataset_builder(folder, name=dataset.config)
    except (LocalEntryNotFoundError, HFValidationError, datasets.exceptions.DatasetsError, OSError, ValueError):
        return None


def _kept(url: str, dataset: DatasetName) -> str:
    """Where a file is opened: of targets and benchmarks, which every start of a run reads, in the Hub cache.

    A corpus is read once, and may be too large to be kept beside what is made of it.
    """
    url = _hub_url(url)
    if not url.startswith(_HUB) or (dataset.setting == "corpus" and not isinstance(dataset.token, str)):
        return url
    from huggingface_hub import hf_hub_download

    repo, _, rest = url.removeprefix(_HUB).partition("@")
    revision, _, name = rest.partition("/")
    return wait_for_hub(
        lambda: hf_hub_download(repo, name, repo_type="dataset", revision=revision, token=dataset.token),
        f"downloading {_name(url)}",
    )


def _keep_card(dataset: DatasetName) -> None:
    """Keep the card, which declares configurations, and the commit of the revision, to do without the Hub later."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if hub_is_off() or Path(dataset.source).expanduser().exists():
        return
    # A dataset without a card is none the worse.
    with contextlib.suppress(HfHubHTTPError.__bases__[0], HFValidationError, OSError):
        hf_hub_download(
            dataset.source, "README.md", repo_type="dataset", revision=dataset.revision, token=dataset.token
        )


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
    url = _hub_url(url)
    if not url.startswith(_HUB):
        return url
    repo, _, rest = url.removeprefix(_HUB).partition("@")
    return f"{repo}/{rest.partition('/')[2]}"


def _relative(url: str) -> str:
    url = _hub_url(url)
    return url.removeprefix(_HUB).partition("@")[2].partition("/")[2] if url.startswith(_HUB) else Path(url).name


def _hub_url(path: str) -> str:
    """The address on the Hub of a file in a snapshot of the Hub cache; any other path as it is.

    >>> _hub_url("/home/me/hub/datasets--org--name/snapshots/0a1b/data/a.jsonl")
    'hf://datasets/org/name@0a1b/data/a.jsonl'
    """
    found = re.search(r"/datasets--([^/]+)/snapshots/([^/]+)/(.+)$", path)
    return f"{_HUB}{found[1].replace('--', '/')}@{found[2]}/{found[3]}" if found else path


def _identities(urls: list[str], dataset: DatasetName) -> dict[str, str]:
    """What changes with the content of each file."""
    if not urls or not urls[0].startswith(_HUB):
        # In the Hub cache a file is a link to one that is called by the hash of its content, as the Hub tells it.
        return {
            url: local_file(Path(url), None, dataset).identity if _hub_url(url) == url else Path(url).resolve().name
            for url in urls
        }
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
