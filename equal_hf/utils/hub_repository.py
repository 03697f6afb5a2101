"""Repositories on the Hub: looked at before anything is sent, and announced before they are made."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from equal_hf.errors import PublishError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

_VISIBILITY = {True: "private", False: "public", None: "of the account's default visibility"}
_noted: set[str] = set()


def open_repository(api: HfApi, repo_id: str, repo_type: str, private: bool | None, setting: str) -> str:
    """The id, with its namespace, of a repository to write to; it is made where there is none.

    `private` acts on the Hub only when a repository is made, so one that is there must fit already.

    Args:
        api (`HfApi`): The Hub.
        repo_id (`str`): `name` or `namespace/name`.
        repo_type (`str`): `"dataset"` or `"model"`.
        private (`bool`, *optional*): Visibility that is asked for.
        setting (`str`): The setting that asks for it, for messages.

    Raises:
        [`PublishError`]: If it is public, and a private one is asked for.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    full = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
    for made in (False, True):
        try:
            info = api.repo_info(full, repo_type=repo_type)
        except RepositoryNotFoundError:
            if made:
                raise
            logger.info("Making the %s repository %s, %s", repo_type, full, _VISIBILITY[private])
            full = api.create_repo(full, repo_type=repo_type, private=private, exist_ok=True).repo_id
        else:
            break
    command = f"hf repos settings {full} --type {repo_type}"
    if private and not info.private:
        raise PublishError(
            f"the {repo_type} repository {full} is public, and a private one is asked for ({setting}): nothing was "
            f"sent. Make it private with `{command} --private`, or no longer ask for that"
        )
    if private is False and info.private and full not in _noted:
        _noted.add(full)
        logger.warning("The %s repository %s stays private: `%s --public` changes that", repo_type, full, command)
    return full
