"""The pipeline that makes every clustered corpus: read → embed → cluster → assign → write → push.

`equal-hf index`, a run's own corpus and `ClusteredCorpus.build` are this pipeline, on one process or many. What is
done is on record, so whatever stops it, the next start goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from equal_hf.corpus.indexing import cluster_assign, folder
from equal_hf.corpus.indexing.aligned import find_aligned
from equal_hf.corpus.indexing.config import STAGES, IndexConfig
from equal_hf.corpus.indexing.document_source import Source, files_source
from equal_hf.corpus.indexing.embed import embed, load_embedder
from equal_hf.corpus.indexing.read import read
from equal_hf.corpus.indexing.state import IndexState
from equal_hf.corpus.indexing.workspace import Workspace, read_record
from equal_hf.corpus.indexing.write import push, write
from equal_hf.corpus.kmeans import default_threads, prepare_clustering
from equal_hf.errors import ConfigError, EqualError
from equal_hf.utils.distributed import Ranks
from equal_hf.utils.threads import limited_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.embedder import Embedder
    from equal_hf.corpus.indexing.finish import Draw

# What an index is of: another of these is another index, and wants another folder.
IDENTITY = ("corpus", "corpus_config", "corpus_split", "text_column", "id_column", "min_characters", "seed")


def run_index(
    config: IndexConfig,
    output_dir: str | Path,
    seed: int,
    *,
    stage: str | None = None,
    ranks: Ranks | None = None,
    draw: Draw | None = None,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Make a clustered corpus of a dataset, or bring it up to a later revision of that.

    Args:
        config ([`IndexConfig`]): The settings.
        output_dir (`str` or `Path`): Run folder; an aligned embedder in it is used. The corpus goes to `corpus_dir`,
            or `corpus/` below it, where a run looks.
        seed (`int`): Seeds every choice.
        stage (`str`, *optional*): The only stage to do.
        ranks ([`Ranks`], *optional*): The processes; found out where left out.
        draw (`Callable`, *optional*): Draws the map of the clusters.
        show_progress (`bool`, *optional*, defaults to `True`): Report progress: a bar on a terminal, else a line every
            half minute.

    Returns:
        `dict[str, Any]`: Seconds, and pieces found complete and made, by stage; what there is now.

    Raises:
        ConfigError: A setting is out of its range, or the embedder cannot be loaded.
        ResumeError: The folder holds an index of something else.
        CorpusError: The corpus cannot be read or a file is damaged, the corpus folder holds something else, …
        DiskError: The disk is full.
        PublishError: The corpus cannot be pushed, or its repository holds something else.
        MissingDependencyError: FAISS is not installed.
    """
    ranks = ranks or Ranks()
    aligned, alignment = ranks.once(lambda: find_aligned(config, output_dir))
    state = open_state(config, output_dir, seed, STAGES, stage=stage, ranks=ranks, show_progress=show_progress)
    state.alignment, state.recluster = alignment, config.recluster
    if config.hub_corpus_id and stage in (None, "push"):
        repo_id = config.hub_corpus_id
        ranks.once(lambda: folder.check_hub_corpus(repo_id, config.hub_private))
    source = files_source(config)
    with folder.building_alone(state.corpus_dir, ranks):
        ranks.once(lambda: folder.check_corpus_dir(state))
        return run_stages(
            state,
            {
                "read": lambda: read(state, source),
                **_stages_after_read(state, aligned, draw),
                "push": lambda: ranks.once(lambda: push(state, config, aligned)),
            },
        )


