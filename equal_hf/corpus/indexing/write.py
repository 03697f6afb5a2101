"""The last stages: runs become the corpus folder, and the folder a repository on the Hub."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.alignment import run as alignment
from equal_hf.corpus import hub_push
from equal_hf.corpus.indexing import folder as corpus_folder
from equal_hf.corpus.indexing.embed_assign import opened, plan_corpus
from equal_hf.corpus.indexing.finish import corpus_facts, finish_corpus
from equal_hf.corpus.indexing.parquet_writer import FilePart, FilePlan, write_file
from equal_hf.corpus.indexing.shards import common_schema
from equal_hf.corpus.indexing.sorted_runs import Run
from equal_hf.corpus.keywords import ClusterWords
from equal_hf.corpus.kmeans import Centroids
from equal_hf.corpus.manifest import MANIFEST_FILE, read_manifest
from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.utils.files import replacing
from equal_hf.utils.hashing import fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.pipeline import Index

EMBEDDER_FOLDER = "embedder"
CENTROID_FACTS = "requested seed iterations threads device points giant_factor split similarity".split()


def save_centroids(centroids: Centroids, components: np.ndarray, path: Path) -> None:
    """Write centroids and principal directions."""
    from safetensors.numpy import save

    with replacing(path) as temporary:
        temporary.write_bytes(save({"centroids": centroids.vectors, "components": np.ascontiguousarray(components)}))


def load_centroids(path: Path, settings: dict[str, Any]) -> tuple[Centroids, np.ndarray]:
    """Read what `save_centroids` wrote."""
    from safetensors.numpy import load_file

    tensors = load_file(path)
    return Centroids(vectors=tensors["centroids"], **settings), tensors["components"]


def write_corpus(index: Index) -> dict[str, Any]:
    """Merge the runs into the corpus folder.

    Each rank writes its share of the files beside the corpus folder; rank 0 adds what is of the whole corpus, and the
    folder takes its place when it is complete.

    Raises:
        CorpusError: The folder is taken by something else, or the disk is full.
    """
    runs = [run for run, told in zip(index.runs, index.assigned, strict=True) if told["documents"]]
    shards = [s for s, told in zip(index.shards, index.assigned, strict=True) if told["documents"]]
    schema = index.ranks.once(lambda: common_schema([shard.path(index.documents) for shard in shards]))
    wanted = fingerprint(
        {
            "runs": [run.name for run in runs],
            "max_shard_bytes": index.args.max_shard_bytes,
            "schema": str(schema),
            "read": [index.rows, index.dropped, index.skipped],
            "alignment": index.alignment,
            "map": index.args.corpus_map,
        }
    )
    building = index.corpus_dir.absolute().parent / f".{index.corpus_dir.name}.building"
    if corpus_folder.is_written(index, wanted):
        index.work.counts.setdefault("write", [0, 0])[0] += int(index.ranks.first)
        return _told(index)
    index.work.must("write")
    dimension = index.embedder.dimension
    plans, samples = index.ranks.once(
        lambda: plan_corpus(runs, index.centroids, dimension, index.args.max_shard_bytes)
    )
    written = index.folder / "written"

    def write(plan: FilePlan) -> dict[str, Any]:
        profiles = written / f"{plan.number:05d}-profiles.safetensors"

        def make() -> tuple[list[Path], dict[str, Any]]:
            if not readers:  # opened once, and only where there is something to write
                readers.extend(stack.enter_context(opened(runs)))
            part = write_file(plan, readers, schema, index.components, samples, building)
            with replacing(profiles) as temporary:
                part.profiles.save(temporary)
            files = [building / plan.data, building / plan.embeddings, profiles]
            return files, {"index": part.index, "words": [asdict(words) for words in part.words]}

        inputs = {"of": wanted, "plan": [plan.number, plan.files, *plan.clusters]}
        return index.work.piece("write", written / f"{plan.number:05d}.json", inputs, make)

    readers: list[Run] = []
    with contextlib.ExitStack() as stack:
        done = index.ranks.together(lambda: {plan.number: write(plan) for plan in index.mine(plans, "write", "file")})
    facts = {number: told for part in done for number, told in part.items()}

    def finish() -> None:
        corpus_folder.clean(building, {name for plan in plans for name in (plan.data, plan.embeddings)})
        parts = [
            FilePart(
                plans[number].clusters,
                told["index"],
                ClusterProfiles.load(written / f"{number:05d}-profiles.safetensors"),
                [ClusterWords(**words) for words in told["words"]],
            )
            for number, told in sorted(facts.items())
        ]
        if index.alignment and index.alignment["kept"]:
            shutil.copytree(index.folder / alignment.FOLDER, building / EMBEDDER_FOLDER)
        finish_corpus(
            building,
            parts,
            index.centroids,
            index.embedder,
            _facts(index, wanted),
            _known(plans, written),
            draw=_map(index),
        )
        corpus_folder.take_place(building, index.corpus_dir.absolute())

    index.ranks.once(finish)
    return _told(index)


def push_corpus(index: Index) -> dict[str, Any]:
    """Push corpus and embedder where the settings say; once for each content."""
    told: dict[str, Any] = {}
    args, folder = index.args, index.corpus_dir
    if args.hub_corpus_id:
        manifest = read_manifest(folder / MANIFEST_FILE, str(folder))
        inputs = {"corpus": manifest["fingerprint"], "repo": args.hub_corpus_id}

        def push() -> tuple[list[Path], dict[str, Any]]:
            url = hub_push.push_corpus(folder, args.hub_corpus_id or "", private=args.hub_private, token=None)
            return [], {"commit": url}

        told["corpus_commit"] = index.work.piece("push", index.folder / "pushed.json", inputs, push)["commit"]
    if args.hub_embedder_id and index.alignment and index.alignment["kept"]:
        tuned = index.folder / alignment.FOLDER
        inputs = {"embedder": index.embedder.fingerprint(), "repo": args.hub_embedder_id}

        def push_embedder() -> tuple[list[Path], dict[str, Any]]:
            url = hub_push.push_embedder(tuned, args.hub_embedder_id or "", private=args.hub_private, token=None)
            return [], {"commit": url}

        record = index.folder / "pushed-embedder.json"
        told["embedder_commit"] = index.work.piece("push", record, inputs, push_embedder)["commit"]
    return told


def _told(index: Index) -> dict[str, Any]:
    manifest = read_manifest(index.corpus_dir / MANIFEST_FILE, str(index.corpus_dir))
    told = {name: manifest[name] for name in ("documents", "n_clusters", "fingerprint")}
    return {"corpus": str(index.corpus_dir), **told, "drift": manifest.get("drift")}


def _facts(index: Index, wanted: str) -> dict[str, Any]:
    args = index.args
    name = EMBEDDER_FOLDER if index.alignment and index.alignment["kept"] else ""
    facts = corpus_facts(
        embedder=index.embedder,
        centroids=index.centroids,
        seed=index.seed,
        read={
            "rows": index.rows,
            "dropped": index.dropped,
            "text_column": args.text_column,
            "id_column": args.id_column,
            "min_characters": args.min_characters,
            "metadata_columns": [name for name in index.schema.names if name not in ("id", "text")],
            "skipped": index.skipped,
        },
        sampled=index.beyond,
    )
    facts["embedder"] |= {"name": args.embedder, "folder": name}
    facts["index"] = wanted
    if index.alignment:
        facts["alignment"] = index.alignment
    if drift := _drift(index):
        facts["drift"] = drift
    return facts


def _drift(index: Index) -> dict[str, Any] | None:
    """How the documents that came after the centroids were trained lie to them, against those of then."""
    count = sum(told["new"] for told in index.assigned)
    if not count:
        return None
    return {
        "new_documents": int(count),
        "similarity": round(sum(told["new_similarity"] for told in index.assigned) / count, 6),
        "training_similarity": index.centroids.similarity,
    }


def _map(index: Index) -> Any:
    if not index.args.corpus_map:
        return None
    from equal_hf.report.corpus_map import draw_map

    return draw_map


def _known(plans: Sequence[FilePlan], written: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of the large files, from their records, so that they are not read once more."""
    import json

    known = {}
    for plan in plans:
        files = json.loads((written / f"{plan.number:05d}.json").read_text(encoding="utf-8"))["files"]
        for name in (plan.data, plan.embeddings):
            known[name] = next(facts for path, facts in files.items() if path.endswith(name))
    return known
