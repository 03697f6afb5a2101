"""Open a dataset, or the corpus that settings name: its files, and the rows or documents of each."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.declared_files import open_declared
from equal_hf.corpus.file_rows import DatasetName, FileRows, SourceFile, UnreadableFile
from equal_hf.corpus.formats.parser_process import ParserLimits
from equal_hf.corpus.read_documents import FIRST_ROWS, ReadReport, columns_of, read_documents
from equal_hf.corpus.row_formats import DOCUMENTS
from equal_hf.corpus.source_files import find_files, unread_files
from equal_hf.errors import CorpusError
from equal_hf.types import Document
from equal_hf.utils.printable import escape

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig

logger = logging.getLogger(__name__)


def open_dataset(
    source: str,
    *,
    name: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    setting: str = "corpus",
) -> DatasetRows:
    """Open a dataset of documents, or of questions and answers.

    Args:
        source (`str`): A Hub dataset id; or a local file, folder or glob: text files (`.txt`, `.md`), web pages
            (`.html`) and PDF files, one row each, the pages of WARC and WET files, and the rows of Parquet, JSON, CSV
            and Arrow files, all of them also compressed.
        name (`str`, *optional*): Configuration of the dataset.
        split (`str`, *optional*): Split, or an expression such as `"train[:500]"`. Where left out, of a local folder
            all files, of a dataset on the Hub `"train"`.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.
        token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.
        setting (`str`, *optional*, defaults to `"corpus"`): The setting that error messages name.

    Returns:
        [`DatasetRows`]: Its rows, read as they are asked for.

    Raises:
        CorpusError: Nothing is there, it holds no data, it may not be read, or it lacks the configuration or split.
    """
    return DatasetRows(DatasetName(source, name, split, revision, token, setting))


class DatasetRows:
    """Rows of all files of a dataset, in their order; each iteration reads them again.

    Args:
        dataset ([`DatasetName`]): Which.

    Attributes:
        files (`list[SourceFile]`): The files, with those that are not read.
        column_names (`list[str]`): Columns of the first rows.
    """

    def __init__(self, dataset: DatasetName) -> None:
        self._dataset = dataset
        self.files = find_files(dataset)
        unread = [file for file in self.files if file.problem]
        if unread:
            logger.warning("`%s`: %s", dataset.setting, escape(unread_files(unread)))
        self._read = [file for file in self.files if not file.problem]

    @property
    def column_names(self) -> list[str]:
        return columns_of(itertools.islice(self, FIRST_ROWS))

    def of_file(self, file: SourceFile) -> FileRows:
        """The rows of one file."""
        return FileRows(file, open_rows=open_declared(self._dataset))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return itertools.chain.from_iterable(map(self.of_file, self._read))


def list_files(config: CorpusConfig) -> list[SourceFile]:
    """The files of a corpus in their order; those that are not read say why.

    Raises:
        CorpusError: As of [`open_dataset`].
    """
    return find_files(_corpus_name(config))


def read_file(file: SourceFile, config: CorpusConfig, report: ReadReport, processes: int = 1) -> Iterator[Document]:
    """The usable documents of one file of a corpus, with duplicates.

    Args:
        file ([`SourceFile`]): The file.
        config ([`CorpusConfig`]): The settings.
        report ([`ReadReport`]): Is filled.
        processes (`int`, *optional*, defaults to 1): That parse the pages of an archive.

    Raises:
        UnreadableFile: It is damaged.
        CorpusError: It lacks a column, or the Hub cannot be reached.
    """
    try:
        yield from _documents(file, config, report, processes)
    except UnreadableFile:
        raise
    except CorpusError as error:
        raise CorpusError(f"{file.name}: {error}") from error


def check_columns(files: Sequence[SourceFile], config: CorpusConfig) -> None:
    """Look for the columns that settings name in the first rows of the first file.

    Args:
        files (`Sequence[SourceFile]`): From [`list_files`].
        config ([`CorpusConfig`]): The settings.

    Raises:
        CorpusError: A column is missing, or holds no text.
    """
    file = next((file for file in files if not file.problem), None)
    if file is None or file.format in DOCUMENTS:  # whose columns are our own
        return
    try:
        _documents(file, config, ReadReport())
    except UnreadableFile:  # which `on_bad_file` decides about
        return
    except CorpusError as error:
        raise CorpusError(f"{file.name}: {error}") from error


def _documents(file: SourceFile, config: CorpusConfig, report: ReadReport, processes: int = 1) -> Iterator[Document]:
    """The documents of a file; its columns are looked at at once."""
    own = file.format in DOCUMENTS
    return read_documents(
        FileRows(
            file,
            open_rows=open_declared(_corpus_name(config)),
            limits=ParserLimits(config.parse_timeout_s, config.max_parse_bytes, processes),
        ),
        text_column="text" if own else config.text_column,
        id_column="id" if own else config.id_column,
        metadata_columns=config.metadata_columns,
        min_characters=config.min_characters,
        report=report,
        deduplicate=False,
        need_metadata=False,
    )


def read_corpus(config: CorpusConfig, report: ReadReport) -> Iterator[Document]:
    """The usable documents of a corpus, with duplicates. Of a damaged file that is left out those before the damage
    have been given.

    Raises:
        CorpusError: As of [`open_dataset`] and [`read_file`].
    """
    for file in list_files(config):
        try:
            if not file.problem:
                yield from read_file(file, config, report)
        except UnreadableFile as error:
            if config.on_bad_file == "stop":
                raise
            logger.warning("Left out: %s", escape(str(error)))


def _corpus_name(config: CorpusConfig) -> DatasetName:
    return DatasetName(config.corpus, config.corpus_config, config.corpus_split, config.corpus_revision)
