"""The manifest `corpus.json`: written last, it proves that a corpus folder is complete and says how it was made."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from equal_hf.errors import CorpusError
from equal_hf.utils.files import describe_file, write_file
from equal_hf.utils.hashing import fingerprint

MANIFEST_FILE = "corpus.json"
CARD_FILE = "README.md"
FORMAT = "equal-hf-clustered-corpus"
FORMAT_VERSION = 2  # 1 had all embeddings in one file
GROWN_VERSION = 3  # documents of one cluster lie in several files, which readers of version 2 do not expect
_REQUIRED = {
    "fingerprint": str,
    "documents": int,
    "n_clusters": int,
    "dimension": int,
    "embedder": dict,
    "files": dict,
}


def make_manifest(files: dict[str, dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a corpus.

    The fingerprint is a hash over the names and contents of all files but `README.md`, which a Hub page may change.

    Args:
        files (`dict[str, dict[str, Any]]`): Size and hash of every file.
        facts (`dict[str, Any]`): What else the manifest is to say; JSON-able.

    Returns:
        `dict[str, Any]`: The manifest.
    """
    files = dict(sorted(files.items()))
    return {
        "format": FORMAT,
        "format_version": GROWN_VERSION if any("-added-" in name for name in files) else FORMAT_VERSION,
        "fingerprint": fingerprint(files),
        **facts,
        "files": files,
    }


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into the folder it describes, whole or not at all."""
    write_file(folder / MANIFEST_FILE, manifest_text(manifest))


def manifest_text(manifest: dict[str, Any]) -> str:
    """A manifest as it is written."""
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def read_manifest(path: Path, source: str) -> dict[str, Any]:
    """Read and check a manifest.

    Args:
        path (`Path`): The manifest file.
        source (`str`): The folder or repository it belongs to, for messages.

    Raises:
        CorpusError: It is no manifest of a clustered corpus, or of a later format.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(
            f"The manifest {MANIFEST_FILE} of {source} cannot be read: {error}. Build or download the corpus again."
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CorpusError(
            f"{source} holds a {MANIFEST_FILE} that was not written by `ClusteredCorpus.build`. Name one that was."
        )
    if manifest.get("format_version") not in (FORMAT_VERSION, GROWN_VERSION):
        raise CorpusError(
            f"{source} has format version {manifest.get('format_version')!r}; this equal_hf reads {FORMAT_VERSION} "
            f"and {GROWN_VERSION}. Install the equal_hf that wrote it, or build the corpus again."
        )
    for key, kind in _REQUIRED.items():
        if not isinstance(manifest.get(key), kind):
            raise CorpusError(
                f"The manifest {MANIFEST_FILE} of {source} lacks {key!r}. Build or download the corpus again."
            )
    names = [*manifest["files"], str(manifest["embedder"].get("folder") or "embedder")]
    if strange := [name for name in names if PurePosixPath(name).is_absolute() or {"..", ""} & set(name.split("/"))]:
        raise CorpusError(
            f"The manifest {MANIFEST_FILE} of {source} names {strange[0]!r}, which lies outside the corpus: this is "
            "no manifest of `ClusteredCorpus.build`. Do not use it."
        )
    sizes = [facts.get("bytes") if isinstance(facts, dict) else None for facts in manifest["files"].values()]
    if not all(isinstance(size, int) for size in sizes):
        raise CorpusError(
            f"The manifest {MANIFEST_FILE} of {source} does not tell the sizes of its files. Build or download the "
            "corpus again."
        )
    return manifest


def corpus_files(manifest: dict[str, Any]) -> list[str]:
    """Names of all files of a corpus; whatever else lies in its folder is somebody else's."""
    return [*manifest["files"], MANIFEST_FILE, CARD_FILE]


def check_files(folder: Path, manifest: dict[str, Any], *, verify: bool = False) -> None:
    """Check that every file the manifest lists is in the folder at its full size and, with `verify`, of its content.

    Raises:
        CorpusError: One is missing, or has another size or content.
    """
    for name, facts in manifest["files"].items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != facts["bytes"]:
            state = "is missing" if size is None else f"has {size} bytes instead of {facts['bytes']}"
            raise CorpusError(f"The corpus {folder} is damaged: {name} {state}. Build or download it again.")
        if verify and describe_file(path) != facts:
            raise CorpusError(
                f"The corpus {folder} is damaged: {name} does not have the content that {MANIFEST_FILE} says. Build "
                "or download it again."
            )


def refuse_taken(path: Path) -> None:
    """Raise `CorpusError` where a new corpus would overwrite something."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise CorpusError(
            f"`path`: {path} exists and is no empty folder. `ClusteredCorpus.load` it, remove it, or choose another."
        )
