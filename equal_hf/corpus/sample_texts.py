"""Texts of some documents of a corpus that was not built yet, for an estimate."""

from __future__ import annotations

import itertools
import os
import random
from typing import TYPE_CHECKING

from equal_hf.corpus.clustered_corpus import find_clustered
from equal_hf.corpus.file_rows import SourceFile, UnreadableFile
from equal_hf.corpus.formats.parser_process import end_parsers, in_order
from equal_hf.corpus.open_dataset import list_files, read_corpus, read_file
from equal_hf.corpus.read_documents import ReadReport
from equal_hf.corpus.row_formats import ONE_DOCUMENT
from equal_hf.errors import CorpusError

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig


def sample_texts(config: CorpusConfig, count: int, seed: int) -> tuple[list[str], int | None]:
    """Texts of some documents of a corpus, and how many there are where that is known.

    Args:
        config ([`CorpusConfig`]): The corpus: clustered, or files as they are.
        count (`int`): Documents to take; fewer where the corpus has fewer.
        seed (`int`): Another seed, another sample.

    Raises:
        [`CorpusError`]: If it cannot be read, or no document of it can be used.
    """
    if (corpus := find_clustered(config.corpus, config.corpus_revision)) is not None:
        total, ends = int(corpus.sizes.sum()), corpus.sizes.cumsum()
        texts = []
        for index in sorted(random.Random(seed).sample(range(total), min(count, total))):
            cluster = int((ends <= index).sum())
            start = index - int(ends[cluster] - corpus.sizes[cluster])
            texts += [document.text for document in corpus.draw(cluster, 1, start)]
        return texts, total
    files = [file for file in list_files(config) if not file.problem]
    if all(file.format in ONE_DOCUMENT for file in files):
        return _of_files(config, files, count, seed), len(files)
    report, draws, texts = ReadReport(), random.Random(seed), []
    for number, document in enumerate(read_corpus(config, report)):
        # Of so many documents each is among the chosen with the same probability (reservoir sampling).
        place = number if number < count else draws.randrange(number + 1)
        if place < count:
            texts[place : place + 1] = [document.text]
    if not texts:
        raise _nothing_usable(config)
    return texts, report.rows


def _of_files(config: CorpusConfig, files: list[SourceFile], count: int, seed: int) -> list[str]:
    """Texts of some of the files, which are one document each: reading all of them may take hours."""

    def read(file: SourceFile) -> list[str]:
        try:
            return [document.text for document in read_file(file, config, ReadReport())]
        except UnreadableFile:
            if config.on_bad_file == "stop":
                raise
            return []

    mixed = random.Random(seed).sample(files, len(files))
    found = in_order(read, mixed, min(os.cpu_count() or 1, count))
    texts = list(itertools.islice(itertools.chain.from_iterable(found), count))
    found.close()
    end_parsers()
    if not texts:
        raise _nothing_usable(config)
    return texts


def _nothing_usable(config: CorpusConfig) -> CorpusError:
    return CorpusError(
        f"no document of `corpus` {config.corpus} can be used: check `text_column` and `min_characters`"
    )
