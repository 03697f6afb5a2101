"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equal_hf.errors import DiskError, EqualError
from equal_hf.utils.hashing import file_hash

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `path` when the block ends well: flushed to disk, then renamed.

    Raises:
        [`DiskError`]: The disk is full, or refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with _disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file as [`replacing`] does; text as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well and is removed when it does not.

    Raises:
        [`DiskError`]: The disk is full, or refuses.
    """
    target = path.absolute()
    # Beside the target, so that the rename stays on one file system. A leftover is of a process that was killed.
    work = target.parent / f".{target.name}.building"
    with _disk_errors(path):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            yield work
            for file in work.rglob("*"):
                _flush(file)
            os.replace(work, target)
            _flush(target.parent)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except EqualError:  # some are an OSError too
        raise
    except OSError as error:
        raise DiskError(disk_problem(path, error)) from error


def disk_problem(path: Path, error: OSError) -> str:
    """What to tell about a write that failed."""
    if error.errno in _FULL:
        return (
            f"No room to write {path}: {error.strerror}. Nothing half-written is kept: free space on that disk, or "
            "set `output_dir` (of an index also `index_dir` and `corpus_dir`) to a folder on a larger one, and start "
            "again; what is complete is kept."
        )
    return f"{path} cannot be written: {error}. Check the folder and its permissions, and start again."


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_file(path: Path) -> dict[str, Any]:
    """Size and hash of a file, as manifests list them."""
    return {"bytes": path.stat().st_size, "sha256": file_hash(path)}
