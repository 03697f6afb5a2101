"""The metadata of a dataset card, in the Hub's vocabulary: what the run sets, and what a person changed in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from equal_hf.records.statistics import RunStatistics

CONFIGS = {"default": "train", "rejected": "rejected", "decisions": "decisions"}
# Metadata that follows from the files: a person's edit of it would be wrong after the next round.
DERIVED = frozenset({"configs", "size_categories", "generated_with"})
# Those of the Hub's licence identifiers that corpora use; any other licence is told in the card's text only.
HUB_LICENSE = re.compile(
    r"apache-2\.0|mit|isc|zlib|unlicense|mpl-2\.0|artistic-2\.0|bsd(?:-[23]-clause)?|(?:l?gpl|agpl)-3\.0|gpl-2\.0|lgpl-2\.1"
    r"|cc0-1\.0|cc-by-(?:sa-|nc-|nc-sa-|nc-nd-)?[34]\.0|cc-by-nd-4\.0|pddl|odbl|odc-by|gfdl|cdla-permissive-2\.0"
)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_metadata(stats: RunStatistics) -> dict[str, Any]:
    """The card's metadata, in the Hub's vocabulary; what is not known is left out.

    Args:
        stats ([`RunStatistics`]): The run.
    """
    metadata: dict[str, Any] = {}
    stated = stats.config.get("language")
    if languages := ([stated] if isinstance(stated, str) else stated) or sorted(stats.languages):
        metadata["language"] = list(languages)
    names = {(license or "").strip().lower() for license in stats.licenses}
    if names and all(HUB_LICENSE.fullmatch(name) for name in names):
        metadata["license"] = sorted(names) if len(names) > 1 else names.pop()
    size = next((name for limit, name in _SIZES if stats.pairs < limit), "1M<n<10M")
    metadata["size_categories"] = [size if stats.pairs < 10_000_000 else "10M<n<100M"]
    metadata["task_categories"] = ["text-generation", "question-answering"]
    metadata["tags"] = ["equal-hf", "trl", *(["synthetic"] if stats.models else [])]
    if corpus := stats.corpus.get("hub_id"):
        metadata["source_datasets"] = [corpus]
    metadata["generated_with"] = {"library": "equal-hf", "version": version("equal-hf")} | (
        {"models": sorted(stats.models)} if stats.models else {}
    )
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


def hub_id(name: Any) -> bool:
    """Whether a name has the form of a Hub repository's id, and not that of a path.

    >>> hub_id("math-ai/AutoMathText"), hub_id("./corpus"), hub_id("data/x.parquet"), hub_id(None)
    (True, False, False, False)
    """
    if not isinstance(name, str) or name.endswith((".parquet", ".jsonl", ".json", ".csv")):
        return False
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def merge_metadata(ours: Mapping[str, Any], card: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Our metadata, with what a person added or changed since we wrote it last.

    Args:
        ours (`Mapping[str, Any]`): What we would write now.
        card (`Mapping[str, Any]`): What the card holds.
        written (`Mapping[str, Any]`): What we wrote into it last time.

    >>> merge_metadata({"size": 2, "tags": [1]}, {"size": 1, "tags": [1], "license": "mit"}, {"size": 1, "tags": [1]})
    {'size': 2, 'tags': [1], 'license': 'mit'}
    """
    return {**ours, **persons_metadata(card, written)}


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
