"""The road of an index: read → sample → extract → align → embed → cluster → assign → write → push.

```python
from equal_hf.corpus.indexing.pipeline import Index

Index(args, "runs/corpus", seed=42).run()
```
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from equal_hf.alignment import run as alignment
from equal_hf.alignment import sample as pairs
from equal_hf.corpus.dataset import list_files
from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.indexing import folder as corpus_folder
from equal_hf.corpus.indexing import read as reading
from equal_hf.corpus.indexing import write as publish
from equal_hf.corpus.indexing.config import STAGES, IndexArguments
from equal_hf.corpus.indexing.embed_assign import (
    assign_shard,
    embed_shard,
    nothing_usable,
    training_sample,
    warn_of_sampled,
)
from equal_hf.corpus.indexing.embedding_store import EmbeddingStore
from equal_hf.corpus.indexing.shards import Shard, common_schema
from equal_hf.corpus.indexing.workspace import Workspace, identity_of
from equal_hf.corpus.kmeans import (
    Centroids,
    auto_clusters,
    check_count,
    default_threads,
    prepare_clustering,
    train_centroids,
)
from equal_hf.corpus.profiles import principal_directions
from equal_hf.corpus.source_files import unread_files
from equal_hf.errors import ConfigError, CorpusError
from equal_hf.utils.distributed import Ranks
from equal_hf.utils.hashing import content_hash, fingerprint
from equal_hf.utils.printable import escape
from equal_hf.utils.threads import limited_threads

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Index:
    """An index in the making.

    Args:
        args ([`IndexArguments`]): The settings.
        output_dir (`str`): Run folder; the corpus goes to `corpus_dir`, or `corpus/` below it, where the loop looks.
        seed (`int`): Seeds every choice.
        stage (`str`, *optional*): The only stage to do.
        ranks ([`Ranks`], *optional*): The processes; found out where left out.
        show_progress (`bool`, *optional*, defaults to `True`): Show progress bars on a terminal.

    Raises:
        [`ConfigError`]: If a setting is out of its range.
        [`ResumeError`]: If the folder holds an index of something else.
        [`MissingDependencyError`]: If FAISS or what draws the map is not installed.
    """

    def __init__(
        self,
        args: IndexArguments,
        output_dir: str,
        seed: int,
        *,
        stage: str | None = None,
        ranks: Ranks | None = None,
        show_progress: bool = True,
    ) -> None:
        if stage is not None and stage not in STAGES:
            raise ConfigError(f"`--stage` is {stage!r}: choose from {', '.join(STAGES)}")
        clusters = 1 if args.clusters == "auto" else args.clusters
        prepare_clustering(clusters, seed=seed, iterations=args.kmeans_iterations, threads=args.threads, gpu="auto")
        if args.corpus_map:
            from equal_hf.report.corpus_map import check_installed

            check_installed()
        self.args, self.output_dir, self.seed = args, output_dir, seed
        self.ranks = ranks or Ranks()
        self.folder = Path(args.index_dir) if args.index_dir else Path(output_dir) / "index"
        self.corpus_dir = Path(args.corpus_dir) if args.corpus_dir else Path(output_dir) / "corpus"
        self.work = Workspace(self.folder, stage)
        self.show_progress = show_progress and self.ranks.first
        self.seconds: dict[str, float] = {}
        default = default_threads(self.ranks.local_size)
        self.threads = self.ranks.once(lambda: self.work.open(identity_of(args, seed), args.threads, default))

    def run(self) -> dict[str, Any]:
        """Do all stages, or the one asked for.

        Returns:
            `dict[str, Any]`: Seconds, and pieces found complete and made, by stage; what there is now.

        Raises:
            [`CorpusError`]: If the corpus cannot be read or a file is damaged, a disk is full, the corpus folder holds
                something else, …
            [`PublishError`]: If the corpus cannot be pushed, or its repository holds something else.
        """
        done: dict[str, Any] = {}
        self.ranks.once(lambda: corpus_folder.check_places(self))
        with limited_threads(self.threads):
            for stage in STAGES:
                began = time.perf_counter()
                told = getattr(self, stage)()
                self.seconds[stage] = round(time.perf_counter() - began, 3)
                if told:
                    done |= told
                if self.work.over(stage):
                    break
        counts = self.ranks.gather(self.work.counts)
        pieces = {
            stage: {
                "complete": sum(count.get(stage, [0, 0])[0] for count in counts),
                "made": sum(count.get(stage, [0, 0])[1] for count in counts),
            }
            for stage in self.seconds
        }
        return {"threads": self.threads, "ranks": self.ranks.size, "seconds": self.seconds, "pieces": pieces, **done}

    # -- read ------------------------------------------------------------------------------------------------------

    def read(self) -> dict[str, Any]:
        """Read the dataset's files into document shards, each rank its own, and find the duplicates among them."""
        listed = self.ranks.once(lambda: list_files(self.args))
        files = [file for file in listed if not file.problem]
        if len(files) < len(listed) and self.ranks.rank == 0:
            logger.warning("`corpus`: %s", escape(unread_files(listed)))
        found = self.ranks.together(
            lambda: {
                file.name: reading.read_source(self.work, file, self.args, self.documents)
                for file in self.mine(files, "read", "file")
            }
        )
        facts = {name: told for part in found for name, told in part.items()}
        self.rows = 0
        self.dropped: dict[str, int] = {}
        self.shards: list[Shard] = []
        self.skipped = [{"file": name, "problem": told["problem"]} for name, told in facts.items() if told["problem"]]
        self.skipped.sort(key=lambda skipped: str(skipped["file"]))
        for skipped in self.skipped:
            logger.warning("Left out: %s", escape(skipped["problem"]))
        for file in files:
            told = facts[file.name]
            self.rows += told["rows"]
            self._drop(told["dropped"])
            self.shards += [Shard(**shard) for shard in told["shards"]]
        if not self.shards:
            raise CorpusError(nothing_usable(self.rows, self.dropped, vars(self.args)))
        self._find_duplicates()
        # What would stop the index later is found out before anything is paid for.
        paths = [shard.path(self.documents) for shard in self.shards]
        self.schema = self.ranks.once(lambda: common_schema(paths))
        if self.args.clusters != "auto":
            check_count(self.args.clusters, int(sum(kept.sum() for kept in self.kept)))
        return {"files": len(files), "skipped_files": self.skipped, "documents_read": self.rows}

    def _find_duplicates(self) -> None:
        by_id = self.args.id_column is not None
        dropped = self.once(
            "duplicates", lambda: reading.find_duplicates(self.work, self.shards, self.documents, by_id=by_id)
        )
        self._drop(dropped)
        self.kept = reading.load_kept(self.work, self.shards)
        # Embeddings are of the documents that are kept, so they are known by both.
        self.keys = [
            fingerprint([shard.key, np.packbits(kept).tobytes().hex()])
            for shard, kept in zip(self.shards, self.kept, strict=True)
        ]

    @property
    def documents(self) -> Path:
        """Folder of document shards."""
        return self.folder / "documents"

    # -- sample, extract, align ------------------------------------------------------------------------------------

    def sample(self) -> None:
        """Draw the documents to align with. A later revision keeps the first one's, so the embedder stays the same."""
        if not self.args.align:
            return
        path = self.folder / "sample.parquet"
        total = int(sum(kept.sum() for kept in self.kept))
        wanted = max(1, round(self.args.sample_share * total))
        inputs = {"seed": self.seed, "share": self.args.sample_share}

        def make() -> tuple[list[Path], dict[str, Any]]:
            documents = pairs.draw_sample(self.shards, self.documents, self.kept, wanted, self.seed)
            pairs.save_sample(documents, path)
            return [path], {"documents": len(documents), "id": fingerprint([document.id for document in documents])}

        record = self.folder / "sample.json"
        self.sampled = self.once("sample", lambda: self.work.piece("sample", record, inputs, make))

    def extract(self) -> dict[str, Any]:
        """Extract the sample's pairs on rank 0."""
        if not self.args.align:
            return {}
        path = self.folder / "pairs.parquet"
        inputs = pairs.extraction_inputs(self.args, self.sampled["id"])

        def make() -> tuple[list[Path], dict[str, Any]]:
            from equal_hf.cli.factories import make_extractor

            targets = alignment.open_targets_if_named(self.args, self.seed)
            extractor = make_extractor(self.args, self.output_dir, targets, self.seed)
            run = f"index-{fingerprint(str(self.folder.absolute()))[:12]}"
            documents = pairs.load_sample(self.folder / "sample.parquet")
            found, facts = pairs.extract_sample(extractor, documents, self.args, run, self.show_progress)
            pairs.save_pairs(found, path)
            return [path], facts

        self.extracted = self.ranks.once(lambda: self.work.piece("extract", self.folder / "pairs.json", inputs, make))
        return {"extraction": self.extracted}

    def align(self) -> dict[str, Any]:
        """Align the embedder with the pairs, in a process of its own, and keep what is better."""
        self.alignment: dict[str, Any] | None = None
        if not self.args.align:
            return {}
        self.alignment = self.once(
            "align", lambda: alignment.align_piece(self.work, self.args, self.seed, self.threads, self.extracted)
        )
        return {"alignment": self.alignment}

    # -- embed, cluster, assign ------------------------------------------------------------------------------------

    def embed(self) -> dict[str, Any]:
        """Embed the documents, each rank its own shards."""
        args = self.args
        tuned = self.folder / alignment.FOLDER if self.alignment and self.alignment["kept"] else None
        self.embedder = Embedder(
            str(tuned or args.embedder),
            device=_device(),
            batch_size=args.embedder_batch_size,
            max_windows=args.embedder_max_windows,
            dtype=args.embedder_dtype,
        )
        prints = self.ranks.gather(self.embedder.fingerprint())
        if len(set(prints)) > 1:
            raise ConfigError("`embedder`: ranks loaded different models. Use the same devices and precision on all.")
        self.store = EmbeddingStore(self.folder / "embeddings", prints[0], self.embedder.dimension)

        def work() -> dict[int, dict[str, Any]]:
            self.store.remember(set(self.keys))
            return {place: self._embed(place) for place in self.mine(range(len(self.shards)), "embed", "shard")}

        began = time.perf_counter()
        found = {place: told for part in self.ranks.together(work) for place, told in part.items()}
        seconds = round(time.perf_counter() - began, 3)
        self.embedded = [found[place] for place in range(len(self.shards))]
        usable = sum(told["embedded"] for told in self.embedded)
        kept = int(sum(mask.sum() for mask in self.kept))
        self._drop({"no_embedding": kept - usable} if kept > usable else {})
        self.beyond = sum(told["sampled"] for told in self.embedded)
        if self.ranks.first:
            warn_of_sampled(self.beyond, self.embedder.max_windows)
        if not usable:
            raise CorpusError(nothing_usable(self.rows, self.dropped, vars(args)))
        self.usable = usable
        return {"embedding": {"documents": usable, "seconds": seconds}}

    def _embed(self, place: int) -> dict[str, Any]:
        shard, key = self.shards[place], self.keys[place]

        def make() -> tuple[list[Path], dict[str, Any]]:
            facts = embed_shard(shard, self.documents, self.kept[place], self.embedder, self.store, key)
            return [self.store.path(key)], facts

        inputs = {"key": key, "threads": self.threads}
        return self.work.piece("embed", self.store.folder / f"{key}.json", inputs, make)

    def cluster(self) -> dict[str, Any]:
        """Train centroids on rank 0 and give them to all. A later revision keeps them and their numbers: what lay with
        one stays there, though clusters are counted anew where one has lost its last document or got its first."""
        args, path = self.args, self.folder / "centroids.safetensors"
        inputs = {
            "embedder": self.embedder.fingerprint(),
            "n_clusters": args.clusters,
            "seed": self.seed,
            "iterations": args.kmeans_iterations,
            "threads": self.threads,
            "giant_factor": args.giant_factor,
        }

        def make() -> tuple[list[Path], dict[str, Any]]:
            wanted = auto_clusters(self.usable) if args.clusters == "auto" else args.clusters
            points = training_sample(self.store, self.keys, self.usable, wanted, self.seed)
            centroids = train_centroids(
                points,
                wanted,
                seed=self.seed,
                iterations=args.kmeans_iterations,
                threads=self.threads,
                giant_factor=args.giant_factor,
            )
            publish.save_centroids(centroids, principal_directions(points), path)
            settings = {name: getattr(centroids, name) for name in publish.CENTROID_FACTS}
            return [path], {"settings": settings, "trained_on": self.keys}

        def load() -> tuple[Centroids, np.ndarray, dict[str, Any]]:
            facts = self.work.piece(
                "cluster",
                self.folder / "centroids.json",
                inputs,
                make,
                stale=lambda facts: args.recluster and facts["trained_on"] != self.keys,
            )
            return (*publish.load_centroids(path, facts["settings"]), facts)

        self.centroids, self.components, self.trained = self.once("cluster", load)
        return {"n_clusters": len(self.centroids.vectors)}

    def assign(self) -> None:
        """Assign the documents to their nearest centroids, each rank its own shards, and write sorted runs."""
        centroids = [self.centroids.settings(), content_hash(self.centroids.vectors.tobytes(), 64)]
        self.runs = [
            self.folder / "runs" / fingerprint([shard.key, key, centroids, self.seed, self.threads])
            for shard, key in zip(self.shards, self.keys, strict=True)
        ]

        # A text of a shard that is new since the centroids were trained was known to them if one gone since had it.
        before = set(self.trained["trained_on"])
        known = functools.cache(lambda: self._digests(sorted(before - set(self.keys))))

        def assign(place: int) -> dict[str, Any]:
            run, shard, key = self.runs[place], self.shards[place], self.keys[place]
            return self.work.piece(
                "assign",
                run.with_suffix(".json"),
                {"run": run.name, "all_known": key in before},
                lambda: assign_shard(
                    shard,
                    self.documents,
                    self.store,
                    key,
                    self.centroids,
                    self.seed,
                    run,
                    gpu="auto",
                    kept=self.kept[place],
                    known=None if key in before else known(),
                ),
            )

        def work() -> dict[int, dict[str, Any]]:
            return {place: assign(place) for place in self.mine(range(len(self.shards)), "assign", "shard")}

        found = {place: told for part in self.ranks.together(work) for place, told in part.items()}
        self.assigned = [found[place] for place in range(len(self.shards))]

    def _digests(self, keys: Sequence[str]) -> np.ndarray:
        if gone := [key for key in keys if not self.store.path(key).is_file()]:
            raise CorpusError(
                f"{self.store.path(gone[0])} is gone, so it cannot be told which documents came since the clusters "
                "were trained. Put the embeddings of earlier revisions back, or set `recluster` to true."
            )
        return self.store.digests(keys)

    # -- write, push -----------------------------------------------------------------------------------------------

    def write(self) -> dict[str, Any]:
        """Merge the runs into the corpus folder, each rank its own files; it takes its place when it is whole."""
        return publish.write_corpus(self)

    def push(self) -> dict[str, Any]:
        """Push the corpus, and an aligned embedder, where `hub_corpus_id` and `hub_embedder_id` say."""
        return self.ranks.once(lambda: publish.push_corpus(self))

    # -- helpers ---------------------------------------------------------------------------------------------------

    def mine(self, items: Sequence[T], stage: str, unit: str) -> Iterator[T]:
        """This rank's share of some items, with a progress bar."""
        from tqdm.auto import tqdm

        mine = self.ranks.mine(items)
        return iter(tqdm(mine, desc=stage, unit=unit, disable=None if self.show_progress else True))

    def once(self, stage: str, work: Callable[[], T]) -> T:
        """What rank 0 does for all, with a progress bar of one step."""
        from tqdm.auto import tqdm

        with tqdm(total=1, desc=stage, unit="piece", disable=None if self.show_progress else True) as bar:
            done = self.ranks.once(work)
            bar.update()
        return done

    def _drop(self, counts: dict[str, int]) -> None:
        for reason, count in counts.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count


def _device() -> str | None:
    """This rank's GPU where there are some; sentence-transformers' choice otherwise."""
    import os

    import torch

    if torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    return None
