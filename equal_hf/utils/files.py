"""Proof on disk that a piece of work is complete: files appear whole, and a record written last says what they are.

A record names what the piece was made from (`inputs`) and the size and hash of every file it left. It counts only
while all of that still holds, so whatever a kill or a full disk leaves behind is made again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equal_hf.errors import CorpusError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `path` when the block ends well: flushed to disk, then renamed.

    Raises:
        CorpusError: The disk is full, or refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CorpusError(disk_problem(path, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def disk_problem(path: Path, error: OSError) -> str:
    """What to tell about a write that failed."""
    if error.errno in _FULL:
        return (
            f"No room to write {path}: {error.strerror}. Nothing half-written is kept: free space on that disk, or "
            "set `index_dir` and `corpus_dir` to a larger one, and start again; what is complete is kept."
        )
    return f"{path} cannot be written: {error}. Check the folder and its permissions, and start again."


def fingerprint(value: Any) -> str:
    """Hash of anything that JSON can hold.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def describe_file(path: Path) -> dict[str, Any]:
    """Size and hash of a file, as manifests list them."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def write_record(path: Path, inputs: Mapping[str, Any], files: Iterable[Path], facts: Mapping[str, Any]) -> dict:
    """Record that `files` are complete.

    Args:
        path (`Path`): The record.
        inputs (`Mapping[str, Any]`): What the work depends on; JSON-able.
        files (`Iterable[Path]`): Files left, below the record's folder.
        facts (`Mapping[str, Any]`): What else to keep; JSON-able.

    Returns:
        `dict`: The facts.
    """
    listed = {os.path.relpath(file, path.parent): describe_file(file) for file in files}
    content = {"inputs": inputs, "files": listed, "facts": facts}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return dict(json.loads(json.dumps(facts)))


def read_record(path: Path, inputs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The facts of a record if it is of these inputs (`None`: of any) and its files are what it says; else `None`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if inputs is not None and content["inputs"] != json.loads(json.dumps(inputs)):
            return None
        for name, facts in content["files"].items():
            file = path.parent / name
            # The size first: it is free, and what a cut-short file gives itself away by.
            if file.stat().st_size != facts["bytes"] or describe_file(file) != facts:
                return None
        return content["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
