"""A run's dataset on the Hub: found writable before the run, pushed as rounds complete, safe to push again.

A push reads what the repository holds, uploads only what differs, and commits on top of what it read: it can be
stopped and repeated at any time, and never writes over what is not an earlier push of the same run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import PublishError
from equal_hf.publishing.dataset import dataset_files, export_dataset
from equal_hf.publishing.dataset_shards import EMPTY, OURS
from equal_hf.publishing.hub_model import KEEP_LOCAL, PRIVATE, look_at_model
from equal_hf.publishing.previous_export import (
    CARD,
    MANIFEST,
    PUBLISHED,
    HubExport,
    PreviousExport,
    default_folder,
    known_identities,
    last_push,
    run_identities,
)
from equal_hf.records.json_files import write_json
from equal_hf.records.run_file import RunFile
from equal_hf.utils.hub_repository import open_repository
from equal_hf.utils.hub_retry import ATTEMPTS, retry_hub
from equal_hf.utils.known_secrets import remember_secret
from equal_hf.utils.markdown import join_front_matter, split_front_matter
from equal_hf.utils.redaction import mask_text

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

FILES_PER_COMMIT = 500


def check_write_access(
    repo_id: str,
    token: str | None = None,
    *,
    private: bool | None = None,
    repo_type: str = "dataset",
    setting: str | None = None,
    run_dir: str | Path | None = None,
) -> str:
    """Find out, before a run, whether its end can be published; creates the repository where there is none.

    Args:
        repo_id (`str`): `name` or `namespace/name`.
        token (`str`, *optional*): The one saved by `hf auth login`, or `HF_TOKEN`, where it is left out.
        private (`bool`, *optional*): Visibility of a repository that is created; the account's default where left out.
        repo_type (`str`, *optional*, defaults to `"dataset"`): `"dataset"` or `"model"`.
        setting (`str`, *optional*): The setting that error messages name; `hub_dataset_id` or `hub_model_id` where it
            is left out.
        run_dir (`str` or `Path`, *optional*): The folder of the run that will publish its dataset there; what is in
            the repository then is checked too.

    Returns:
        `str`: The repository's id with its namespace.

    Raises:
        [`PublishError`]: If there is no token, token or account may not write there, the repository holds something
            else, or the Hub does not answer.
    """
    from huggingface_hub import HfApi

    remember_secret(token)
    api = HfApi(token=token)

    def check() -> str:
        account = api.whoami()
        role = account.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise PublishError(
                f"the token of {account['name']} may only read, so {repo_id!r} cannot be published: make a token with "
                f"write access at {api.endpoint}/settings/tokens, or leave out `push_to_hub` to keep the dataset local"
            )
        full = open_repository(api, repo_id, repo_type, private, PRIVATE)
        api.auth_check(full, repo_type=repo_type, write=True)
        if run_dir is not None:
            HubExport.read(api, full).check(known_identities(run_dir))
        if repo_type == "model":
            look_at_model(api, full)
        return full

    what = f"checking write access to {repo_id!r}"
    return retry_hub(check, what, setting or f"hub_{repo_type}_id", otherwise=KEEP_LOCAL)


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

    remember_secret(token)
    api = HfApi(token=token)

    def push() -> str:
        full = open_repository(api, repo_id, "dataset", private, PRIVATE)
        revision = _push_once(api, run_dir, full, summary)
        url, card = f"{api.endpoint}/datasets/{full}", PreviousExport.read(default_folder(run_dir)).persons_part()
        write_json(
            Path(run_dir) / PUBLISHED, {"url": url, "revision": revision, "repo_id": full, "persons_part": card}
        )
        return url

    return retry_hub(push, f"publishing to {repo_id!r}", "hub_dataset_id", attempts, otherwise=KEEP_LOCAL)


def files_to_send(run_dir: str | Path, repo_id: str, token: str | None = None) -> dict[str, Path] | None:
    """What of a run's exported dataset a push would send now, by name; `None` where the Hub cannot be asked.

    Args:
        run_dir (`str` or `Path`): The run folder; its dataset is in `hub/dataset`.
        repo_id (`str`): `name` or `namespace/name`.
        token (`str`, *optional*): The one saved by `hf auth login`, or `HF_TOKEN`, where it is left out.

    Raises:
        [`PublishError`]: If the repository holds something else.
    """
    from huggingface_hub import HfApi

    api, files = HfApi(token=token), dataset_files(default_folder(run_dir))
    try:
        full = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
        remote = HubExport.read(api, full) if api.repo_exists(full, repo_type="dataset") else None
    except PublishError:
        raise
    except Exception as error:  # whatever the network stack raises: what would be sent is not known then
        logger.info("The Hub was not asked what %s holds: %s", repo_id, mask_text(str(error)))
        return None
    if remote is None:
        return files
    remote.check(run_identities(RunFile(run_dir).read()))
    return {name: path for name, path in files.items() if not remote.repository.holds(name, path.read_bytes())}


def published(run_dir: str | Path) -> dict[str, str] | None:
    """Address (`url`) and `revision` of the dataset that a run last pushed; `None` where it pushed none."""
    pushed = last_push(run_dir)
    return {name: pushed[name] for name in ("url", "revision")} if pushed else None


def _card_to_keep(run_dir: str | Path, remote: HubExport) -> PreviousExport:
    """The card that a person's additions are kept of: the one that they edited since the last push, here or there.

    Where they edited both, it is the one on the Hub, and the one here is put beside the dataset's folder.
    """
    here, there = PreviousExport.read(default_folder(run_dir)), remote.export
    if not there.card:
        return here
    last = last_push(run_dir)
    before = last.get("persons_part") if last.get("repo_id") == remote.repository.repo_id else None
    ours, theirs, before = here.persons_part(), there.persons_part(), before or PreviousExport().persons_part()
    if ours in (before, theirs) or not here.card:
        return there
    if theirs == before:
        return here
    copy = default_folder(run_dir).parent / f"README-{ours}.md"
    if not copy.exists():
        copy.write_text(here.card, encoding="utf-8")
        logger.warning(
            "The card was edited on the Hub (%s) and here; the one on the Hub is kept, and the one here is now %s: "
            "put its additions into the one on the Hub",
            remote.repository.repo_id,
            copy,
        )
    return there


def _without_sizes(card: str) -> str | None:
    """A card that says nothing of sizes, for as long as there are more files than it knows of, which `load_dataset`
    would refuse; `None` where it says nothing of them."""
    metadata, body = split_front_matter(card)
    if metadata.pop("dataset_info", None) is None:
        return None
    return join_front_matter(metadata, body)


def _push_once(api: HfApi, run_dir: str | Path, repo_id: str, summary: Mapping[str, Any] | None) -> str | None:
    """Export, compare with the repository, commit the difference on top of the commit it was compared with; the last
    commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    remote = HubExport.read(api, repo_id)
    remote.check(run_identities(RunFile(run_dir).read()))
    card = _card_to_keep(run_dir, remote)
    folder = export_dataset(run_dir, default_folder(run_dir), summary=summary, name=repo_id, previous=card)
    manifest = PreviousExport.read(folder).manifest or {}
    if (published := (remote.export.manifest or {}).get("rounds", 0)) > manifest["rounds"]:
        raise PublishError(
            f"{repo_id} holds {published} rounds and {run_dir} only {manifest['rounds']}: publish from the folder the "
            "run went on in, or set `hub_dataset_id` to a new repository"
        )
    local = dataset_files(folder)
    # Only what a run wrote, and no longer writes: the empty file that the first rows take the place of.
    gone = [
        name
        for name in remote.repository.files
        if OURS.fullmatch(name) and name.endswith(f"/{EMPTY}") and name not in local
    ]
    # The card comes last, as it speaks of files that are there by then. The manifest comes with it, since it says what
    # of the card's metadata is ours; the very first one comes first, so that a push cut short is known as ours.
    closing = [CARD, MANIFEST] if remote.export.manifest else [CARD]
    names = sorted(local, key=lambda name: (name in closing, name != MANIFEST))
    changed = [name for name in names if not remote.repository.holds(name, local[name].read_bytes())]
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationDelete(name) for name in gone),
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=local[name]) for name in changed),
    ]
    last = [operation for operation in operations if operation.path_in_repo in closing]
    parts = [operations[: len(operations) - len(last)]]
    parts = [parts[0][start : start + FILES_PER_COMMIT] for start in range(0, len(parts[0]), FILES_PER_COMMIT)] or [[]]
    if len(parts) > 1 and (without := _without_sizes(remote.export.card)) is not None:
        parts[0].insert(0, CommitOperationAdd(CARD, without.encode()))
    parts[-1] += last
    head = remote.repository.head
    for part in filter(None, parts):
        message = f"{manifest['rounds']} rounds"
        head = api.create_commit(repo_id, part, commit_message=message, repo_type="dataset", parent_commit=head).oid
    return head
