"""A clustered corpus on the Hub: opened without downloading its documents, and read range by range.

What is downloaded whole is compared with the hash that the manifest says, the manifest with the one the Hub says.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from equal_hf.corpus.centroids import CENTROIDS_FILE
from equal_hf.corpus.indexing.parquet_writer import INDEX_FILE
from equal_hf.corpus.manifest import MANIFEST_FILE, corpus_files, read_manifest
from equal_hf.corpus.profiles import PROFILES_FILE
from equal_hf.errors import CorpusError
from equal_hf.utils.files import describe_file
from equal_hf.utils.hub_retry import DamagedAnswer, retry_hub, wait_for_hub
from equal_hf.utils.known_secrets import remember_secret
from equal_hf.utils.printable import first_line

Result = TypeVar("Result")

OFFLINE = "; offline, `load` a corpus that was saved to a folder"
DOWNLOADS = 8  # at a time


def hub_errors() -> tuple[type[Exception], ...]:
    """What `huggingface_hub` raises when the Hub refuses or cannot be reached."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # HfHubHTTPError derives from the HTTP client's own base error, which also covers lost connections.
    return (HfHubHTTPError.__bases__[0], HFValidationError, OSError)


def ask(action: Callable[[], Result], what: str) -> Result:
    """Read from the Hub, and wait out what passes.

    Raises:
        CorpusError: The Hub refuses or cannot be reached.
    """
    return retry_hub(action, what, "corpus", error=CorpusError, access="read", otherwise=OFFLINE)


def fetch_summary(
    repo_id: str, *, revision: str | None, token: str | bool | None, cache_dir: str | Path | None
) -> tuple[Path, str, dict[str, Any]]:
    """Download manifest, index, profiles and centroids of a corpus.

    Returns:
        `tuple[Path, str, dict[str, Any]]`: The folder they are in, the commit they are of, and the manifest.

    Raises:
        CorpusError: The repository cannot be read, or holds no clustered corpus.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    remember_secret(token if isinstance(token, str) else None)

    def fetch() -> tuple[Path, str, dict[str, Any]]:
        commit = None
        try:
            commit = str(HfApi(token=token).repo_info(repo_id, repo_type="dataset", revision=revision).sha)
            files = _Files(repo_id, commit, token, cache_dir=cache_dir)
            path = files.fetch(MANIFEST_FILE)
            manifest = read_manifest(path, files.source)
            for name in (INDEX_FILE, PROFILES_FILE, CENTROIDS_FILE):
                if name in manifest["files"] or name != CENTROIDS_FILE:
                    files.fetch(name, manifest["files"].get(name))
            return path.parent, commit, manifest
        except RepositoryNotFoundError as error:
            raise CorpusError(
                f"`corpus`: the Hub has no dataset {repo_id!r} that this token may read. Check the spelling; for a "
                "private one log in with `hf auth login` or pass `token`."
            ) from error
        except (RevisionNotFoundError, HFValidationError) as error:
            if commit is not None:
                raise DamagedAnswer(f"there is no commit {commit}") from error
            raise CorpusError(
                f"The corpus {repo_id!r} (revision {revision or 'main'!r}) cannot be read from the Hub: "
                f"{first_line(error)}. Check the name, the revision and the token."
            ) from error
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # nobody answered
                raise
            raise CorpusError(
                f"The Hub dataset {repo_id!r} is no clustered corpus: a file of one is missing. Build one from it "
                "with `ClusteredCorpus.build` and push that."
            ) from error

    return ask(fetch, f"reading the corpus {repo_id!r} (revision {revision or 'main'!r})")


def is_clustered(repo_id: str, revision: str | None) -> bool:
    """Whether a dataset repository holds a clustered corpus; `False` also where the Hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return wait_for_hub(
            lambda: HfApi().file_exists(repo_id, MANIFEST_FILE, repo_type="dataset", revision=revision),
            f"looking up the corpus {repo_id!r}",
        )
    except hub_errors():  # what is wrong is told by whatever opens it as a plain dataset next
        return False


def download(repo_id: str, revision: str, manifest: dict[str, Any], folder: Path, token: str | bool | None) -> None:
    """Download all files of a corpus into a folder.

    Raises:
        CorpusError: The Hub refuses or cannot be reached, or a file is not what the manifest says.
    """
    _download(_Files(repo_id, revision, token, local_dir=folder), corpus_files(manifest), manifest)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # notes on the download, no part of the corpus


