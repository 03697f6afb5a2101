"""What was exported or pushed before: whose it is, and what a person wrote into its card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equal_hf.errors import PublishError
from equal_hf.publishing.dataset_card import persons_metadata
from equal_hf.records.run_folder import RoundRecords
from equal_hf.utils.markdown import split_front_matter, without_generated

PUBLISHED = "hub/published.json"
CARD, MANIFEST = "README.md", "equal.json"


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier export, here or on the Hub.

    Args:
        card (`str`): Its `README.md`, empty where there is none.
        manifest (`Mapping[str, Any]`, *optional*): Its `equal.json`, `None` where there is none.
    """

    card: str = ""
    manifest: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, folder: Path) -> Earlier:
        """The export in a folder.

        Raises:
            [`PublishError`]: If somebody damaged it.
        """
        card, manifest = folder / CARD, folder / MANIFEST
        try:
            return cls(
                card.read_text(encoding="utf-8") if card.exists() else "",
                dict(json.loads(manifest.read_text(encoding="utf-8"))) if manifest.exists() else None,
            )
        except (ValueError, TypeError) as error:
            raise PublishError(
                f"{CARD} or {MANIFEST} of an earlier export, read into {folder}, is damaged ({error}): remove both"
            ) from error

    def persons_part(self) -> str:
        """Names, by a hash, what a person wrote into the card: text around the generated part, and metadata."""
        metadata, body = split_front_matter(self.card)
        theirs = persons_metadata(metadata, (self.manifest or {}).get("metadata") or {})
        text = json.dumps([theirs, without_generated(body)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def check(self, run: Collection[str], where: str, setting: str) -> None:
        """Refuse to write over what is not an earlier export of the same run.

        Raises:
            [`PublishError`]: If it holds another run's dataset, or a card that no run wrote.
        """
        if self.manifest is None and self.card:
            raise PublishError(f"{where} holds a card that no run wrote: set `{setting}` to a new place, or remove it")
        if self.manifest is not None and self.manifest.get("run") not in run:
            raise PublishError(
                f"{where} holds the dataset of another run: set `{setting}` to a new place, or remove it"
            )


def default_folder(run_dir: str | Path) -> Path:
    """Where a run's dataset goes when nobody says otherwise: `hub/dataset` in the run folder."""
    return Path(run_dir) / "hub" / "dataset"


def last_push(run_dir: str | Path) -> dict[str, str]:
    """What a run last pushed, and where to: `repo_id`, `url`, `revision`, `persons_part`; empty where it pushed
    nothing."""
    path = Path(run_dir) / PUBLISHED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def run_identities(run: Mapping[str, Any]) -> tuple[str, str]:
    """What a manifest calls the run that a `run.json` describes: its id, which a copied folder keeps; and a hash of
    its fingerprint, which manifests of the first versions hold instead.

    Two runs of the same settings are two runs: a model that answers differently would give their rounds other rows.
    """
    text = json.dumps(run["fingerprint"], sort_keys=True, ensure_ascii=False)
    return run["id"], hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def known_identities(run_dir: str | Path) -> tuple[str, ...]:
    """As [`run_identities`], of the run in a folder; nothing where no run has started there."""
    return run_identities(RoundRecords(run_dir).run()) if (Path(run_dir) / "run.json").exists() else ()
