"""The clustered corpus of a run: the one that its settings name, or one that is built for it."""

from __future__ import annotations

from pathlib import Path

from equal_hf.corpus.clustered_corpus import ClusteredCorpus, find_clustered
from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.indexing.aligned import find_aligned
from equal_hf.corpus.indexing.document_source import files_source
from equal_hf.corpus.indexing.folder import building_alone
from equal_hf.corpus.indexing.pipeline import build_corpus
from equal_hf.corpus.made_from import check_made_from
from equal_hf.corpus.manifest import MANIFEST_FILE
from equal_hf.errors import ConfigError
from equal_hf.utils.distributed import Ranks


def open_corpus(
    config: CorpusConfig, output_dir: str | Path, seed: int, *, build: bool = True, ranks: Ranks | None = None
) -> ClusteredCorpus:
    """The clustered corpus of a run: taken as it is where `corpus` names one, else built once and kept. A kept
    one is used only if it was made from the same documents and settings.

    Args:
        config ([`CorpusConfig`]): The settings.
        output_dir (`str` or `Path`): Run folder; the corpus is kept in `corpus/` below it where `corpus_dir` does not
            say, and what a stopped build goes on from in `index/`.
        seed (`int`): Seeds clustering and order.
        build (`bool`, *optional*, defaults to `True`): Build it where it is not there.
        ranks ([`Ranks`], *optional*): The processes, which build it together; this one alone where left out.

    Raises:
        [`CorpusError`]: If it cannot be read or built.
        [`ConfigError`]: If the kept corpus was made from something else, or it is not there and not to be built.
    """
    ranks = ranks or Ranks(alone=True)
    # One process decides: where ranks saw the Hub or the disk differently, they would wait for each other for ever.
    if ranks.once(lambda: find_clustered(config.corpus, config.corpus_revision) is not None):
        corpus = find_clustered(config.corpus, config.corpus_revision)
        if corpus is None:
            raise ConfigError(f"`corpus`: {config.corpus} is seen by rank 0, but not by rank {ranks.rank}")
        return corpus
    corpus_dir = Path(config.corpus_dir or Path(output_dir) / "corpus")
    kept = ranks.once((corpus_dir / MANIFEST_FILE).is_file)
    if not build:
        if not kept:
            raise ConfigError(f"no corpus in {corpus_dir}: every process must see the same `corpus_dir`")
        return ClusteredCorpus.load(corpus_dir)
    alignment = ranks.once(lambda: find_aligned(config, output_dir))
    if not kept:
        with building_alone(corpus_dir, ranks):
            kept = ranks.once((corpus_dir / MANIFEST_FILE).is_file)  # another start may have built it meanwhile
            if not kept:
                build_corpus(
                    config,
                    corpus_dir,
                    Path(config.index_dir or Path(output_dir) / "index"),
                    seed,
                    source=files_source(config),
                    ranks=ranks,
                    alignment=alignment,
                )
                return ClusteredCorpus.load(corpus_dir)
    corpus = ClusteredCorpus.load(corpus_dir)
    ranks.once(lambda: check_made_from(corpus.manifest, config, seed, alignment[1], corpus_dir))
    return corpus
