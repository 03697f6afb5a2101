"""The last stages: runs become the corpus folder, and the folder a repository on the Hub."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.corpus import hub_push
from equal_hf.corpus.indexing import folder as corpus_folder
from equal_hf.corpus.indexing.aligned import EMBEDDER_FOLDER
from equal_hf.corpus.indexing.file_plan import FilePlan, cluster_totals, plan_files, share_out
from equal_hf.corpus.indexing.finish import Draw, corpus_facts, finish_corpus
from equal_hf.corpus.indexing.layout import Layout, lay_out
from equal_hf.corpus.indexing.parquet_writer import FilePart, write_files
from equal_hf.corpus.indexing.shards import common_schema
from equal_hf.corpus.indexing.sorted_runs import Run, opened
from equal_hf.corpus.keywords import ClusterWords
from equal_hf.corpus.manifest import MANIFEST_FILE, read_manifest
from equal_hf.corpus.profiles import ClusterProfiles, samples_per_cluster
from equal_hf.corpus.provenance import Provenance
from equal_hf.corpus.term_sketch import SKETCH_VERSION
from equal_hf.utils.files import replacing
from equal_hf.utils.hashing import fingerprint
from equal_hf.utils.progress import Progress

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.config import IndexConfig
    from equal_hf.corpus.indexing.state import IndexState
    from equal_hf.corpus.kmeans import Centroids

logger = logging.getLogger(__name__)

WRITER_VERSION = 2  # raised when other files are written from the same runs


def write(state: IndexState, aligned: Path | None, draw: Draw | None) -> dict[str, Any]:
    """Merge the runs into the corpus folder.

    Each rank writes its share of the files beside the corpus folder; rank 0 adds what is of the whole corpus, and the
    folder takes its place when it is complete.

    Args:
        state ([`IndexState`]): The index.
        aligned (`Path`, *optional*): Folder of the aligned embedder, which goes into the corpus.
        draw (`Callable`, *optional*): Draws the corpus map.

    Returns:
        `dict[str, Any]`: `corpus`, its folder, `documents`, `n_clusters`, `fingerprint` and `drift`.

    Raises:
        CorpusError: The folder is taken by something else.
        DiskError: The disk is full.
    """
    used = [number for number, facts in enumerate(state.assigned) if facts["documents"]]
    runs = [state.runs[number] for number in used]
    paths = [state.shards[number].path(state.documents) for number in used]
    state.schema = state.ranks.once(lambda: common_schema(paths))
    inputs = fingerprint(
        {
            "runs": [run.name for run in runs],
            "max_shard_bytes": state.config.max_shard_bytes,
            "schema": str(state.schema),
            "read": [state.rows, state.dropped, state.skipped],
            "alignment": state.alignment,
            "made_from": state.made_from,
            "map": draw is not None,
            "terms": SKETCH_VERSION,
        }
    )
    if corpus_folder.is_written(state, inputs):
        state.work.counts.setdefault("write", [0, 0])[0] += int(state.ranks.first)
        return _summary(state)
    state.work.require("write")
    rows, stored = state.ranks.once(lambda: cluster_totals(runs, len(state.centroids.vectors)))
    layout = lay_out(
        state, runs, inputs, lambda: share_out(rows, stored, max_shard_bytes=state.config.max_shard_bytes)
    )
    plans = plan_files(rows, layout.starts)
    samples = samples_per_cluster(int((rows > 0).sum()), state.embedder.dimension)
    if state.ranks.first:
        warn_of_sizes(rows, state.centroids)
    facts = _write_files(state, inputs, runs, plans, samples, layout)
    state.ranks.once(lambda: _finish(state, inputs, plans, facts, aligned, draw))
    return _summary(state)


def _finish(
    state: IndexState,
    inputs: str,
    plans: Sequence[FilePlan],
    facts: dict[int, dict[str, Any]],
    aligned: Path | None,
    draw: Draw | None,
) -> None:
    """Make a corpus of the data files, and put it in its place."""
    building, written = state.building, state.work.folder / "written"
    corpus_folder.clean(building, {name for of_file in facts.values() for name in of_file["names"]})
    parts = [
        FilePart(
            plans[number].clusters,
            of_file["index"],
            ClusterProfiles.load(written / f"{number:05d}-profiles.safetensors"),
            [ClusterWords(**words) for words in of_file["words"]],
            of_file["names"],
            of_file["arrow_bytes"],
            Provenance.of_json([of_file["provenance"]]),
        )
        for number, of_file in sorted(facts.items())
    ]
    if aligned is not None:
        shutil.copytree(aligned, building / EMBEDDER_FOLDER)
    about, files = _facts(state, inputs, aligned is not None), _hashes(facts, written)
    finish_corpus(building, parts, state.centroids, state.embedder, about, files, draw=draw)
    if state.revisable:
        corpus_folder.note_made(state.work.folder, inputs)
    corpus_folder.take_place(building, state.corpus_dir.absolute())


def _write_files(
    state: IndexState,
    inputs: str,
    runs: Sequence[Path],
    plans: Sequence[FilePlan],
    samples: int,
    layout: Layout,
) -> dict[int, dict[str, Any]]:
    """Write this rank's share of the data files; of each file its rows of the index and the words of its clusters."""
    building, written = state.building, state.work.folder / "written"
    readers: list[Run] = []

    def write_one(plan: FilePlan) -> dict[str, Any]:
        profiles = written / f"{plan.number:05d}-profiles.safetensors"

        def make() -> tuple[list[Path], dict[str, Any]]:
            if not readers:  # opened once, and only where there is something to write
                readers.extend(stack.enter_context(opened(runs)))
            part = write_files(plan, readers, state.schema, state.components, samples, building, layout)
            with replacing(profiles) as temporary:
                part.profiles.save(temporary)
            words = [asdict(words) for words in part.words]
            facts = {"index": part.index, "words": words, "names": part.names, "arrow_bytes": part.arrow_bytes}
            facts["provenance"] = part.provenance.to_json()
            return [building / name for name in part.names] + [profiles], facts

        record = written / f"{plan.number:05d}.json"
        made = {"of": inputs, "plan": [plan.number, plan.files, *plan.clusters], "writer": WRITER_VERSION}
        return state.work.piece("write", record, made, make)

    mine = state.ranks.mine(plans)
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress("writing", len(mine), "files", show=state.show_progress))

        def work() -> dict[int, dict[str, Any]]:
            facts = {}
            for plan in mine:
                facts[plan.number] = write_one(plan)
                progress.made(1)
            return facts

        parts = state.ranks.together(work)
    return {number: facts for part in parts for number, facts in part.items()}


