"""How long embedding a corpus will take, measured on a few of its documents before it is begun."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.corpus.clustered_corpus import find_clustered
from equal_hf.corpus.indexing.aligned import find_aligned
from equal_hf.corpus.indexing.embed import load_embedder
from equal_hf.corpus.indexing.workspace import read_record
from equal_hf.corpus.kmeans import default_threads
from equal_hf.corpus.manifest import MANIFEST_FILE
from equal_hf.utils.threads import limited_threads
from equal_hf.utils.waiting import duration

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.embedder import Embedder

TIMED_S = 5.0
TIMED_AT_ONCE = 8
LONG_S = 1800.0


def embedding_time(
    config: CorpusConfig, output_dir: str | Path, texts: Sequence[str], size: int | None
) -> tuple[float, str]:
    """How long embedding will take on one process of this machine.

    Args:
        config ([`CorpusConfig`]): The settings.
        output_dir (`str` or `Path`): Run folder.
        texts (`Sequence[str]`): Texts of a sample of the corpus, in random order; some of them are embedded.
        size (`int`, *optional*): Documents of the corpus, where that is known.

    Returns:
        `tuple[float, str]`: Seconds, 0 where the corpus is embedded already, and the same in words.

    Raises:
        ConfigError: The embedder cannot be loaded.
    """
    if find_clustered(config.corpus, config.corpus_revision) is not None:
        return 0.0, f"{config.corpus} is embedded and clustered already"
    corpus_dir = Path(config.corpus_dir or Path(output_dir) / "corpus")
    if (corpus_dir / MANIFEST_FILE).is_file():
        return 0.0, f"the corpus in {corpus_dir} is embedded and clustered already"
    embedder = load_embedder(config, find_aligned(config, output_dir)[0], wait=False)
    with limited_threads(config.threads or default_threads(1)):
        each = seconds_each(embedder, texts)
    records = Path(config.index_dir or Path(output_dir) / "index").glob("embeddings/*/*.json")
    done = sum(facts["embedded"] for path in records if (facts := read_record(path, None)) is not None)
    left = max((len(texts) if size is None else size) - done, 0)
    where = "this CPU" if embedder.model.device.type == "cpu" else f"this {embedder.model.device.type} device"
    told = f"embedding {left:,} documents: about {duration(left * each)} on {where}, in one process"
    if done:
        told += f"; {done:,} more are embedded already"
    if left * each >= LONG_S:
        told += (
            ". A part of the corpus is enough for a trial: `corpus_split: train[:300]`. What makes it faster: fewer "
            "windows of long documents (`embedder_max_windows`), and `embedder_dtype: bfloat16` on many processors"
        )
    return left * each, told


def seconds_each(embedder: Embedder, texts: Sequence[str]) -> float:
    """Mean seconds that embedding a document takes, by as many of the texts as a few seconds allow."""
    embedder.encode(texts[:1])  # the first call takes longer than the next
    began, done = time.perf_counter(), 0
    while done < len(texts) and (done == 0 or time.perf_counter() - began < TIMED_S):
        done += len(embedder.encode(texts[done : done + TIMED_AT_ONCE]))
    return (time.perf_counter() - began) / max(done, 1)