def build_corpus(
    config: CorpusConfig,
    corpus_dir: Path,
    index_dir: Path,
    seed: int,
    *,
    source: Source,
    ranks: Ranks,
    embedder: Embedder | None = None,
    alignment: tuple[Path | None, dict[str, Any] | None] = (None, None),
    gpu: bool | Literal["auto"] = "auto",
    show_progress: bool = True,
) -> None:
    """Make a clustered corpus once: what it took to make it is removed when it is complete.

    Args:
        config ([`CorpusConfig`]): The settings.
        corpus_dir (`Path`): Folder of the corpus; it must not exist or be empty.
        index_dir (`Path`): Folder of the work, which a start after a kill goes on from.
        seed (`int`): Seeds every choice.
        source ([`Source`]): Where the documents come from.
        ranks ([`Ranks`]): The processes.
        embedder ([`Embedder`], *optional*): The embedder; the one of the settings where left out.
        alignment (`tuple`, *optional*): What [`find_aligned`] found.
        gpu (`bool` or `"auto"`, *optional*, defaults to `"auto"`): Whether k-means runs on the GPU.
        show_progress (`bool`, *optional*, defaults to `True`): Report progress.

    Raises:
        As [`run_index`].
    """
    aligned, measured = alignment
    places = (index_dir, corpus_dir)
    state = open_state(config, "", seed, STAGES, ranks=ranks, show_progress=show_progress, places=places)
    state.revisable, state.recluster, state.gpu, state.alignment = False, True, gpu, measured
    ranks.once(lambda: folder.check_corpus_dir(state))
    stages = {"read": lambda: read(state, source), **_stages_after_read(state, aligned, None, embedder)}
    try:
        run_stages(state, stages)
    except EqualError:
        if ranks.first and not _has_embeddings(index_dir):
            state.work.remove()  # nothing in it took long
        raise
    if ranks.first:
        state.work.remove()


def _has_embeddings(index_dir: Path) -> bool:
    facts = (read_record(path, None) for path in (index_dir / "embeddings").rglob("*.json"))
    return any(of_shard["embedded"] for of_shard in facts if of_shard)


def open_state(
    config: CorpusConfig,
    output_dir: str | Path,
    seed: int,
    stages: Sequence[str],
    *,
    ranks: Ranks,
    stage: str | None = None,
    show_progress: bool = True,
    places: tuple[Path, Path] | None = None,
) -> IndexState:
    """Start or take up an index.

    Args:
        stages (`Sequence[str]`): All stages, in order.
        places (`tuple[Path, Path]`, *optional*): `index_dir` and `corpus_dir` of a corpus that is built once.

    Raises:
        As [`run_index`].
    """
    if stage is not None and stage not in stages:
        raise ConfigError(f"`--stage` is {stage!r}: choose from {', '.join(stages)}")
    clusters = 1 if config.clusters == "auto" else config.clusters
    prepare_clustering(clusters, seed=seed, iterations=config.kmeans_iterations, threads=config.threads, gpu="auto")
    index_dir, corpus_dir = places or (
        Path(config.index_dir or Path(output_dir) / "index"),
        Path(config.corpus_dir or Path(output_dir) / "corpus"),
    )
    work = Workspace(index_dir, stages, stage)
    identity = {name: seed if name == "seed" else getattr(config, name) for name in IDENTITY}
    default = default_threads(ranks.local_size)
    threads = ranks.once(lambda: work.open(identity, config.threads, default, revisable=places is None))
    return IndexState(config, seed, ranks, work, corpus_dir, threads, show_progress=show_progress and ranks.first)


def run_stages(state: IndexState, stages: dict[str, Callable[[], dict[str, Any] | None]]) -> dict[str, Any]:
    """Do stages in order, or up to the only one asked for.

    Returns:
        `dict[str, Any]`: `threads`, `ranks`, `seconds` and `pieces` by stage, and what the stages gave.
    """
    summary: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    with limited_threads(state.threads):
        for stage, do in stages.items():
            began = time.perf_counter()
            summary |= do() or {}
            seconds[stage] = round(time.perf_counter() - began, 3)
            if state.work.ends_after(stage):
                break
    counts = state.ranks.gather(state.work.counts)
    pieces = {
        stage: {
            kind: sum(count.get(stage, [0, 0])[position] for count in counts)
            for position, kind in enumerate(("complete", "made"))
        }
        for stage in seconds
    }
    return {"threads": state.threads, "ranks": state.ranks.size, "seconds": seconds, "pieces": pieces, **summary}


def _stages_after_read(
    state: IndexState, aligned: Path | None, draw: Draw | None, embedder: Embedder | None = None
) -> dict[str, Callable[[], dict[str, Any] | None]]:
    """Embed, cluster, assign and write."""

    def load_and_embed() -> dict[str, Any]:
        state.embedder = embedder or load_embedder(state.config, aligned)
        return embed(state)

    return {
        "embed": load_and_embed,
        "cluster": lambda: cluster_assign.cluster(state),
        "assign": lambda: cluster_assign.assign(state),
        "write": lambda: write(state, aligned, draw),
    }