def download_folder(
    repo_id: str,
    revision: str,
    manifest: dict[str, Any],
    name: str,
    token: str | bool | None,
    cache_dir: str | Path | None,
) -> Path:
    """Download one folder of a corpus into the cache, and say where it is.

    Raises:
        CorpusError: The Hub refuses or cannot be reached, or a file is not what the manifest says.
    """
    names = [file for file in manifest["files"] if file.startswith(f"{name}/")]
    if not names:
        raise CorpusError(f"The manifest of the corpus {repo_id!r} lists no file of {name}. Build the corpus again.")
    paths = _download(_Files(repo_id, revision, token, cache_dir=cache_dir), names, manifest)
    return paths[0].parents[names[0].count("/") - name.count("/") - 1]


def block_folder(cache_dir: str | Path | None) -> Path:
    """Where blocks of all corpora are cached: beside the Hub cache's own folders, under a name of its own."""
    from huggingface_hub import constants

    return Path(cache_dir or constants.HF_HUB_CACHE) / "equal-hf-blocks"


class HubFiles:
    """Ranges of the files of a dataset repository at one commit, each by one request.

    Args:
        repo_id (`str`): The repository.
        commit (`str`): The commit.
        token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.
    """

    def __init__(self, repo_id: str, commit: str, token: str | bool | None) -> None:
        self._repo_id, self._commit, self._token = repo_id, commit, token
        self.root = f"datasets/{repo_id}@{commit}"

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` … `end - 1` of a file, as [`fsspec.AbstractFileSystem.cat_file`] gives them.

        Raises:
            CorpusError: The Hub refuses or cannot be reached.
        """
        from huggingface_hub import constants, get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        name = path.removeprefix(f"{self.root}/")

        def read() -> bytes:
            # Asked of the Hub itself each time: the signed address that it leads to expires.
            headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
            response = get_session().get(
                hf_hub_url(self._repo_id, name, repo_type="dataset", revision=self._commit),
                headers=build_hf_headers(token=self._token, headers=headers),
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            )
            hf_raise_for_status(response)
            content = response.content if response.status_code == 206 else response.content[start:end]
            if len(content) != end - start:
                raise DamagedAnswer(f"{len(content)} bytes of {name} came where {end - start} were asked for")
            return bytes(content)

        return ask(read, f"reading {name} of the corpus {self._repo_id!r}")


class _Files:
    """Whole files of a repository at one commit: in the Hub cache, or in a folder."""

    def __init__(self, repo_id: str, commit: str, token: str | bool | None, **where: Any) -> None:
        self.source = f"{repo_id}@{commit}"
        self._options: dict[str, Any] = {"repo_id": repo_id, "revision": commit, "repo_type": "dataset"}
        self._options |= {"token": token, **where}

    def fetch(self, name: str, facts: dict[str, Any] | None = None) -> Path:
        """Download a file unless it is there, and once more where its content is not what it should be.

        Args:
            name (`str`): The file.
            facts (`dict[str, Any]`, *optional*): Its size and hash in the manifest.
        """
        from huggingface_hub import hf_hub_download

        for force in (False, True):
            path = Path(hf_hub_download(filename=name, force_download=force, **self._options))
            if describe_file(path) == facts if facts is not None else _is_own_blob(path):
                return path
        raise DamagedAnswer(f"{name} does not have the content that {MANIFEST_FILE} says")


def _download(files: _Files, names: Sequence[str], manifest: dict[str, Any]) -> list[Path]:
    def fetch(name: str) -> Path:
        facts = manifest["files"].get(name)
        return ask(lambda: files.fetch(name, facts), f"downloading {name} of the corpus {files.source}")

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        return list(pool.map(fetch, names))


def _is_own_blob(path: Path) -> bool:
    """Whether a file in the Hub cache has the content that it is named by; `True` for what has no such name."""
    blob = path.resolve()
    if blob.parent.name != "blobs" or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return True
    content = blob.read_bytes()
    if len(blob.name) == 64:
        return hashlib.sha256(content).hexdigest() == blob.name
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name
