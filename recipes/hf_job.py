# /// script
# requires-python = ">=3.11"
# dependencies = ["equal-hf[gpu,report]>=0.2"]
#
# [tool.hf-jobs]
# flavor = "a10g-large"
# timeout = "6h"
# secrets = ["HF_TOKEN"]
# ///
"""A run in a machine that ends, such as a Hugging Face Job: kept in a folder that outlives it, and taken up again.

    hf jobs uv run -v hf://buckets/you/equal:/keep -v ./my_run:/config recipes/hf_job.py \\
        --keep /keep/mine --stop_after 5.5 train /config/my.yaml

What stands behind its own flags is a command of `equal-hf`. The run works on the machine's disk, since SQLite, locks
and renames need one; `--keep`, usually a mounted bucket, is only given whole new files, written from front to end:

    <entry>-<hash>.tar      an entry of the run folder: its rounds, a checkpoint, its replies as SQLite's own backup
    state-000012.json       written last: the parts of one moment, with their sizes; the newest that is whole counts

Every `--save_every_s` seconds, when the run ends and before the machine does, what changed is saved. Started again on
an empty disk, the newest state is laid out first, and the run goes on from it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

NOT_FINISHED = 75  # EX_TEMPFAIL: start it again
UNFINISHED_FILES = (".tmp", ".building", "-wal", "-shm", "-journal")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run equal-hf where the machine ends before the run does.")
    parser.add_argument("--keep", type=Path, required=True, help="folder that outlives the machine: a mounted bucket")
    parser.add_argument("--run", type=Path, default=Path("run"), help="run folder, on the machine's own disk")
    parser.add_argument("--save_every_s", type=float, default=300.0, help="seconds between savings (default: 300)")
    parser.add_argument(
        "--stop_after", type=float, help="hours until the run is stopped, some minutes below the job's"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a command of equal-hf: train CONFIG …")
    args = parser.parse_args(argv)
    if not args.command:
        parser.error("say what to run: train CONFIG, or collect CONFIG")
    if restore(args.keep, args.run):
        print(f"{args.run} is as it was kept in {args.keep}", flush=True)
    here = ["--output_dir", str(args.run), "--response_store", str(args.run / "responses.sqlite")]
    command = [sys.executable, "-m", "equal_hf", *args.command, *here]
    run = subprocess.Popen(command)
    stopped = [False]

    def stop(number: int, frame: FrameType | None) -> None:
        stopped[0] = True
        run.terminate()  # it waits for requests in flight, which are paid for

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    began = time.monotonic()
    ends = began + args.stop_after * 3600 if args.stop_after else float("inf")
    while run.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=max(0.0, min(args.save_every_s, ends - time.monotonic())))
        if run.poll() is None and time.monotonic() >= ends:
            stop(signal.SIGTERM, None)
            run.wait()
        try:
            save(args.run, args.keep)
        except OSError as error:
            print(f"{args.keep} did not take what changed ({error}): tried again later", file=sys.stderr, flush=True)
            if run.poll() is not None:
                return NOT_FINISHED
    if run.returncode and stopped[0]:
        print("stopped in time, and kept: the same command goes on", flush=True)
        return NOT_FINISHED
    return int(run.returncode)


def save(run: Path, keep: Path) -> None:
    """Keep what changed in a run folder.

    Checkpoints are looked at before rounds, and rounds before replies: what is looked at later may know more, and a
    run goes on from that as after a kill.
    """
    if not run.is_dir():
        return
    keep.mkdir(parents=True, exist_ok=True)
    entries = sorted(run.iterdir(), key=lambda path: (path.suffix == ".sqlite", path.name == "rounds", path.name))
    files = {entry.name: list(_files(entry)) for entry in entries if not entry.name.endswith(UNFINISHED_FILES)}
    parts = {}
    with tempfile.TemporaryDirectory(dir=run.parent) as scratch:
        for name, listed in files.items():
            if name.endswith(".sqlite"):
                listed = [_backup(run / name, Path(scratch) / name)]
            parts[name] = _keep_part(name, listed, Path(scratch) if name.endswith(".sqlite") else run, keep)
    number = max(_states(keep), default=-1) + 1
    (keep / f"state-{number:06d}.json").write_text(json.dumps(parts, indent=2))
    _forget(keep)


def restore(keep: Path, run: Path) -> bool:
    """Lay out the newest state that is whole in a run folder that is not there yet; whether there was one."""
    if run.exists() or not keep.is_dir():
        return False
    for number in sorted(_states(keep), reverse=True):
        parts = _read(keep, number)
        if parts is None:
            continue
        shutil.rmtree(building := run.with_name(f".{run.name}.restoring"), ignore_errors=True)
        building.mkdir(parents=True)
        for file, _ in parts.values():
            with tarfile.open(keep / file) as archive:
                archive.extractall(building, filter="data")
        building.rename(run)
        return True
    return False


def _files(entry: Path) -> Iterator[Path]:
    paths = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
    return (path for path in paths if path.is_file() and not path.name.endswith(UNFINISHED_FILES))


def _backup(database: Path, copy: Path) -> Path:
    """A copy of one moment, also while others write."""
    with (
        contextlib.closing(sqlite3.connect(database, timeout=60)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


def _keep_part(name: str, files: list[Path], root: Path, keep: Path) -> tuple[str, int]:
    """The archive of some files and its size; written unless there is one of the same files."""
    told = hashlib.sha256()
    stats = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # an old checkpoint goes at any time
            stat = path.stat()
            stats.append(path)
            content = path.read_bytes() if path.suffix == ".sqlite" else f"{stat.st_size} {stat.st_mtime_ns}".encode()
            told.update(f"{path.relative_to(root)}\0".encode() + content)
    part = keep / f"{name}-{told.hexdigest()[:16]}.tar"
    if not part.exists() or part.name not in {file for known in _known(keep) for file, _ in known.values()}:
        with part.open("wb") as out, tarfile.open(fileobj=out, mode="w|") as archive:  # from front to end
            for path in stats:
                with contextlib.suppress(FileNotFoundError):
                    archive.add(path, path.relative_to(root).as_posix(), recursive=False)
    return part.name, part.stat().st_size


def _states(keep: Path) -> list[int]:
    return [int(path.stem.removeprefix("state-")) for path in keep.glob("state-*.json")]


def _read(keep: Path, number: int) -> dict[str, tuple[str, int]] | None:
    """The parts of a state by entry, or `None` if it or one of them is not whole."""
    try:
        parts = json.loads((keep / f"state-{number:06d}.json").read_text())
        whole = all((keep / file).stat().st_size == size for file, size in parts.values())
    except (OSError, ValueError):
        return None
    return parts if whole else None


def _known(keep: Path) -> list[dict[str, tuple[str, int]]]:
    return [parts for number in sorted(_states(keep))[-2:] if (parts := _read(keep, number)) is not None]


def _forget(keep: Path) -> None:
    """Remove all but the two newest states, and parts that neither names."""
    named = {file for parts in _known(keep) for file, _ in parts.values()}
    for number in sorted(_states(keep))[:-2]:
        (keep / f"state-{number:06d}.json").unlink(missing_ok=True)
    for part in keep.glob("*.tar"):
        if part.name not in named:
            part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
