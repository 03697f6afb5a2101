"""The last stages: runs become the corpus folder, and the folder a repository on the Hub."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.corpus import hub
from equal_hf.corpus.build import opened, plan_corpus
from equal_hf.corpus.cluster import Centroids
from equal_hf.corpus.finish import corpus_facts, finish_corpus
from equal_hf.corpus.manifest import CARD_FILE, MANIFEST_FILE, corpus_files, read_manifest
from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.corpus.records import describe_file, fingerprint, replacing
from equal_hf.corpus.runs import Run
from equal_hf.corpus.shards import common_schema
from equal_hf.corpus.store import ClusteredCorpus
from equal_hf.corpus.terms import ClusterWords
from equal_hf.corpus.writer import FilePart, FilePlan, write_file
from equal_hf.errors import CorpusError
from equal_hf.indexing import alignment

if TYPE_CHECKING:
    from equal_hf.indexing.run import Index

logger = logging.getLogger(__name__)

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


def check_places(index: Index) -> None:
    """Refuse before the long work what the last stages would refuse to replace.

    Raises:
        CorpusError: The corpus folder holds something else.
        PublishError: `hub_corpus_id` does.
    """
    _own_manifest(index.corpus_dir)
    repo = index.args.hub_corpus_id or ""
    if "/" in repo and index.work.stage in (None, "push"):
        try:
            hub.earlier_corpus(repo, None)
        except hub.hub_errors() as error:
            logger.warning("`hub_corpus_id`: %s cannot be asked for yet (%s); the push will ask again.", repo, error)


def write_corpus(index: Index) -> dict[str, Any]:
    """Merge the runs into the corpus folder.

    Each rank writes its share of the files beside the corpus folder; rank 0 adds what is of the whole corpus, and the
    folder takes its place when it is complete.

    Raises:
        CorpusError: The folder is taken by something else, or the disk is full.
    """
    runs = [run for run, told in zip(index.runs, index.assigned, strict=True) if told["documents"]]
    shards = [s for s, told in zip(index.shards, index.assigned, strict=True) if told["documents"]]
    schema = common_schema([shard.path(index.documents) for shard in shards])
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
    if _is_written(index, wanted):
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
        _clean(building, {name for plan in plans for name in (plan.data, plan.embeddings)})
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
        _take_place(building, index.corpus_dir.absolute())

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
            names = corpus_files(manifest)
            url = hub.push(folder, names, args.hub_corpus_id or "", private=args.hub_private, token=None)
            return [], {"commit": url}

        told["corpus_commit"] = index.work.piece("push", index.folder / "pushed.json", inputs, push)["commit"]
    if args.hub_embedder_id and index.alignment and index.alignment["kept"]:
        tuned = index.folder / alignment.FOLDER
        inputs = {"embedder": index.embedder.fingerprint(), "repo": args.hub_embedder_id}

        def push_embedder() -> tuple[list[Path], dict[str, Any]]:
            url = hub.push_embedder(tuned, args.hub_embedder_id or "", private=args.hub_private, token=None)
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
            "metadata_columns": [
                name
                for name in common_schema([shard.path(index.documents) for shard in index.shards]).names
                if name not in ("id", "text")
            ],
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
    from equal_hf.corpus.map import draw_map

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


def _own_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the corpus that an index left in a folder; `None` where there is nothing yet.

    Raises:
        CorpusError: Something else is there, which is not this index's to replace.
    """
    remedy = "Set `corpus_dir` or `output_dir` to another folder, or move what is there away."
    if not (folder / MANIFEST_FILE).is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CorpusError(f"`corpus_dir`: {folder} holds something that is no corpus. {remedy}")
        return None
    try:
        manifest = read_manifest(folder / MANIFEST_FILE, str(folder))
    except CorpusError as error:
        raise CorpusError(f"`corpus_dir`: what {folder} holds cannot be told. {error} {remedy}") from error
    if "index" not in manifest:
        raise CorpusError(
            f"`corpus_dir`: the corpus in {folder} was not made by `equal-hf index`, and what was recorded with it "
            f"could not go on without it. {remedy}"
        )
    return manifest


def _is_written(index: Index, wanted: str) -> bool:
    """Whether the corpus folder is whole and made from this, by the hash of every file; each rank reads its share."""
    folder = index.corpus_dir

    def look() -> dict[str, Any] | None:
        manifest = _own_manifest(folder)
        if manifest is None or manifest["index"] != wanted or not (folder / CARD_FILE).is_file():
            return None
        try:
            return ClusteredCorpus.load(folder).manifest
        except CorpusError:
            return None

    manifest = index.ranks.once(look)
    if manifest is None:
        return False

    def whole() -> bool:
        try:
            return all(describe_file(folder / name) == manifest["files"][name] for name in index.ranks.mine(names))
        except OSError:
            return False

    names = sorted(manifest["files"])
    if all(index.ranks.together(whole)):
        return True
    if index.ranks.first:
        logger.warning("The corpus in %s is damaged: it is written again.", folder)
    return False


def _clean(building: Path, expected: set[str]) -> None:
    """Remove what an earlier, different attempt left beside the files of this one."""
    for path in sorted(building.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(building).as_posix() not in expected:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _take_place(building: Path, target: Path) -> None:
    """Put the new folder where the old one is, with the files there that are none of a corpus: a user's own.

    Raises:
        CorpusError: The new corpus has a file of such a name.
    """
    old = target.parent / f".{target.name}.old"
    if old.exists() and not target.exists():
        os.replace(old, target)  # a process was killed in here
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        _keep_others(target, building)
        os.replace(target, old)
    os.replace(building, target)
    shutil.rmtree(old, ignore_errors=True)


def _keep_others(folder: Path, building: Path) -> None:
    manifest = _own_manifest(folder)
    listed = set(corpus_files(manifest)) if manifest else set()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in listed or (path.is_dir() and not path.is_symlink()):
            continue
        if os.path.lexists(building / name):
            raise CorpusError(
                f"`corpus_dir`: {path} is no file of the corpus there, but the new one has a file of that name. "
                "Move it away and start again."
            )
        (building / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, building / name, follow_symlinks=False)
