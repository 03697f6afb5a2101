"""Repositories on the Hub: looked at before anything is sent, and announced before they are made."""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import ConfigError, PublishError
from equal_hf.utils.hub_retry import DamagedAnswer

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

logger = logging.getLogger(__name__)

_VISIBILITY = {True: "private", False: "public", None: "of the account's default visibility"}
_noted: set[str] = set()


def hub_id(name: Any) -> bool:
    """Whether a name has the form of a Hub repository's id, and not that of a path.

    >>> hub_id("math-ai/AutoMathText"), hub_id("./corpus"), hub_id("data/x.parquet"), hub_id(None)
    (True, False, False, False)
    """
    if not isinstance(name, str) or name.endswith((".parquet", ".jsonl", ".json", ".csv")):
        return False
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def check_repository_name(repo_id: str, setting: str) -> None:
    """Refuse a name that no repository can have.

    Args:
        repo_id (`str`): `name` or `namespace/name`.
        setting (`str`): The setting that holds it, for messages.

    Raises:
        [`ConfigError`]: If the Hub allows no such name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise ConfigError(
            f"{setting} is {repo_id!r}, which no repository can be called: set it to `user/name`, of letters, digits, "
            "`-`, `_` and `.`, 96 characters at most"
        ) from None


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


@dataclass(frozen=True, slots=True)
class Repository:
    """What a repository holds at one commit.

    Args:
        repo_id (`str`): Its id, with its namespace.
        repo_type (`str`): `"dataset"` or `"model"`.
        head (`str`, *optional*): The commit.
        files (`Mapping[str, RepoFile]`): Its files.
    """

    repo_id: str
    repo_type: str
    head: str | None
    files: Mapping[str, RepoFile] = field(default_factory=dict)

    @classmethod
    def read(cls, api: HfApi, repo_id: str, repo_type: str, revision: str | None = None) -> Repository:
        """The repository as it is now."""
        from huggingface_hub.hf_api import RepoFile

        head = api.repo_info(repo_id, repo_type=repo_type, revision=revision).sha
        tree = api.list_repo_tree(repo_id, recursive=True, revision=head, repo_type=repo_type)
        return cls(repo_id, repo_type, head, {entry.path: entry for entry in tree if isinstance(entry, RepoFile)})

    def holds(self, name: str, content: bytes) -> bool:
        """Whether a file has a content, by the hash that the Hub keeps of it."""
        if (file := self.files.get(name)) is None:
            return False
        if file.lfs is not None:
            return hashlib.sha256(content).hexdigest() == file.lfs.sha256
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id

    def text(self, api: HfApi, name: str) -> str:
        """The text of a file; empty where there is none.

        Raises:
            [`DamagedAnswer`]: If other bytes came than the Hub holds.
        """
        if name not in self.files:
            return ""
        with tempfile.TemporaryDirectory() as folder:
            path = api.hf_hub_download(
                self.repo_id, name, repo_type=self.repo_type, revision=self.head, local_dir=folder
            )
            content = Path(path).read_bytes()
        if not self.holds(name, content):
            raise DamagedAnswer(f"{name} of {self.repo_id} came with another content than the Hub says")
        return content.decode("utf-8", "replace")
