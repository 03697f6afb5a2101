"""A run's model on the Hub: the files that saving it wrote, over no other model, beside what a person wrote."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import PublishError
from equal_hf.publishing.model_card import ADAPTER, HERE, is_ours, merge_model_cards
from equal_hf.publishing.previous_export import CARD
from equal_hf.utils.hub_repository import Repository, open_repository
from equal_hf.utils.hub_retry import retry_hub
from equal_hf.utils.known_secrets import remember_secret

if TYPE_CHECKING:
    from huggingface_hub import HfApi

KEEP_LOCAL = ", or leave out `push_to_hub` to keep it local"
PRIVATE = "`hub_private_repo` or `--private`"


def open_model_repository(repo_id: str, token: str | None = None, *, private: bool | None = None) -> str:
    """The id, with its namespace, of the model repository; it is made where there is none.

    Args:
        repo_id (`str`): `name` or `namespace/name`.
        token (`str`, *optional*): The one saved by `hf auth login`, or `HF_TOKEN`, where it is left out.
        private (`bool`, *optional*): Visibility that it must have; the account's default for a new one.

    Raises:
        [`PublishError`]: If it is public where `private` is asked for, or the Hub refuses.
    """
    from huggingface_hub import HfApi

    remember_secret(token)
    api = HfApi(token=token)
    what = f"opening the model repository {repo_id!r}"
    return retry_hub(lambda: open_repository(api, repo_id, "model", private, PRIVATE), what, "hub_model_id")


def push_model(
    folder: str | Path,
    repo_id: str,
    token: str | None = None,
    *,
    names: Collection[str] | None = None,
    private: bool | None = None,
    revision: str | None = None,
    message: str = "End of training",
) -> Any:
    """Put a model folder on the Hub. What a person wrote into the card there stays.

    Args:
        folder (`str` or `Path`): The model folder.
        repo_id (`str`): `name` or `namespace/name`; created where there is none.
        token (`str`, *optional*): The one saved by `hf auth login`, or `HF_TOKEN`, where it is left out.
        names (`Collection[str]`, *optional*): Which of its files; all but links where it is left out.
        private (`bool`, *optional*): As in [`open_model_repository`].
        revision (`str`, *optional*): The branch; `main` where it is left out.
        message (`str`, *optional*, defaults to `"End of training"`): Of the commit.

    Returns:
        `huggingface_hub.CommitInfo`: The commit.

    Raises:
        [`PublishError`]: If the Hub refuses, the repository is public where `private` is asked for or holds another
            model, a file is a link, or all attempts failed.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    remember_secret(token)
    api, folder = HfApi(token=token), Path(folder)
    if names is None:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        names = [name for name in names if not (folder / name).is_symlink()]
    if links := [name for name in names if (folder / name).is_symlink()]:
        raise PublishError(f"{folder / links[0]} is a symbolic link, which is not followed: put a file there")
    ours = (folder / CARD).read_text(encoding="utf-8") if CARD in names else ""
    adds = [CommitOperationAdd(name, _shared(folder / name)) for name in sorted(names) if name != CARD]

    def push() -> Any:
        full = open_repository(api, repo_id, "model", private, PRIVATE)
        named = ours.replace(json.dumps(HERE), json.dumps(full))
        card = merge_model_cards(named, look_at_model(api, full, revision))
        readme = [CommitOperationAdd(CARD, card.encode())] if card else []
        return api.create_commit(full, [*adds, *readme], commit_message=message, revision=revision)

    return retry_hub(push, f"publishing the model to {repo_id!r}", "hub_model_id", otherwise=KEEP_LOCAL)


def _shared(path: Path) -> Path | bytes:
    """What is pushed of a file: an adapter's configuration names a local base model without the folders it lies in."""
    if path.name != ADAPTER:
        return path
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
        if not Path(base).is_absolute():
            return path
    except (ValueError, KeyError, TypeError, RecursionError):
        return path
    return json.dumps({**config, "base_model_name_or_path": Path(base).name}, indent=2).encode()


def look_at_model(api: HfApi, repo_id: str, revision: str | None = None) -> str:
    """The card of a model repository.

    Raises:
        [`PublishError`]: If it holds a model that no run published.
    """
    repository = Repository.read(api, repo_id, "model", revision)
    names, card = set(repository.files), repository.text(api, CARD)
    if (others := names - {".gitattributes", CARD}) and not is_ours(card):
        raise PublishError(
            f"{repo_id} holds a model that no run of equal_hf published, {min(others)!r} among its files; nothing was "
            "changed there: set `hub_model_id` to a new repository"
        )
    return card
