"""What a dataset repository on the Hub holds, and whether a run may publish to it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.errors import PublishError
from equal_hf.publishing.previous_export import CARD, MANIFEST, Earlier

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile


@dataclass(frozen=True, slots=True)
class HeldDataset:
    """A dataset repository at one commit.

    Args:
        repo_id (`str`): Its id, with its namespace.
        head (`str`, *optional*): The commit.
        files (`Mapping[str, RepoFile]`): Its files.
        earlier ([`Earlier`]): Its card and manifest.
    """

    repo_id: str
    head: str | None
    files: Mapping[str, RepoFile]
    earlier: Earlier

    @classmethod
    def read(cls, api: HfApi, repo_id: str) -> HeldDataset:
        """The repository as it is now.

        Raises:
            [`PublishError`]: If somebody damaged card or manifest.
        """
        from huggingface_hub.hf_api import RepoFile

        head = api.repo_info(repo_id, repo_type="dataset").sha
        tree = api.list_repo_tree(repo_id, recursive=True, revision=head, repo_type="dataset")
        files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        with tempfile.TemporaryDirectory() as folder:
            for name in {CARD, MANIFEST} & set(files):
                api.hf_hub_download(repo_id, name, repo_type="dataset", revision=head, local_dir=folder)
            return cls(repo_id, head, files, Earlier.read(Path(folder)))

    def check(self, run: Collection[str]) -> None:
        """Refuse what is neither new nor an earlier push of the same run. A person's card may be there already.

        Args:
            run (`Collection[str]`): What manifests call the run, from [`run_identities`].

        Raises:
            [`PublishError`]: If it holds files that no run published, or another run's dataset.
        """
        if self.earlier.manifest is None:
            if not set(self.files) - {".gitattributes", CARD}:  # as a repository is when it was made on the website
                return
            raise PublishError(
                f"{self.repo_id} holds files that no run of equal_hf published: set `hub_dataset_id` to a new "
                "repository"
            )
        self.earlier.check(run, self.repo_id, "hub_dataset_id")

    def holds(self, name: str, path: Path) -> bool:
        """Whether a file there has the content of a local one, by the hash the Hub keeps of it."""
        if (found := self.files.get(name)) is None:
            return False
        content = path.read_bytes()
        if found.lfs is not None:
            return hashlib.sha256(content).hexdigest() == found.lfs.sha256
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == found.blob_id
