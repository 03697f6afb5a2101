"""The first stage: the dataset's files become document shards, and duplicates over all of them are found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.corpus.file_rows import SourceFile
from equal_hf.corpus.formats.parser_process import end_parsers
from equal_hf.corpus.indexing.deduplicate import find_duplicates
from equal_hf.corpus.indexing.read_piece import ReadPiece, pieces_of, read_piece
from equal_hf.corpus.indexing.shards import common_schema, read_identities
from equal_hf.corpus.kmeans import check_count
from equal_hf.corpus.made_from import made_from
from equal_hf.corpus.source_files import some_names, unread_files
from equal_hf.errors import CorpusError
from equal_hf.utils.files import replacing
from equal_hf.utils.hashing import fingerprint
from equal_hf.utils.printable import escape
from equal_hf.utils.progress import Progress
from equal_hf.utils.redaction import mask_text

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.document_source import Source
    from equal_hf.corpus.indexing.state import IndexState

logger = logging.getLogger(__name__)

_DUPLICATES = "duplicates.npy"


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
    pieces = pieces_of(files)
    several = any(len(piece) > 1 for piece in pieces)
    total, unit = (sum(map(len, state.ranks.mine(pieces))), "files") if several else (None, "rows")
    with Progress("reading", total, unit, show=state.show_progress) as progress:

        def work() -> list[ReadPiece]:
            return [read_piece(state, source, piece, progress) for piece in state.ranks.mine(pieces)]

        try:
            parts = state.ranks.together(work)
        finally:
            end_parsers()
    of_rank = [iter(part) for part in parts]
    given = [next(of_rank[number % state.ranks.size]) for number in range(len(pieces))]
    _take_up(state, files, given)
    if not state.shards:
        raise CorpusError(state.nothing_usable())
    _check_metadata(given)
    own_ids = state.config.id_column is not None or any(file.format == "warc" for file in files)
    _mark_duplicates(state, by_id=own_ids)
    if state.dropped and state.ranks.first:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in state.dropped.items())
        logger.info("`corpus`: of %s rows, these gave no document: %s", f"{state.rows:,}", reasons)
    # What would stop a later stage is found out before anything is paid for.
    paths = [shard.path(state.documents) for shard in state.shards]
    names = [mask_text(files[0].name) for files, piece in zip(pieces, given, strict=True) for _ in piece.shards]
    state.schema = state.ranks.once(lambda: common_schema(paths, names))
    if state.config.clusters != "auto":
        check_count(state.config.clusters, state.unique_documents())
    return {"files": len(files), "skipped_files": state.skipped, "documents_read": state.rows}


def _take_up(state: IndexState, files: Sequence[SourceFile], pieces: Sequence[ReadPiece]) -> None:
    """What was read goes into the state, and what became of rows, columns and files is told."""
    without: dict[str, list[str]] = {}
    parsers: dict[str, set[str]] = {}
    for piece in pieces:
        state.rows += piece.rows
        state.drop(piece.dropped)
        state.shards += piece.shards
        for name, columns in piece.columns.items():
            state.columns[name] = sorted({*state.columns.get(name, ()), *columns})
        for reason, names in piece.without.items():
            without.setdefault(reason, []).extend(names)
        for parser, version in piece.parsers.items():
            parsers.setdefault(parser, set()).add(version)
    contents = [content for piece in pieces for content in piece.contents]
    versions = {parser: ", ".join(sorted(found)) for parser, found in parsers.items()}
    state.made_from = made_from(state.config, files, contents, state.alignment, versions)
    # On the card, too: a file may be named by a signed address.
    problems = [
        {"file": mask_text(name), "problem": mask_text(problem)}
        for piece in pieces
        for name, problem in piece.problems
    ]
    state.skipped = sorted(problems, key=lambda skipped: skipped["file"])
    for skipped in state.skipped:
        logger.warning("Left out: %s", escape(skipped["problem"]))
    if not state.ranks.first:
        return
    if state.columns:
        changed = [f"{name}: {', '.join(columns)}" for name, columns in state.columns.items()]
        logger.warning("`metadata_columns`: %s", escape("; ".join(changed)))
    for reason, names in without.items():
        count = f"{len(names):,} file{' gives' if len(names) == 1 else 's give'} no document"
        logger.warning("`corpus`: %s: %s (%s)", count, reason, escape(some_names(names)))


def _check_metadata(pieces: Sequence[ReadPiece]) -> None:
    """A column of `metadata_columns` may be missing from some files, but not from all."""
    missing = [names for piece in pieces for names in piece.missing]
    if nowhere := set.intersection(*missing) if missing else set():
        raise CorpusError(
            f"No file of the corpus has a column {', '.join(map(repr, sorted(nowhere)))}. Correct `metadata_columns`."
        )


def _mark_duplicates(state: IndexState, *, by_id: bool) -> None:
    path = state.work.folder / _DUPLICATES

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
