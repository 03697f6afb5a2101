"""The metadata of a dataset card, in the Hub's vocabulary: what the run sets, and what a person changed in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from equal_hf.corpus.licence_text import licence_metadata
from equal_hf.corpus.provenance import Provenance
from equal_hf.records.statistics import RunStatistics
from equal_hf.utils.dataset_info import DataFacts, dataset_info, size_category

CONFIGS = {"default": "train", "rejected": "rejected", "decisions": "decisions"}
# Metadata that follows from the files: a person's edit of it would be wrong after the next round.
DERIVED = frozenset({"configs", "dataset_info", "size_categories", "generated_with"})
STATED = ("license", "license_name", "license_link")  # which belong together


@dataclass(slots=True)
class Published:
    """What a card says of the data, besides the run's statistics.

    Args:
        files (`dict[str, DataFacts]`): Columns, rows and sizes by configuration, where it has rows.
        provenance ([`Provenance`]): Licences and sources of the pairs.
        repo_id (`str`, *optional*): The repository, where it is one of the Hub.
        prompt (`bool`): Whether the prompt is published, `prompt.jinja`.
        settings (`bool`): Whether the settings are, `equal.yaml`.
    """

    files: dict[str, DataFacts] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    repo_id: str | None = None
    prompt: bool = False
    settings: bool = False


def dataset_metadata(stats: RunStatistics, published: Published | None = None) -> dict[str, Any]:
    """The card's metadata, in the Hub's vocabulary; what is not known is left out.

    Args:
        stats ([`RunStatistics`]): The run.
        published ([`Published`], *optional*): What is known of the data.
    """
    published = published or Published()
    metadata: dict[str, Any] = {}
    stated = stats.config.get("language")
    if languages := ([stated] if isinstance(stated, str) else stated) or sorted(stats.languages):
        metadata["language"] = list(languages)
    if stats.pairs:
        metadata |= licence_metadata(published.provenance, published.repo_id)
    metadata["size_categories"] = [size_category(stats.pairs)]
    metadata["task_categories"] = ["text-generation", "question-answering"]
    metadata["tags"] = ["equal-hf", "trl", *(["synthetic"] if stats.models else [])]
    if corpus := stats.corpus.get("hub_id"):
        metadata["source_datasets"] = [corpus]
    metadata["generated_with"] = {"library": "equal-hf", "version": version("equal-hf")} | (
        {"models": sorted(stats.models)} if stats.models else {}
    )
    if published.files:
        metadata["dataset_info"] = dataset_info(published.files)
    metadata["configs"] = [
        {
            "config_name": name,
            **({"default": True} if name == "default" else {}),
            # `datasets` caches a local folder under a hash of these entries, whatever the folder and its files hold:
            # without the content's own hash here, it would go on serving an earlier export, or another run's.
            "description": f"content {stats.contents.get(folder, 'unknown')}",
            "data_files": [{"split": "train", "path": f"data/{folder}/*.parquet"}],
        }
        for name, folder in CONFIGS.items()
        if name != "rejected" or stats.rejected  # `datasets` cannot open what has no row
    ]
    return metadata


def merge_metadata(ours: Mapping[str, Any], card: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Our metadata, with what a person added or changed since we wrote it last.

    Args:
        ours (`Mapping[str, Any]`): What we would write now.
        card (`Mapping[str, Any]`): What the card holds.
        written (`Mapping[str, Any]`): What we wrote into it last time.

    >>> merge_metadata({"size": 2, "tags": [1]}, {"size": 1, "tags": [1], "license": "mit"}, {"size": 1, "tags": [1]})
    {'size': 2, 'tags': [1], 'license': 'mit'}
    """
    theirs = persons_metadata(card, written)
    if "license" in theirs:
        ours = {key: value for key, value in ours.items() if key not in STATED}
    return {**ours, **theirs}


def persons_metadata(card: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """What a person added to metadata that we wrote, or changed in it; what follows from the files is never theirs.

    >>> persons_metadata({"license": "mit", "tags": [1], "size_categories": ["n<1K"]}, {"tags": [1]})
    {'license': 'mit'}
    """
    return {
        key: value
        for key, value in card.items()
        if key not in DERIVED and (key not in written or written[key] != value)
    }
