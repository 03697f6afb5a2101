"""The files of a run's dataset: written once, by nobody else, over no link."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.errors import PublishError
from equal_hf.publishing.previous_export import PreviousExport
from equal_hf.utils.dataset_info import DataFacts
from equal_hf.utils.files import write_file
from equal_hf.utils.hashing import content_hash
from equal_hf.utils.parquet import hub_writer, row_groups

if TYPE_CHECKING:
    import pyarrow as pa

EMPTY = "empty.parquet"
# What a run has written: all there is to go by in an export of an earlier version, whose manifest lists no files.
OURS = re.compile(r"data/(?:train|rejected|decisions)/(?:round-\d{5,}|empty)\.parquet")


class Shards:
    """Writes one file a round that has rows; where none has, an empty one that shows the columns."""

    def __init__(self, folder: Path, previous: PreviousExport) -> None:
        self.folder, self.previous = folder, previous
        self.files: dict[str, dict[str, bytes]] = {}
        self.empty: dict[str, pa.Table] = {}
        self.facts: dict[str, list[DataFacts]] = {}

    def add(self, kind: str, index: int, table: pa.Table) -> None:
        if table.num_rows:
            self._put(kind, f"round-{index:05d}.parquet", table)
        else:
            self.empty[kind] = table

    def finish(self) -> dict[str, str]:
        """Remove what earlier exports wrote and this one did not; a hash of the content, by kind."""
        for kind, table in self.empty.items():
            if kind not in self.files:
                self._put(kind, EMPTY, table)
        written, listed = set(self.names()), set((self.previous.manifest or {}).get("files", []))
        for path in (self.folder / "data").glob("*/*.parquet"):
            name = path.relative_to(self.folder).as_posix()
            # An export that was cut short is listed nowhere, but what it wrote has our names.
            if name not in written and (name in listed or OURS.fullmatch(name)) and not path.is_symlink():
                refuse_link(self.folder, path)
                path.unlink()
        return {kind: content_hash(b"".join(files.values())) for kind, files in self.files.items()}

    def joined(self, kind: str) -> DataFacts:
        """Columns, rows and sizes of all files of a kind."""
        return DataFacts.joined(self.facts[kind])

    def names(self) -> list[str]:
        """The files, by their names on the Hub."""
        return [f"data/{kind}/{name}" for kind, files in self.files.items() for name in files]

    def _put(self, kind: str, name: str, table: pa.Table) -> None:
        import pyarrow as pa

        buffer = io.BytesIO()
        with hub_writer(buffer, table.schema) as writer:
            for part in row_groups(table):
                writer.write_table(part)
        facts = DataFacts.of_file(pa.BufferReader(buffer.getvalue()), len(buffer.getvalue()))
        self.facts.setdefault(kind, []).append(facts)
        write_once(self.folder, f"data/{kind}/{name}", buffer.getvalue())
        self.files.setdefault(kind, {})[name] = hashlib.sha256(name.encode() + buffer.getvalue()).digest()


def write_once(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole or not at all, over no link; leave it alone if it holds that already."""
    path = folder / name
    refuse_link(folder, path)
    if not path.exists() or path.read_bytes() != content:
        write_file(path, content)


def refuse_link(folder: Path, path: Path) -> None:
    """Raise `PublishError` where a path, or a folder on the way to it, is a link out of the dataset's folder."""
    for part in (path, *path.parents):
        if part == folder:
            return
        if part.is_symlink():
            raise PublishError(f"{part} is a symbolic link, which is not followed: remove it, and export again")
