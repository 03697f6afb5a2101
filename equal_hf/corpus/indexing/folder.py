"""The folder that an index leaves its corpus in: whose it is, whether it is whole, how a new one takes its place."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.hub import hub_errors
from equal_hf.corpus.hub_push import check_corpus_repository
from equal_hf.corpus.made_from import check_made_from
from equal_hf.corpus.manifest import CARD_FILE, MANIFEST_FILE, check_files, corpus_files, read_manifest, refuse_taken
from equal_hf.errors import CorpusError
from equal_hf.utils.files import describe_file, write_file
from equal_hf.utils.hashing import fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.state import IndexState
    from equal_hf.utils.distributed import Ranks

logger = logging.getLogger(__name__)

_MADE_FILE = "made.json"


def check_corpus_dir(state: IndexState) -> None:
    """Refuse before the long work a folder that the last stage would refuse to replace.

    Raises:
        CorpusError: It holds something else.
        ConfigError: It holds the corpus of another index, made from something else.
    """
    if not state.revisable:
        refuse_taken(state.corpus_dir)
        return
    manifest = _own_manifest(state.corpus_dir)
    if manifest is not None and manifest["index"] not in _made_here(state.work.folder):
        check_made_from(manifest, state.config, state.seed, state.alignment, state.corpus_dir)


@contextlib.contextmanager
def building_alone(corpus_dir: Path, ranks: Ranks) -> Iterator[None]:
    """Hold the lock of a corpus folder, beside it; where another start holds it, say so and wait.

    Raises:
        CorpusError: The lock cannot be written.
    """
    from filelock import FileLock, Timeout

    target = corpus_dir.absolute()
    lock = FileLock(target.parent / f".{target.name}.lock")

    def acquire() -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.warning("Another process is building the corpus in %s: waiting for it.", corpus_dir)
                lock.acquire()
        except OSError as error:
            raise CorpusError(f"`corpus_dir`: {lock.lock_file} cannot be written: {error}") from error

    ranks.once(acquire)
    try:
        yield
    finally:
        lock.release()


def note_made(index_dir: Path, inputs: str) -> None:
    """Record in an index's own folder that a corpus of these inputs is its own, to replace later."""
    made = sorted(_made_here(index_dir) | {inputs})
    write_file(index_dir / _MADE_FILE, json.dumps(made))


def _made_here(index_dir: Path) -> set[str]:
    """The inputs of corpora that this index has made; those of an earlier version are told by its written files."""
    made: set[str] = set()
    with contextlib.suppress(OSError, ValueError):
        made.update(json.loads((index_dir / _MADE_FILE).read_text(encoding="utf-8")))
    for record in (index_dir / "written").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            made.add(json.loads(record.read_text(encoding="utf-8"))["inputs"]["of"])
    return made


def check_hub_corpus(repo_id: str, private: bool) -> None:
    """Refuse before the long work a repository that a push would refuse to replace.

    Raises:
        PublishError: It holds something else.
    """
    if "/" not in repo_id:
        return
    try:
        check_corpus_repository(repo_id, private)
    except hub_errors() as error:
        logger.warning("`hub_corpus_id`: %s cannot be asked for yet (%s); the push will ask again.", repo_id, error)


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
        raise CorpusError(f"`corpus_dir`: what {folder} holds cannot be read. {error} {remedy}") from error
    if "index" not in manifest:
        raise CorpusError(
            f"`corpus_dir`: the corpus in {folder} was not made by `equal-hf index`, and what was recorded with it "
            f"could not go on without it. {remedy}"
        )
    return manifest


def is_written(state: IndexState, inputs: str) -> bool:
    """Whether the corpus folder is whole and made from these inputs, by the hash of every file; each rank reads its
    share."""
    folder = state.corpus_dir
    if not state.revisable:
        return False

    def read() -> dict[str, Any] | None:
        manifest = _own_manifest(folder)
        if manifest is None or manifest["index"] != inputs or not (folder / CARD_FILE).is_file():
            return None
        try:
            check_files(folder, manifest)
        except CorpusError:
            return None
        return manifest if manifest["fingerprint"] == fingerprint(manifest["files"]) else None

    manifest = state.ranks.once(read)
    if manifest is None:
        return False

    def whole() -> bool:
        try:
            return all(describe_file(folder / name) == manifest["files"][name] for name in state.ranks.mine(names))
        except OSError:
            return False

    names = sorted(manifest["files"])
    if all(state.ranks.together(whole)):
        return True
    if state.ranks.first:
        logger.warning("The corpus in %s is damaged: it is written again.", folder)
    return False


def clean(building: Path, expected: set[str]) -> None:
    """Remove what an earlier, different attempt left beside the files of this one."""
    for path in sorted(building.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(building).as_posix() not in expected:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def take_place(building: Path, target: Path) -> None:
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
