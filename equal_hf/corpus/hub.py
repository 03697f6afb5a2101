"""A clustered corpus on the Hub: open one without downloading its documents, and push one."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.centroids import CENTROIDS_FILE
from equal_hf.corpus.indexing.parquet_writer import INDEX_FILE
from equal_hf.corpus.manifest import CARD_FILE, FORMAT, MANIFEST_FILE, corpus_files, read_manifest
from equal_hf.corpus.profiles import PROFILES_FILE
from equal_hf.errors import CorpusError, PublishError
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem

PAGE_FILES = {".gitattributes", CARD_FILE}  # what a repository has that holds nothing yet


def hub_errors() -> tuple[type[Exception], ...]:
    """What `huggingface_hub` raises when the Hub refuses or cannot be reached."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # HfHubHTTPError derives from the HTTP client's own base error, which also covers lost connections.
    return (HfHubHTTPError.__bases__[0], HFValidationError, OSError)


def fetch_summary(
    repo_id: str, *, revision: str | None, token: str | bool | None, cache_dir: str | Path | None
) -> tuple[Path, str, dict[str, Any]]:
    """Download manifest, index, profiles and centroids of a corpus.

    Returns:
        `tuple[Path, str, dict[str, Any]]`: The folder they are in, the commit they are of, and the manifest.

    Raises:
        CorpusError: The repository cannot be read, or holds no clustered corpus.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        commit = str(HfApi(token=token).repo_info(repo_id, repo_type="dataset", revision=revision).sha)

        def fetch(name: str) -> Path:
            return Path(
                hf_hub_download(repo_id, name, repo_type="dataset", revision=commit, token=token, cache_dir=cache_dir)
            )

        path = fetch(MANIFEST_FILE)
        manifest = read_manifest(path, f"{repo_id}@{commit}")
        for name in (INDEX_FILE, PROFILES_FILE, CENTROIDS_FILE):
            if name in manifest["files"] or name != CENTROIDS_FILE:
                fetch(name)
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
            f"The corpus {repo_id!r} (revision {revision or 'main'!r}) cannot be read from the Hub: "
            f"{first_line(error)}. Check the name, the revision, the connection and the token; offline, `load` a "
            "corpus that was saved to a folder."
        ) from error
    return path.parent, commit, manifest


def is_clustered(repo_id: str, revision: str | None) -> bool:
    """Whether a dataset repository holds a clustered corpus; `False` also where the Hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return HfApi().file_exists(repo_id, MANIFEST_FILE, repo_type="dataset", revision=revision)
    except hub_errors():  # what is wrong is told by whatever opens it as a plain dataset next
        return False


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
            f"The corpus {repo_id!r} cannot be downloaded: {first_line(error)}. Check the connection and the token."
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
    """Upload files of a corpus folder as one commit, which also removes the files of an earlier corpus: those that its
    own manifest lists.

    Returns:
        `str`: Address of the commit.

    Raises:
        PublishError: The Hub refuses or cannot be reached, or the repository holds something else than a corpus.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from tqdm.auto import tqdm

    api = HfApi(token=token)
    try:
        repo = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        stale = earlier_corpus(repo.repo_id, token) - set(names)
        adds = [CommitOperationAdd(name, folder / name) for name in names]
        # Large files go up one by one before the commit names them all. The Hub keeps what it has received, so a push
        # that is stopped goes on where it was, and readers never see half a corpus.
        for add in tqdm(adds, desc="pushing", unit="file", disable=None if show_progress else True):
            api.preupload_lfs_files(repo.repo_id, [add], repo_type="dataset", num_threads=1)
        commit = api.create_commit(
            repo.repo_id,
            [*adds, *(CommitOperationDelete(name) for name in sorted(stale))],
            commit_message="Upload clustered corpus",
            repo_type="dataset",
        )
    except hub_errors() as error:
        raise PublishError(
            f"The corpus cannot be pushed to {repo_id!r}: {first_line(error)}. Log in with `hf auth login` or pass a "
            "`token` that may write there."
        ) from error
    return commit.commit_url


def earlier_corpus(repo_id: str, token: str | bool | None) -> set[str]:
    """The files of the corpus that a dataset repository holds, as its own manifest lists them; none where there is no
    repository, or nothing in it.

    Raises:
        PublishError: It holds something else, which a push would mix with a corpus.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi(token=token)
    try:
        commit = api.repo_info(repo_id, repo_type="dataset").sha
        there = set(api.list_repo_files(repo_id, repo_type="dataset", revision=commit))
    except RepositoryNotFoundError:
        return set()
    if not there - PAGE_FILES:
        return set()
    manifest: Any = None
    if MANIFEST_FILE in there:
        path = hf_hub_download(repo_id, MANIFEST_FILE, repo_type="dataset", revision=commit, token=token)
        with contextlib.suppress(ValueError, RecursionError):
            manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    # One of any version will do: only the names are needed.
    if isinstance(manifest, dict) and manifest.get("format") == FORMAT and isinstance(manifest.get("files"), dict):
        return there.intersection(corpus_files(manifest))
    raise PublishError(
        f"The dataset {repo_id!r} holds files that are no clustered corpus, {min(there - PAGE_FILES)!r} among them; "
        "nothing was changed there. Push to another repository (`hub_corpus_id`), or empty that one."
    )


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
            f"The embedder cannot be pushed to {repo_id!r}: {first_line(error)}. Log in with `hf auth login` or "
            "name a repository that the token may write to in `hub_embedder_id`."
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
            f"{name} of the corpus {repo_id!r} cannot be downloaded: {first_line(error)}. Check the connection and "
            "the token."
        ) from error
    return Path(whole) / name


def block_folder(cache_dir: str | Path | None) -> Path:
    """Where blocks of all corpora are cached: beside the Hub cache's own folders, under a name of its own."""
    from huggingface_hub import constants

    return Path(cache_dir or constants.HF_HUB_CACHE) / "equal-hf-blocks"
