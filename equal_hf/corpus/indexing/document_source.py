"""Where the documents of an index come from: the files of a dataset, or rows that are at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.file_rows import SourceFile
from equal_hf.corpus.open_dataset import list_files, read_file
from equal_hf.corpus.read_documents import ReadReport, read_documents

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.read_documents import Rows


@dataclass(frozen=True, slots=True)
class Source:
    """Where documents come from.

    Args:
        files (`Callable`): Lists the files.
        documents (`Callable`): Yields the usable documents of a file and fills a [`ReadReport`]; is given how many
            processes may parse that file.
    """

    files: Callable[[], list[SourceFile]]
    documents: Callable[[SourceFile, ReadReport, int], Iterator[Any]]


def files_source(config: CorpusConfig) -> Source:
    """The files of the dataset that the settings name."""
    return Source(partial(list_files, config), lambda file, report, few: read_file(file, config, report, few))


def rows_source(rows: Rows, config: CorpusConfig) -> Source:
    """Rows that are at hand, as one file; they are read again where it cannot be told that they are the same."""

    def documents(file: SourceFile, report: ReadReport, processes: int) -> Iterator[Any]:
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
