"""What a corpus was made from, in its manifest; a corpus that is kept is used only where that is still the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.declared_files import hub_is_off
from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.open_dataset import list_files
from equal_hf.corpus.row_formats import DOCUMENTS
from equal_hf.errors import ConfigError, CorpusError
from equal_hf.utils.hashing import file_hash, fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.file_rows import SourceFile

logger = logging.getLogger(__name__)


def file_content(file: SourceFile) -> list[Any]:
    """What the documents of a file depend on: its content, and how it is read."""
    local = bool(file.url) and Path(file.url).is_file()
    name = file.relative if file.format in DOCUMENTS else ""  # which is the document's id, or its source
    return [file_hash(Path(file.url)) if local else file.identity, file.format, file.separator, file.rows, name]


def made_from(
    config: CorpusConfig,
    files: Sequence[SourceFile],
    contents: Sequence[list[Any]],
    aligned: dict[str, Any] | None,
    parsers: dict[str, str],
) -> dict[str, Any]:
    """For the manifest: what the corpus was made from, besides the settings that the manifest has anyway.

    Args:
        config ([`CorpusConfig`]): The settings.
        files (`Sequence[SourceFile]`): The files that were read.
        contents (`Sequence[list[Any]]`): What [`file_content`] gives for each of them.
        aligned (`dict[str, Any]`, *optional*): What `equal-hf align` measured.
        parsers (`dict[str, str]`): Versions of what read web pages and PDF files. A later version may find another
            text; a corpus stays what it is all the same, for replies about its texts are paid for.
    """
    return {
        "corpus": corpus_name(config.corpus),
        "content": fingerprint(list(contents)),
        "listed": all(file.url for file in files),  # else `datasets` had only what it once made of them
        "revision": _revision(files),
        **({"parsers": parsers} if parsers else {}),
        "metadata_columns": config.metadata_columns,
        "n_clusters": config.n_clusters,
        "aligned": bool(aligned and aligned["kept"]),
    }


def _revision(files: Sequence[SourceFile]) -> str | None:
    urls = [file.url for file in files if file.url.startswith("hf://datasets/")]
    return urls[0].partition("@")[2].partition("/")[0] or None if urls else None


def corpus_name(corpus: str) -> str:
    """A corpus as a manifest may name it: without the folders of this machine.

    >>> corpus_name("/home/me/notes.jsonl"), corpus_name("math-ai/AutoMathText")
    ('notes.jsonl', 'math-ai/AutoMathText')
    """
    path = Path(corpus).expanduser()
    return path.name if path.is_absolute() or path.exists() else corpus


def check_made_from(
    manifest: dict[str, Any], config: CorpusConfig, seed: int, aligned: dict[str, Any] | None, corpus_dir: Path
) -> None:
    """Refuse a corpus that was kept from earlier where the settings, or the documents, are others now.

    Args:
        manifest (`dict[str, Any]`): Its manifest.
        config ([`CorpusConfig`]): The settings now.
        seed (`int`): The seed now.
        aligned (`dict[str, Any]`, *optional*): What `equal-hf align` measured.
        corpus_dir (`Path`): Where it is.

    Raises:
        ConfigError: It was made from something else; the message says what.
    """
    changes = [
        f"`{name}` was {before!r}, is {now!r}"
        for name, before, now in _settings(manifest, config, seed, aligned)
        if before != now
    ]
    if not changes and (change := _changed_documents(manifest.get("made_from"), config, corpus_dir)):
        changes.append(change)
    if changes:
        raise ConfigError(
            f"the corpus in {corpus_dir} was made from something else: {'; '.join(changes)}. Set `corpus_dir` (or "
            f"`output_dir`) to another folder to build one from these settings, or `corpus` to {corpus_dir} to use it "
            "as it is."
        )


def _settings(
    manifest: dict[str, Any], config: CorpusConfig, seed: int, aligned: dict[str, Any] | None
) -> Iterator[tuple[str, Any, Any]]:
    """Each setting that the corpus depends on: its name, its value then, and its value now."""
    read, clustering, embedder = manifest.get("read", {}), manifest.get("clustering", {}), manifest["embedder"]
    for name in ("text_column", "id_column", "min_characters"):
        yield name, read.get(name), getattr(config, name)
    # What a manifest of an earlier version does not say is taken to be the same.
    yield "seed", manifest.get("seed", seed), seed
    yield "kmeans_iterations", clustering.get("iterations", config.kmeans_iterations), config.kmeans_iterations
    yield "giant_factor", clustering.get("giant_factor", config.giant_factor), config.giant_factor
    yield "embedder_max_windows", embedder.get("max_windows", 8), config.embedder_max_windows
    if not _same_embedder(embedder, config):
        yield "embedder", embedder.get("name"), config.embedder
    source = manifest.get("made_from")
    if source is None:  # written by an earlier version, or by `ClusteredCorpus.build`
        if config.clusters != "auto":
            yield "n_clusters", clustering.get("n_clusters_requested"), config.clusters
        return
    yield "n_clusters", source["n_clusters"], config.n_clusters
    yield "metadata_columns", source["metadata_columns"], config.metadata_columns
    if source["aligned"] != bool(aligned and aligned["kept"]):
        states = {True: "the aligned one", False: "the original one"}
        yield "embedder", states[source["aligned"]], states[not source["aligned"]]


def _same_embedder(facts: dict[str, Any], config: CorpusConfig) -> bool:
    """By name, or by what it computes; that a model is still the one of its name is checked when it is opened."""
    name = facts.get("name", "")
    if name == config.embedder or (Path(name).exists() and Path(name).resolve() == Path(config.embedder).resolve()):
        return True
    if facts.get("folder") or "probe" not in facts:
        return False
    return Embedder(config.embedder, max_windows=config.embedder_max_windows).computes(facts["probe"])


def _changed_documents(source: dict[str, Any] | None, config: CorpusConfig, corpus_dir: Path) -> str:
    """Whether the documents are others than then, in words; empty where they are the same or cannot be looked at."""
    if source is None:
        logger.warning(
            "The corpus in %s does not say what documents it was made from: it is used as it is.", corpus_dir
        )
        return ""
    before, now = source["corpus"], corpus_name(config.corpus)
    another = f"`corpus` was {before!r}, is {now!r}"
    problem, content = "", ""
    try:
        files = [file for file in list_files(config) if not file.problem]
        if source["listed"] and not all(file.url for file in files):
            problem = "its files cannot be listed offline"
        else:
            content = fingerprint([file_content(file) for file in files])
    except (CorpusError, OSError) as error:
        problem = str(error)
    if content == source["content"]:
        return ""
    if content and hub_is_off() and any(file.url.startswith("hf://") for file in files):
        problem = "offline, only those of its files are seen that the Hub cache has"
    if before != now:
        return another
    if problem:
        logger.warning("Whether `corpus` has changed cannot be told: %s. %s is used as it is.", problem, corpus_dir)
        return ""
    change = f"the documents of `corpus` {now!r} have changed"
    if source["revision"]:
        change += f" since commit {source['revision']}, which `corpus_revision` can name"
    return change
