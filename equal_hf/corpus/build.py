"""Build a corpus folder, stage by stage: read → embed → cluster → sort and write → profiles → manifest."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from equal_hf.corpus.card import corpus_card
from equal_hf.corpus.cluster import spherical_kmeans
from equal_hf.corpus.embed import Embedder
from equal_hf.corpus.manifest import CARD_FILE, describe, write_manifest
from equal_hf.corpus.profiles import PROFILES_FILE, ClusterProfiles
from equal_hf.corpus.read import ReadReport
from equal_hf.corpus.spool import open_spool, write_spool
from equal_hf.corpus.writer import EMBEDDINGS_FILE, stored_order, write_documents, write_embeddings
from equal_hf.errors import CorpusError
from equal_hf.types import Document

logger = logging.getLogger(__name__)


def build_corpus(
    documents: Iterable[Document],
    folder: Path,
    *,
    embedder: Embedder,
    report: ReadReport,
    n_clusters: int,
    seed: int,
    iterations: int,
    threads: int | None,
    gpu: bool | Literal["auto"],
    max_shard_bytes: int,
    read_settings: dict[str, Any],
    total_rows: int | None,
    show_progress: bool,
) -> None:
    """Fill a folder with the files of a corpus; the arguments are those of `ClusteredCorpus.build`.

    Args:
        documents (`Iterable[Document]`): What `read_documents` yields.
        folder (`Path`): Existing, empty folder.
        report (`ReadReport`): The one that `read_documents` fills.
        read_settings (`dict[str, Any]`): How the documents were read, for the manifest.
        total_rows (`int`, *optional*): Rows there are, for the progress bar.
    """
    spool = folder / "spool"
    spool.mkdir()
    sampled_before = embedder.sampled_texts
    write_spool(documents, spool, embedder, report, total_rows=total_rows, show_progress=show_progress)
    sampled = embedder.sampled_texts - sampled_before
    table, embeddings = open_spool(spool)
    logger.info("Read %d rows, kept %d; dropped: %s", report.rows, report.documents, report.dropped or "none")
    if sampled:
        logger.warning(
            "%d documents are longer than %d windows of the embedder: windows spread evenly over them stand for them. "
            "`max_windows` of `Embedder` raises that.",
            sampled,
            embedder.max_windows,
        )
    if not table.num_rows:
        raise CorpusError(
            f"No document is usable: of {report.rows} rows, dropped were {report.dropped or 'none'}. Check `corpus`, "
            f"`text_column` ({read_settings['text_column']!r}) and `min_characters` "
            f"({read_settings['min_characters']})."
        )
    clustering = spherical_kmeans(embeddings, n_clusters, seed=seed, iterations=iterations, threads=threads, gpu=gpu)
    order = stored_order(table["id"], clustering.labels, seed)
    write_documents(table, clustering.labels, order, folder, max_shard_bytes=max_shard_bytes)
    write_embeddings(embeddings, order, folder / EMBEDDINGS_FILE)
    ClusterProfiles.compute(embeddings, order, np.bincount(clustering.labels)).save(folder / PROFILES_FILE)
    shutil.rmtree(spool)
    facts = {
        "documents": table.num_rows,
        "n_clusters": len(clustering.centroids),
        "dimension": embedder.dimension,
        "seed": seed,
        "read": {
            "rows": report.rows,
            "dropped": report.dropped,
            **read_settings,
            "metadata_columns": [name for name in table.column_names if name not in ("id", "text")],
        },
        "embedder": {
            "name": embedder.name,
            "fingerprint": embedder.fingerprint(),
            "max_windows": embedder.max_windows,
            "documents_beyond_max_windows": sampled,
        },
        "clustering": clustering.settings(),
    }
    manifest = describe(folder, facts)
    (folder / CARD_FILE).write_text(corpus_card(manifest), encoding="utf-8")
    write_manifest(folder, manifest)


def refuse_taken(path: Path) -> None:
    """Raise `CorpusError` where a new folder would overwrite something."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise CorpusError(
            f"`path`: {path} exists and is no empty folder. `ClusteredCorpus.load` it, remove it, or choose another."
        )


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place at `path` when the block ends well and vanishes when it does not."""
    target = path.absolute()
    # Beside the target, so that the rename stays on one file system. A leftover is of a process that was killed.
    work = target.parent / f".{target.name}.building"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
        os.replace(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
