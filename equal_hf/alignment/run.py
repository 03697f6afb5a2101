"""The align stage: the trainer runs in a process of its own, outside the ranks' group, and leaves a verdict."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.errors import CorpusError
from equal_hf.target import Target
from equal_hf.utils.hashing import fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.config import IndexArguments
    from equal_hf.corpus.indexing.workspace import Workspace

FOLDER = "aligned"
_SETTINGS = "embedder align_holdout align_epochs align_learning_rate align_batch_size align_mini_batch_size".split()
# What tells a process that it is one of several: the trainer must not take itself for one of the ranks.
_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")


def open_targets_if_named(args: IndexArguments, seed: int) -> dict[str, Target] | None:
    """The target tasks, where `target` names some; an index can do without."""
    from equal_hf.target import load_targets

    return load_targets(args, seed) if args.target else None


def align_piece(
    work: Workspace, args: IndexArguments, seed: int, threads: int, extracted: dict[str, Any]
) -> dict[str, Any]:
    """Align the embedder with the sample's pairs; what was measured, and whether the result is kept.

    Raises:
        CorpusError: The trainer failed.
    """
    folder = work.folder
    tuned = folder / FOLDER
    inputs = {
        **{name: getattr(args, name) for name in [*_SETTINGS, "align_hard_negatives", "embedder_max_windows"]},
        "pairs": fingerprint(json.loads((folder / "pairs.json").read_text(encoding="utf-8"))["files"]),
        "model": _model_files(args.embedder),
        "target": args.target,
        "seed": seed,
        "threads": threads,
    }

    def make() -> tuple[list[Path], dict[str, Any]]:
        # Somewhere else first: what a killed attempt still writes must not land in the model of a later one.
        out = folder / f"{FOLDER}.{os.getpid()}"
        for left in (tuned, *folder.glob(f"{FOLDER}.*[0-9]")):
            shutil.rmtree(left, ignore_errors=True)
        job = {
            "embedder": args.embedder,
            "documents": str(folder / "sample.parquet"),
            "pairs": str(folder / "pairs.parquet"),
            "reference": _reference(args, seed),
            "out": str(out),
            "seed": seed,
            "max_windows": args.embedder_max_windows,
            "holdout": args.align_holdout,
            "epochs": args.align_epochs,
            "learning_rate": args.align_learning_rate,
            "batch_size": args.align_batch_size,
            "mini_batch_size": args.align_mini_batch_size,
            "hard_negatives": args.align_hard_negatives,
            "threads": threads,
        }
        facts = _train(job)
        if facts["kept"]:
            os.replace(out, tuned)
        return [path for path in sorted(tuned.rglob("*")) if path.is_file()] if facts["kept"] else [], facts

    return work.piece("align", folder / "aligned.json", inputs, make)


def _model_files(embedder: str) -> list[list[Any]] | None:
    """What tells that a model in a local folder has changed under its name."""
    files = sorted(path for path in Path(embedder).rglob("*") if path.is_file())
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files] or None


def _reference(args: IndexArguments, seed: int) -> list[str] | None:
    targets = open_targets_if_named(args, seed)
    return None if targets is None else [item.text() for target in targets.values() for item in target.reference]


def _train(job: dict[str, Any]) -> dict[str, Any]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _LAUNCHER and not name.startswith(("TORCHELASTIC_", "ACCELERATE_", "GROUP_", "ROLE_"))
    }
    if not sys.stderr.isatty():
        environment["TQDM_DISABLE"] = "1"  # one bar after another, each of a second
    environment["OMP_NUM_THREADS"] = str(job["threads"])
    environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    with subprocess.Popen(
        [sys.executable, "-m", "equal_hf.alignment.align_job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        # Standard input stays open: by its end the child knows that this process is gone, however that came.
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(job) + "\n")
            child.stdin.flush()
        said = child.stdout.read()
    if child.returncode:
        raise CorpusError(
            f"The alignment failed with exit code {child.returncode}; what it said is above. Lower `align_batch_size` "
            "or set `align_mini_batch_size` where memory ran out, or set `align` to false to embed with the model as "
            "it is."
        )
    return dict(json.loads(said.splitlines()[-1]))
