"""A clustered corpus on the Hub: open one without downloading its documents, and push one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.corpus.manifest import MANIFEST_FILE
from equal_hf.corpus.profiles import PROFILES_FILE
from equal_hf.corpus.writer import DATA_FOLDER, EMBEDDINGS_FOLDER, INDEX_FILE
from equal_hf.errors import CorpusError, PublishError

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem

# What an earlier corpus in a repository may have left; other files there are somebody else's.
OWN_FOLDERS = (f"{DATA_FOLDER}/", f"{EMBEDDINGS_FOLDER}/", "embedder/", "map/", "embeddings.safetensors")


def hub_errors() -> tuple[type[Exception], ...]:
    """What `huggingface_hub` raises when the Hub refuses or cannot be reached."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # HfHubHTTPError derives from the HTTP client's own base error, which also covers lost connections.
    return (HfHubHTTPError.__bases__[0], HFValidationError, OSError)


def fetch_summary(
    repo_id: str, *, revision: str | None, token: str | bool | None, cache_dir: str | Path | None
) -> tuple[Path, str]:
    """Download manifest, index and profiles of a corpus.

    Returns:
        `tuple[Path, str]`: The folder they are in, and the commit they are of.

    Raises:
        CorpusError: The repository cannot be read, or holds no clustered corpus.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        commit = str(HfApi(token=token).repo_info(repo_id, repo_type="dataset", revision=revision).sha)
        paths = [
            hf_hub_download(repo_id, name, repo_type="dataset", revision=commit, token=token, cache_dir=cache_dir)
            for name in (MANIFEST_FILE, INDEX_FILE, PROFILES_FILE)
        ]
    except hub_errors() as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise CorpusError(
                f"The Hub dataset {repo_id!r} is no clustered corpus: a file of one is missing. Build one from it "
                "with `ClusteredCorpus.build` and push that."
            ) from error
        if isinstance(error, RepositoryNotFoundError):
            raise CorpusError(
                f"`corpus`: the Hub has no dataset {repo_id!r} that this token may read. Check the spelling; for a "
                "private one log in with `hf auth login` or pass `token`."
            ) from error
        raise CorpusError(
            f"The corpus {repo_id!r} (revision {revision or 'main'!r}) cannot be read from the Hub: {_reason(error)}. "
            "Check the name, the revision, the connection and the token; offline, `load` a corpus that was saved to a "
            "folder."
        ) from error
    return Path(paths[0]).parent, commit


def open_filesystem(token: str | bool | None) -> HfFileSystem:
    """The Hub as a file system."""
    from huggingface_hub import HfFileSystem

    return HfFileSystem(token=token)


def download(repo_id: str, revision: str, names: list[str], folder: Path, token: str | bool | None) -> None:
    """Download files of a repository into a folder.

    Raises:
        CorpusError: The Hub refuses or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            repo_id, repo_type="dataset", revision=revision, local_dir=folder, allow_patterns=names, token=token
        )
    except hub_errors() as error:
        raise CorpusError(
            f"The corpus {repo_id!r} cannot be downloaded: {_reason(error)}. Check the connection and the token."
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # notes on the download, no part of the corpus


def push(
    folder: Path,
    names: list[str],
    repo_id: str,
    *,
    private: bool | None,
    token: str | bool | None,
    show_progress: bool = True,
) -> str:
    """Upload files of a corpus folder as one commit, which also removes the files of an earlier corpus.

    Returns:
        `str`: Address of the commit.

    Raises:
        PublishError: The Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from tqdm.auto import tqdm

    api = HfApi(token=token)
    try:
        repo = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        there = set(api.list_repo_files(repo.repo_id, repo_type="dataset"))
        adds = [CommitOperationAdd(name, folder / name) for name in names]
        # Large files go up one by one before the commit names them all. The Hub keeps what it has received, so a push
        # that is stopped goes on where it was, and readers never see half a corpus.
        for add in tqdm(adds, desc="pushing", unit="file", disable=None if show_progress else True):
            api.preupload_lfs_files(repo.repo_id, [add], repo_type="dataset", num_threads=1)
        stale = {name for name in there - set(names) if name.startswith(OWN_FOLDERS)}
        commit = api.create_commit(
            repo.repo_id,
            [*adds, *(CommitOperationDelete(name) for name in sorted(stale))],
            commit_message="Upload clustered corpus",
            repo_type="dataset",
        )
    except hub_errors() as error:
        raise PublishError(
            f"The corpus cannot be pushed to {repo_id!r}: {_reason(error)}. Log in with `hf auth login` or pass a "
            "`token` that may write there."
        ) from error
    return commit.commit_url


def push_embedder(folder: Path, repo_id: str, *, private: bool | None, token: str | bool | None) -> str:
    """Upload a tuned embedder as a model repository.

    Returns:
        `str`: Address of the commit.

    Raises:
        PublishError: The Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        repo = api.create_repo(repo_id, private=private, exist_ok=True)
        return api.upload_folder(
            repo_id=repo.repo_id, folder_path=folder, commit_message="Upload aligned embedder"
        ).commit_url
    except hub_errors() as error:
        raise PublishError(
            f"The embedder cannot be pushed to {repo_id!r}: {_reason(error)}. Log in with `hf auth login` or name a "
            "repository that the token may write to in `embedder_hub_id`."
        ) from error


def download_folder(
    repo_id: str, revision: str, name: str, token: str | bool | None, cache_dir: str | Path | None
) -> Path:
    """Download one folder of a repository into the cache, and say where it is.

    Raises:
        CorpusError: The Hub refuses or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        whole = snapshot_download(
            repo_id,
            repo_type="dataset",
            revision=revision,
            allow_patterns=f"{name}/**",
            token=token,
            cache_dir=cache_dir,
        )
    except hub_errors() as error:
        raise CorpusError(
            f"{name} of the corpus {repo_id!r} cannot be downloaded: {_reason(error)}. Check the connection and the "
            "token."
        ) from error
    return Path(whole) / name


def block_folder(cache_dir: str | Path | None) -> Path:
    """Where blocks of all corpora are cached: beside the Hub cache's own folders, under a name of its own."""
    from huggingface_hub import constants

    return Path(cache_dir or constants.HF_HUB_CACHE) / "equal-hf-blocks"


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
