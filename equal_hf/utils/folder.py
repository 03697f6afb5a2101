"""A folder that appears when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from equal_hf.errors import CorpusError


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
