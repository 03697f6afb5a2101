"""A bounded folder of blocks fetched from far away: what was used least recently goes when room is needed."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from equal_hf.errors import DiskError
from equal_hf.utils.files import write_file
from equal_hf.utils.hashing import content_hash, digest


class BlockCache:
    """Keeps ranges of files on the local disk.

    Several processes may share a folder: a block appears whole or not at all, and one that another process has removed
    is fetched again. A block whose content does not fit its checksum counts as absent.

    Args:
        folder (`Path`): Where blocks are kept.
        max_bytes (`int`): Size it may reach; 0 keeps nothing.
        source (`str`, *optional*): What the files are of. Sources share the folder and its bound, so what is left of
            one that nobody reads any more makes room as well.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = BlockCache(Path(folder), max_bytes=100)
    ...     cache.put("file", 0, 3, b"abc")
    ...     cache.get("file", 0, 3), cache.get("file", 3, 3)
    (b'abc', None)
    """

    def __init__(self, folder: Path, max_bytes: int, source: str = "") -> None:
        self._folder, self._max_bytes, self._source = folder, max_bytes, source
        self._lock = threading.Lock()
        self._held: int | None = None

    def get(self, file: str, start: int, length: int) -> bytes | None:
        """A block, or `None` where it is not in the cache."""
        path = self._path(file, start, length)
        try:
            content = path.read_bytes()
            os.utime(path)  # used now
        except OSError:
            return None
        block = content[16:]
        return block if content[:16] == _checksum(block) else None

    def put(self, file: str, start: int, length: int, block: bytes) -> None:
        """Keep a block; a disk without room for it is no error, it will be fetched again."""
        if len(block) + 16 > self._max_bytes:
            return
        path = self._path(file, start, length)
        with contextlib.suppress(DiskError):
            write_file(path, _checksum(block) + block)
        with self._lock:
            if self._held is not None:
                self._held += len(block) + 16
            if self._held is None or self._held > self._max_bytes:
                self._held = self._make_room()

    def remove(self, file: str, start: int, length: int) -> None:
        """Forget a block."""
        with contextlib.suppress(OSError):
            self._path(file, start, length).unlink()

    def _make_room(self) -> int:
        """Remove what was used least recently until a tenth is free; the size that is left."""
        blocks = []
        for entry in os.scandir(self._folder) if self._folder.is_dir() else ():
            with contextlib.suppress(OSError):
                facts = entry.stat()
                blocks.append((facts.st_mtime_ns, facts.st_size, entry.path))
        held = sum(size for _, size, _ in blocks)
        if held <= self._max_bytes:
            return held
        for _, size, path in sorted(blocks):
            if held <= 0.9 * self._max_bytes:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            held -= size
        return held

    def _path(self, file: str, start: int, length: int) -> Path:
        block = f"{self._source}:{file}:{start}:{length}"
        return self._folder / content_hash(block, 40)


def _checksum(block: bytes) -> bytes:
    return digest(block)
