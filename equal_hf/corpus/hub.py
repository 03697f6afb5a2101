"""A clustered corpus on the Hub: open one without downloading its documents, and push one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.corpus.manifest import MANIFEST_FILE
from equal_hf.corpus.profiles import PROFILES_FILE
from equal_hf.corpus.writer import DATA_FOLDER, INDEX_FILE
from equal_hf.errors import CorpusError, PublishError

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem


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


def push(folder: Path, names: list[str], repo_id: str, *, private: bool | None, token: str | bool | None) -> str:
    """Upload files of a corpus folder as one commit, which also removes the data files of an earlier corpus.

    Returns:
        `str`: Address of the commit.

    Raises:
        PublishError: The Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        repo = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo.repo_id,
            repo_type="dataset",
            folder_path=folder,
            commit_message="Upload clustered corpus",
            allow_patterns=names,
            delete_patterns=f"{DATA_FOLDER}/*",
        )
    except hub_errors() as error:
        raise PublishError(
            f"The corpus cannot be pushed to {repo_id!r}: {_reason(error)}. Log in with `hf auth login` or pass a "
            "`token` that may write there."
        ) from error
    return commit.commit_url


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
