"""A piece of reading: one file of rows, or some files that are one document each; it leaves document shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.file_rows import SourceFile, UnreadableFile
from equal_hf.corpus.formats.parser_process import in_order
from equal_hf.corpus.indexing.shards import Shard, write_shards
from equal_hf.corpus.made_from import file_content
from equal_hf.corpus.read_documents import ReadReport
from equal_hf.corpus.row_formats import ONE_DOCUMENT, PARSERS
from equal_hf.utils.hashing import fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.document_source import Source
    from equal_hf.corpus.indexing.state import IndexState
    from equal_hf.utils.progress import Progress

_SETTINGS = ("text_column", "id_column", "metadata_columns", "min_characters", "shard_documents")
_PARSER_SETTINGS = ("parse_timeout_s", "max_parse_bytes")
_FACTS = ("name", "relative", "identity", "format", "separator", "rows")
FILES = 32  # of one document each in a piece, about
_MOST_FILES = 4 * FILES


@dataclass
class ReadPiece:
    """What reading a piece gave.

    Args:
        rows (`int`): Rows read.
        dropped (`dict[str, int]`): Rows that gave no document, by reason.
        columns (`dict[str, list[str]]`): Columns that are not as they were, by what became of them.
        missing (`list[set[str]]`): For each file that could be read, columns of `metadata_columns` that it lacks.
        shards (`list[Shard]`): What was written.
        problems (`list[tuple[str, str]]`): Files that could not be read, and why.
        contents (`list[list[Any]]`): What the documents of each file depend on.
        without (`dict[str, list[str]]`): Files that are no document, by reason.
        parsers (`dict[str, str]`): Versions of what read them.
    """

    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    missing: list[set[str]] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    contents: list[list[Any]] = field(default_factory=list)
    without: dict[str, list[str]] = field(default_factory=dict)
    parsers: dict[str, str] = field(default_factory=dict)

    def add(self, file: SourceFile, report: ReadReport) -> None:
        """Take up what reading a file met."""
        self.rows += report.rows
        for reason, count in report.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
            if file.format in ONE_DOCUMENT:
                self.without.setdefault(reason, []).append(file.relative)
        for name, columns in report.changed_columns().items():
            self.columns[name] = sorted({*self.columns.get(name, ()), *columns})
        self.missing.append(report.missing)

    def as_facts(self) -> dict[str, Any]:
        """For a record."""
        shards = [{"key": s.key, "documents": s.documents, "text_bytes": s.text_bytes} for s in self.shards]
        return {**vars(self), "missing": [sorted(names) for names in self.missing], "shards": shards}

    @classmethod
    def of_facts(cls, facts: dict[str, Any], file: SourceFile) -> ReadPiece:
        """From a record; `file` is the only one in a record of earlier versions."""
        shards = [Shard(**shard) for shard in facts["shards"]]
        if "content" in facts:
            told = {name: facts[name] for name in ("rows", "dropped", "columns")}
            problems = [(file.name, facts["problem"])] if facts["problem"] else []
            missing = [] if problems else [set(facts["missing"])]
            return cls(**told, missing=missing, shards=shards, problems=problems, contents=[facts["content"]])
        problems = [(name, problem) for name, problem in facts["problems"]]
        return cls(**(facts | {"missing": list(map(set, facts["missing"])), "shards": shards, "problems": problems}))


def pieces_of(files: Sequence[SourceFile]) -> list[list[SourceFile]]:
    """Files by pieces, in their order. Names tell where a piece of several ends, so a new file changes one of them."""
    pieces: list[list[SourceFile]] = []
    ended = True
    for file in files:
        alone = file.format not in ONE_DOCUMENT or file.rows is not None
        if ended or alone:
            pieces.append([])
        pieces[-1].append(file)
        ended = alone or len(pieces[-1]) == _MOST_FILES or int(fingerprint(file.relative)[:8], 16) % FILES == 0
    return pieces


def read_piece(state: IndexState, source: Source, files: Sequence[SourceFile], progress: Progress) -> ReadPiece:
    """Turn the files of a piece into document shards, or find that done.

    Raises:
        CorpusError: A file cannot be read and `on_bad_file` is `"stop"`, or lacks a column.
    """
    first, parsers = files[0], parser_versions(files)
    known = [{name: getattr(file, name) for name in _FACTS} for file in files]
    settings = {name: getattr(state.config, name) for name in (*_SETTINGS, *(_PARSER_SETTINGS if parsers else ()))}
    several = first.format in ONE_DOCUMENT
    name = fingerprint([file.name for file in files] if several else first.name)
    inputs = {"files": known, **settings} if several else {**known[0], **settings}
    made = False

    def make() -> tuple[list[Path], dict[str, Any]]:
        nonlocal made
        made = True
        piece = ReadPiece(parsers=parsers)
        documents = _documents(state, source, files, piece, progress)
        most = state.config.shard_documents
        try:
            piece.shards = list(write_shards(documents, state.documents, max_documents=most))
        except UnreadableFile as error:
            if state.config.on_bad_file == "stop":
                raise
            piece = ReadPiece(problems=[(first.name, str(error))], parsers=parsers)
        piece.contents = [file_content(file) for file in files]
        return [shard.path(state.documents) for shard in piece.shards], piece.as_facts()

    def stale(facts: dict[str, Any]) -> bool:
        if not all(file.identity for file in files):
            return True
        # A file that could not be read may have been repaired, or the connection, or its parser is another.
        local = all("://" not in file.url for file in files)
        return bool(facts.get("problems") or facts.get("problem")) and not (local and facts.get("parsers") == parsers)

    record = state.work.folder / "read" / f"{name}.json"
    facts = state.work.piece("read", record, inputs, make, stale)
    if not made and progress.unit == "files":
        progress.found(len(files))
    return ReadPiece.of_facts(facts, first)


def parser_versions(files: Sequence[SourceFile]) -> dict[str, str]:
    """The parsers that files need, with their versions."""
    found = {}
    for name in sorted({name for file in files for name in PARSERS.get(file.format, ())}):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _documents(
    state: IndexState, source: Source, files: Sequence[SourceFile], piece: ReadPiece, progress: Progress
) -> Iterator[Any]:
    """The documents of all files; a file of several that cannot be read is told of in the piece."""
    if files[0].format not in ONE_DOCUMENT:
        report = ReadReport()
        yield from _counted(source.documents(files[0], report, state.threads), report, progress)
        piece.add(files[0], report)
        return

    def read(file: SourceFile) -> tuple[SourceFile, ReadReport, list[Any], str]:
        report = ReadReport()
        try:
            return file, report, list(source.documents(file, report, 1)), ""
        except UnreadableFile as error:
            if state.config.on_bad_file == "stop":
                raise
            return file, report, [], str(error)

    # Text files take no parser, and other threads of this process would not read them faster.
    processes = state.threads if parser_versions(files) else 1
    for file, report, documents, problem in in_order(read, files, processes):
        if problem:
            piece.problems.append((file.name, problem))
        else:
            piece.add(file, report)
        progress.made(1)
        yield from documents


def _counted(documents: Iterable[Any], report: ReadReport, progress: Progress) -> Iterator[Any]:
    rows = 0
    for document in documents:
        if progress.unit == "rows":
            progress.made(report.rows - rows)
        rows = report.rows
        yield document
    if progress.unit == "files":
        progress.made(1)
