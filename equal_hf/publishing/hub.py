"""A run's dataset on the Hub: found writable before the run, pushed as rounds complete, safe to push again.

A push reads what the repository holds, uploads only what differs, and commits on top of what it read: it can be
stopped and repeated at any time, and never writes over what is not an earlier push of the same run.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import PublishError
from equal_hf.publishing.dataset import (
    CARD,
    EMPTY,
    MANIFEST,
    PICTURES,
    Earlier,
    default_folder,
    export_dataset,
    run_identities,
)
from equal_hf.publishing.patience import patiently
from equal_hf.publishing.rounds import RoundRecords, write_json

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FILES_PER_COMMIT = 500
PUBLISHED = "hub/published.json"
ATTEMPTS = 9  # with the waits between them, two to four minutes


def check_write_access(
    repo_id: str,
    token: str | None = None,
    *,
    private: bool | None = None,
    repo_type: str = "dataset",
    setting: str | None = None,
) -> str:
    """Find out, before a run, whether its end can be published; creates the repository where there is none.

    Args:
        repo_id (`str`): `name` or `namespace/name`.
        token (`str`, *optional*): The one saved by `hf auth login`, or `HF_TOKEN`, where it is left out.
        private (`bool`, *optional*): Visibility of a repository that is created; the account's default where left out.
        repo_type (`str`, *optional*, defaults to `"dataset"`): `"dataset"` or `"model"`.
        setting (`str`, *optional*): The setting that error messages name; `hub_dataset_id` or `hub_model_id` where it
            is left out.

    Returns:
        `str`: The repository's id with its namespace.

    Raises:
        [`PublishError`]: If there is no token, token or account may not write there, or the Hub does not answer.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)

    def check() -> str:
        account = api.whoami()
        role = account.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise PublishError(
                f"the token of {account['name']} may only read, so {repo_id!r} cannot be published: make a token with "
                f"write access at {api.endpoint}/settings/tokens, or leave out `push_to_hub` to keep the dataset local"
            )
        full = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True).repo_id
        api.auth_check(full, repo_type=repo_type, write=True)
        return full

    what = f"checking write access to {repo_id!r}"
    return patiently(check, what, setting or f"hub_{repo_type}_id", ATTEMPTS, unanswered=3)


def publish_dataset(
    run_dir: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    summary: Mapping[str, Any] | None = None,
    attempts: int = ATTEMPTS,
) -> str:
    """Put on the Hub what a run has collected so far; what is there already is not sent again.

    Args:
        run_dir (`str` or `Path`): The run folder. The dataset is written to its `hub/dataset` first.
        repo_id (`str`): `name` or `namespace/name`; created where there is none.
        private (`bool`, *optional*): Visibility of a repository that is created; the account's default where left out.
        token (`str`, *optional*): The one saved by `hf auth login`, or `HF_TOKEN`, where it is left out.
        summary (`Mapping[str, Any]`, *optional*): EQUAL beside its control, for the card; `run_dir/summary.json` where
            it is left out and there is one.
        attempts (`int`, *optional*, defaults to `9`): Tries, with growing waits, while the Hub is busy or unwell:
            two to four minutes.

    Returns:
        `str`: The dataset's address.

    Raises:
        [`PublishError`]: If the Hub refuses, the repository holds something else, or all attempts failed.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)

    def push() -> str:
        full = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True).repo_id
        revision = _push_once(api, run_dir, full, summary)
        url = f"{api.endpoint}/datasets/{full}"
        write_json(Path(run_dir) / PUBLISHED, {"url": url, "revision": revision})
        return url

    return patiently(push, f"publishing to {repo_id!r}", "hub_dataset_id", attempts)


def push_model(folder: str | Path, repo_id: str, token: str | None = None) -> Any:
    """Put a model folder on the Hub, in a repository that is there.

    Args:
        folder (`str` or `Path`): Holds the model and nothing else.
        repo_id (`str`): `namespace/name`.
        token (`str`, *optional*): The one saved by `hf auth login`, or `HF_TOKEN`, where it is left out.

    Returns:
        `huggingface_hub.CommitInfo`: The commit.

    Raises:
        [`PublishError`]: If the Hub refuses, or all attempts failed.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)

    def push() -> Any:
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message="End of training",
            ignore_patterns=["_*", "checkpoint-*"],
        )

    return patiently(push, f"publishing the model to {repo_id!r}", "hub_model_id", ATTEMPTS)


def published(run_dir: str | Path) -> dict[str, str] | None:
    """Address and revision of the dataset that a run last pushed; `None` where it pushed none."""
    path = Path(run_dir) / PUBLISHED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _push_once(api: HfApi, run_dir: str | Path, repo_id: str, summary: Mapping[str, Any] | None) -> str | None:
    """Export, compare with the repository, commit the difference on top of the commit it was compared with; the last
    commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import RepoFile

    head = api.repo_info(repo_id, repo_type="dataset").sha
    tree = api.list_repo_tree(repo_id, recursive=True, revision=head, repo_type="dataset")
    remote = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    earlier = _earlier(api, repo_id, head, set(remote))
    if earlier.manifest is None and set(remote) - {".gitattributes"}:
        raise PublishError(
            f"{repo_id} holds files that no run of equal_hf published: set `hub_dataset_id` to a new repository"
        )
    earlier.check(run_identities(RoundRecords(run_dir).run()), repo_id, "hub_dataset_id")
    # A card on the Hub is what a person edits from now on; until there is one, it is the card in the folder.
    card = earlier if earlier.card else None
    folder = export_dataset(run_dir, default_folder(run_dir), summary=summary, name=repo_id, earlier=card)
    manifest = Earlier.read(folder).manifest or {}
    if (published := (earlier.manifest or {}).get("rounds", 0)) > manifest["rounds"]:
        raise PublishError(
            f"{repo_id} holds {published} rounds and {run_dir} only {manifest['rounds']}: publish from the folder the "
            "run went on in, or set `hub_dataset_id` to a new repository"
        )
    # The manifest comes first, so that a push that is cut short is known as ours; the card last, as it speaks of files
    # that are there by then.
    shards = {path.relative_to(folder).as_posix(): path for path in sorted((folder / "data").glob("*/*.parquet"))}
    pictures = {path.relative_to(folder).as_posix(): path for path in sorted((folder / PICTURES).glob("*.png"))}
    local = {MANIFEST: folder / MANIFEST, **shards, **pictures, CARD: folder / CARD}
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
        for name, path in local.items()
        if name not in remote or not _same(path, remote[name])
    ]
    operations += [CommitOperationDelete(name) for name in remote if name.endswith(f"/{EMPTY}") and name not in local]
    message = f"{manifest['rounds']} rounds"
    for start in range(0, len(operations), FILES_PER_COMMIT):
        part = operations[start : start + FILES_PER_COMMIT]
        head = api.create_commit(repo_id, part, commit_message=message, repo_type="dataset", parent_commit=head).oid
    return head


def _earlier(api: HfApi, repo_id: str, revision: str | None, names: set[str]) -> Earlier:
    """Card and manifest as the repository holds them."""
    with tempfile.TemporaryDirectory() as folder:
        for name in {CARD, MANIFEST} & names:
            api.hf_hub_download(repo_id, name, repo_type="dataset", revision=revision, local_dir=folder)
        return Earlier.read(Path(folder))


def _same(path: Path, remote: Any) -> bool:
    """Whether a local file has the content of one on the Hub, by the hash the Hub keeps of it."""
    content = path.read_bytes()
    if remote.lfs is not None:
        return hashlib.sha256(content).hexdigest() == remote.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == remote.blob_id
