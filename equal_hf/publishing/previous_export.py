"""What was exported or pushed before, in a folder or on the Hub: whose it is, and what a person added to it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import PublishError
from equal_hf.publishing.dataset_metadata import persons_metadata
from equal_hf.records.json_files import read_json
from equal_hf.records.run_file import RunFile
from equal_hf.utils.hashing import content_hash
from equal_hf.utils.hub_repository import Repository
from equal_hf.utils.markdown import split_front_matter, without_generated

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PUBLISHED = "hub/published.json"
CARD, MANIFEST = "README.md", "equal.json"


@dataclass(frozen=True, slots=True)
class PreviousExport:
    """An earlier export, here or on the Hub.

    Args:
        card (`str`): Its `README.md`, empty where there is none.
        manifest (`Mapping[str, Any]`, *optional*): Its `equal.json`, `None` where there is none.
    """

    card: str = ""
    manifest: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, folder: Path) -> PreviousExport:
        """The export in a folder.

        Raises:
            [`PublishError`]: If card or manifest is damaged.
        """
        try:
            texts = {
                name: path.read_text(encoding="utf-8") for name in (CARD, MANIFEST) if (path := folder / name).exists()
            }
        except ValueError as error:
            raise PublishError(f"{CARD} or {MANIFEST} in {folder} is no UTF-8 ({error}): save it as such") from error
        return cls.parse(texts.get(CARD, ""), texts.get(MANIFEST), str(folder))

    @classmethod
    def parse(cls, card: str, manifest: str | None, where: str) -> PreviousExport:
        """An export from the texts of its two files.

        Raises:
            [`PublishError`]: If the manifest is damaged.
        """
        try:
            return cls(card, None if manifest is None else dict(json.loads(manifest)))
        except (ValueError, TypeError, RecursionError) as error:
            raise PublishError(
                f"{MANIFEST} of the earlier export in {where} is damaged ({error}): remove it"
            ) from error

    def persons_part(self) -> str:
        """Hash of what a person wrote into the card: text around the generated part, and metadata."""
        metadata, body = split_front_matter(self.card)
        theirs = persons_metadata(metadata, (self.manifest or {}).get("metadata") or {})
        text = json.dumps([theirs, without_generated(body)], sort_keys=True, default=str)
        return content_hash(text)

    def check(self, run: Collection[str], where: str, setting: str) -> None:
        """Refuse to write over what is not an earlier export of the same run.

        Args:
            run (`Collection[str]`): What manifests call the run, from [`run_identities`].
            where (`str`): The folder or repository, for messages.
            setting (`str`): The setting that names it, for messages.

        Raises:
            [`PublishError`]: If it holds another run's dataset, or a card that no run wrote.
        """
        if self.manifest is None and self.card:
            raise PublishError(f"{where} holds a card that no run wrote: set `{setting}` to a new place, or remove it")
        if self.manifest is not None and self.manifest.get("run") not in run:
            raise PublishError(
                f"{where} holds the dataset of another run: set `{setting}` to a new place, or remove it"
            )


@dataclass(frozen=True, slots=True)
class HubExport:
    """A dataset repository at one commit.

    Args:
        repository ([`Repository`]): Its files.
        export ([`PreviousExport`]): Its card and manifest.
    """

    repository: Repository
    export: PreviousExport

    @classmethod
    def read(cls, api: HfApi, repo_id: str) -> HubExport:
        """The repository as it is now.

        Raises:
            [`PublishError`]: If card or manifest is damaged.
        """
        repository = Repository.read(api, repo_id, "dataset")
        card, manifest = repository.text(api, CARD), repository.text(api, MANIFEST)
        return cls(repository, PreviousExport.parse(card, manifest or None, repo_id))

    def check(self, run: Collection[str]) -> None:
        """Refuse what is neither new nor an earlier push of the same run. A person's card may be there already.

        Args:
            run (`Collection[str]`): What manifests call the run, from [`run_identities`].

        Raises:
            [`PublishError`]: If it holds files that no run published, or another run's dataset.
        """
        repo_id = self.repository.repo_id
        if self.export.manifest is not None:
            self.export.check(run, repo_id, "hub_dataset_id")
        elif set(self.repository.files) - {".gitattributes", CARD}:  # all that a repository made on the website has
            raise PublishError(
                f"{repo_id} holds files that no run of equal_hf published: set `hub_dataset_id` to a new repository"
            )


def default_folder(run_dir: str | Path) -> Path:
    """Where a run's dataset is exported to by default: `hub/dataset` in the run folder."""
    return Path(run_dir) / "hub" / "dataset"


def last_push(run_dir: str | Path) -> dict[str, str]:
    """The last push of a run: `repo_id`, `url`, `revision`, `persons_part`; empty before the first."""
    path = Path(run_dir) / PUBLISHED
    return read_json(path) if path.exists() else {}


def run_identities(run: Mapping[str, Any]) -> tuple[str, str]:
    """What a manifest calls the run that a `run.json` describes: its id, which a copied folder keeps; and a hash of
    its fingerprint, which manifests of the first versions hold instead.

    Two runs of the same settings are two runs: a model that answers differently would give their rounds other rows.
    """
    text = json.dumps(run["fingerprint"], sort_keys=True, ensure_ascii=False)
    return run["id"], content_hash(text)


def known_identities(run_dir: str | Path) -> tuple[str, ...]:
    """As [`run_identities`], of the run in a folder; empty where no run has started there."""
    run_file = RunFile(run_dir)
    return run_identities(run_file.read()) if run_file.exists() else ()