def warn_of_sizes(rows: np.ndarray, centroids: Centroids) -> None:
    """Warn of clusters that stayed empty, which are left out, and of one that is far larger than the others."""
    if empty := int((rows == 0).sum()):
        logger.warning(
            "%d of %d clusters stayed empty and were left out; `n_clusters` may be too high for %d documents.",
            empty,
            len(rows),
            rows.sum(),
        )
    alive = rows[rows > 0]
    if int(alive.max()) > centroids.giant_factor * alive.mean():
        logger.warning(
            "The largest cluster has %d of %d documents, more than %g times the mean: its documents are too alike to "
            "be split. A larger `n_clusters` or another embedder may tell them apart.",
            alive.max(),
            alive.sum(),
            centroids.giant_factor,
        )


def push(state: IndexState, config: IndexConfig, aligned: Path | None) -> dict[str, Any]:
    """Push the corpus and an aligned embedder where `hub_corpus_id` and `hub_embedder_id` say; once for each content.

    Returns:
        `dict[str, Any]`: `corpus_commit` and `embedder_commit`, their addresses.

    Raises:
        PublishError: The Hub refuses, or the repository holds something else.
    """

    def piece(name: str, inputs: dict[str, Any], upload: Callable[[], str]) -> str:
        record = state.work.folder / f"{name}.json"
        return str(state.work.piece("push", record, inputs, lambda: ([], {"commit": upload()}))["commit"])

    commits = {}
    private = config.hub_private
    if repo := config.hub_corpus_id:
        manifest = read_manifest(state.corpus_dir / MANIFEST_FILE, str(state.corpus_dir))
        inputs = {"corpus": manifest["fingerprint"], "repo": repo}
        commits["corpus_commit"] = piece(
            "pushed", inputs, lambda: hub_push.push_corpus(state.corpus_dir, repo, private=private, token=None)
        )
    if (model := config.hub_embedder_id) and aligned is not None:
        inputs = {"embedder": state.embedder.fingerprint(), "repo": model}
        told = {"base": state.config.embedder, "corpus": state.config.corpus or None}
        told["verdict"] = (state.alignment or {}).get("verdict")
        commits["embedder_commit"] = piece(
            "pushed-embedder",
            inputs,
            lambda: hub_push.push_embedder(aligned, model, private=private, token=None, **told),
        )
    return commits


def _summary(state: IndexState) -> dict[str, Any]:
    manifest = read_manifest(state.corpus_dir / MANIFEST_FILE, str(state.corpus_dir))
    summary = {name: manifest[name] for name in ("documents", "n_clusters", "fingerprint")}
    return {"corpus": str(state.corpus_dir), **summary, "drift": manifest.get("drift")}


def _facts(state: IndexState, inputs: str, aligned: bool) -> dict[str, Any]:
    config = state.config
    facts = corpus_facts(
        embedder=state.embedder,
        centroids=state.centroids,
        seed=state.seed,
        read={
            "rows": state.rows,
            "dropped": state.dropped,
            "text_column": config.text_column,
            "id_column": config.id_column,
            "min_characters": config.min_characters,
            "metadata_columns": [name for name in state.schema.names if name not in ("id", "text")],
            "skipped": state.skipped,
            **({"not_read": state.not_read} if state.not_read else {}),
            **({"changed_columns": state.columns} if state.columns else {}),
        },
        beyond=state.beyond,
    )
    if aligned:
        facts["embedder"] |= {"name": config.embedder, "folder": EMBEDDER_FOLDER}
    if state.config.corpus:  # else rows that were at hand, which cannot be told again
        facts["made_from"] = state.made_from
    if state.revisable:
        facts["index"] = inputs
    if state.alignment:
        facts["alignment"] = state.alignment
    if drift := _drift(state):
        facts["drift"] = drift
    return facts


def _drift(state: IndexState) -> dict[str, Any] | None:
    """How near the documents that came after the centroids were trained lie to them, against those of then."""
    count = sum(facts["new"] for facts in state.assigned)
    if not count:
        return None
    return {
        "new_documents": int(count),
        "similarity": round(sum(facts["new_similarity"] for facts in state.assigned) / count, 6),
        "training_similarity": state.centroids.similarity,
    }


def _hashes(facts: dict[int, dict[str, Any]], written: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of the large files, from their records, so that they are not read once more."""
    hashes = {}
    for number, of_file in facts.items():
        files = json.loads((written / f"{number:05d}.json").read_text(encoding="utf-8"))["files"]
        for name in of_file["names"]:
            hashes[name] = next(facts for path, facts in files.items() if path.endswith(name))
    return hashes
