"""The first stage: the dataset's files become document shards, and duplicates over all of them are found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.corpus.file_rows import SourceFile, UnreadableFile
from equal_hf.corpus.indexing.deduplicate import find_duplicates
from equal_hf.corpus.indexing.progress import Progress
from equal_hf.corpus.indexing.shards import Shard, common_schema, read_identities, write_shards
from equal_hf.corpus.kmeans import check_count
from equal_hf.corpus.made_from import file_content, made_from
from equal_hf.corpus.open_dataset import list_files, read_file
from equal_hf.corpus.read_documents import ReadReport, read_documents
from equal_hf.corpus.source_files import unread_files
from equal_hf.errors import CorpusError
from equal_hf.utils.files import replacing
from equal_hf.utils.hashing import fingerprint
from equal_hf.utils.printable import escape
from equal_hf.utils.redaction import mask_text

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.indexing.state import IndexState
    from equal_hf.corpus.read_documents import Rows

logger = logging.getLogger(__name__)

_SETTINGS = ("text_column", "id_column", "metadata_columns", "min_characters", "shard_documents")
_DUPLICATES = "duplicates.npy"


@dataclass(frozen=True, slots=True)
class Source:
    """Where documents come from.

    Args:
        files (`Callable`): Lists the files.
        documents (`Callable`): Yields the usable documents of a file and fills a [`ReadReport`].
    """

    files: Callable[[], list[SourceFile]]
    documents: Callable[[SourceFile, ReadReport], Iterator[Any]]


def files_source(config: CorpusConfig) -> Source:
    """The files of the dataset that the settings name."""
    return Source(partial(list_files, config), lambda file, report: read_file(file, config, report))


def rows_source(rows: Rows, config: CorpusConfig) -> Source:
    """Rows that are at hand, as one file; they are read again where it cannot be told that they are the same."""

    def documents(file: SourceFile, report: ReadReport) -> Iterator[Any]:
        return read_documents(
            rows,
            text_column=config.text_column,
            id_column=config.id_column,
            metadata_columns=config.metadata_columns,
            min_characters=config.min_characters,
            report=report,
            deduplicate=False,  # that is done over all shards
        )

    identity = str(getattr(rows, "_fingerprint", ""))
    return Source(lambda: [SourceFile("rows", "", identity=identity)], documents)


def read(state: IndexState, source: Source) -> dict[str, Any]:
    """Read the dataset's files into document shards, each rank its own, and find the duplicates among them.

    Returns:
        `dict[str, Any]`: `files`, `skipped_files` and `documents_read`.

    Raises:
        CorpusError: A file cannot be read and `on_bad_file` is `"stop"`, a column is missing or changes its type, no
            document is usable, or there are fewer than clusters.
    """
    listed = state.ranks.once(source.files)
    files = [file for file in listed if not file.problem]
    state.not_read = unread_files(listed)
    if state.not_read and state.ranks.first:
        logger.warning("`corpus`: %s", escape(state.not_read))
    with Progress("reading", None, "rows", show=state.show_progress) as progress:
        parts = state.ranks.together(
            lambda: {file.name: _read_file(state, source, file, progress) for file in state.ranks.mine(files)}
        )
    by_file = {name: facts for part in parts for name, facts in part.items()}
    for file in files:
        facts = by_file[file.name]
        state.rows += facts["rows"]
        state.drop(facts["dropped"])
        state.shards += [Shard(**shard) for shard in facts["shards"]]
        for name, columns in facts["columns"].items():
            state.columns[name] = sorted({*state.columns.get(name, ()), *columns})
    if state.columns and state.ranks.first:
        changed = [f"{name}: {', '.join(columns)}" for name, columns in state.columns.items()]
        logger.warning("`metadata_columns`: %s", escape("; ".join(changed)))
    contents = [by_file[file.name]["content"] for file in files]
    state.made_from = made_from(state.config, files, contents, state.alignment)
    # On the card, too: a file may be named by a signed address.
    problems = [
        {"file": mask_text(name), "problem": mask_text(facts["problem"])}
        for name, facts in by_file.items()
        if facts["problem"]
    ]
    state.skipped = sorted(problems, key=lambda skipped: skipped["file"])
    for skipped in state.skipped:
        logger.warning("Left out: %s", escape(skipped["problem"]))
    if not state.shards:
        raise CorpusError(state.nothing_usable())
    _check_metadata(list(by_file.values()))
    _mark_duplicates(state)
    if state.dropped and state.ranks.first:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in state.dropped.items())
        logger.info("`corpus`: of %s rows, these gave no document: %s", f"{state.rows:,}", reasons)
    # What would stop a later stage is found out before anything is paid for.
    paths = [shard.path(state.documents) for shard in state.shards]
    names = [mask_text(file.name) for file in files for _ in by_file[file.name]["shards"]]
    state.schema = state.ranks.once(lambda: common_schema(paths, names))
    if state.config.clusters != "auto":
        check_count(state.config.clusters, state.unique_documents())
    return {"files": len(files), "skipped_files": state.skipped, "documents_read": state.rows}


def _check_metadata(files: list[dict[str, Any]]) -> None:
    """A column of `metadata_columns` may be missing from some files, but not from all."""
    missing = [set(facts["missing"]) for facts in files if not facts["problem"]]
    if nowhere := set.intersection(*missing) if missing else set():
        raise CorpusError(
            f"No file of the corpus has a column {', '.join(map(repr, sorted(nowhere)))}. Correct `metadata_columns`."
        )


def _read_file(state: IndexState, source: Source, file: SourceFile, progress: Progress) -> dict[str, Any]:
    """Turn one file of the dataset into document shards: `rows` read, `dropped` by reason, `shards`, and the `problem`
    of a file that is left out."""
    config = state.config
    inputs = {
        **{name: getattr(file, name) for name in ("name", "relative", "identity", "format", "separator", "rows")},
        **{name: getattr(config, name) for name in _SETTINGS},
    }
    record = state.work.folder / "read" / f"{fingerprint(file.name)}.json"

    def make() -> tuple[list[Path], dict[str, Any]]:
        report = ReadReport()
        documents = _counted(source.documents(file, report), report, progress)
        try:
            shards = list(write_shards(documents, state.documents, max_documents=config.shard_documents))
        except UnreadableFile as error:
            if config.on_bad_file == "stop":
                raise
            nothing = {"rows": 0, "dropped": {}, "columns": {}, "missing": [], "shards": []}
            return [], {**nothing, "problem": str(error), "content": file_content(file)}
        facts = {
            "rows": report.rows,
            "dropped": report.dropped,
            "columns": report.changed_columns(),
            "missing": sorted(report.missing),
            "shards": [{"key": s.key, "documents": s.documents, "text_bytes": s.text_bytes} for s in shards],
            "problem": "",
            "content": file_content(file),
        }
        return [shard.path(state.documents) for shard in shards], facts

    # A file that could not be read may have been repaired, or the connection.
    return state.work.piece(
        "read", record, inputs, make, stale=lambda facts: bool(facts["problem"]) or not file.identity
    )


def _counted(documents: Iterable[Any], report: ReadReport, progress: Progress) -> Iterator[Any]:
    rows = 0
    for document in documents:
        progress.made(report.rows - rows)
        rows = report.rows
        yield document


def _mark_duplicates(state: IndexState) -> None:
    path, by_id = state.work.folder / _DUPLICATES, state.config.id_column is not None

    def make() -> tuple[list[Path], dict[str, Any]]:
        paths = [shard.path(state.documents) for shard in state.shards]
        sizes = [shard.documents for shard in state.shards]
        unique, dropped = find_duplicates(lambda shard: read_identities(paths[shard]), sizes, by_id=by_id)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, np.concatenate(unique), allow_pickle=False)
        return [path], {"dropped": dropped}

    inputs = {"shards": fingerprint([shard.key for shard in state.shards]), "by_id": by_id}
    record = state.work.folder / "duplicates.json"
    state.drop(state.ranks.once(lambda: state.work.piece("read", record, inputs, make))["dropped"])
    ends = np.cumsum([shard.documents for shard in state.shards])[:-1]
    state.unique = list(np.split(np.load(path, allow_pickle=False), ends))
    # Embeddings are of the documents that are no duplicates, so both are in their name.
    state.keys = [
        fingerprint([shard.key, np.packbits(unique).tobytes().hex()])
        for shard, unique in zip(state.shards, state.unique, strict=True)
    ]
