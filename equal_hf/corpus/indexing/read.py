"""The first stage: the dataset's files become document shards, and duplicates over all of them are found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.corpus.dataset import ReadReport, read_file
from equal_hf.corpus.file_rows import SourceFile, UnreadableFile
from equal_hf.corpus.indexing import deduplicate as duplicates
from equal_hf.corpus.indexing.shards import Shard, read_identities, write_shards
from equal_hf.utils.files import replacing
from equal_hf.utils.hashing import fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.indexing.config import IndexArguments
    from equal_hf.corpus.indexing.workspace import Workspace

_SETTINGS = ("text_column", "id_column", "metadata_columns", "min_characters", "shard_documents")
_KEPT = "duplicates.npy"


def read_source(work: Workspace, file: SourceFile, args: IndexArguments, documents: Path) -> dict[str, Any]:
    """Turn one file of the dataset into document shards.

    Args:
        work ([`Workspace`]): Where the record of it is.
        file ([`SourceFile`]): The file.
        args ([`IndexArguments`]): Columns, and what a file that cannot be read does.
        documents (`Path`): Folder of document shards.

    Returns:
        `dict[str, Any]`: `rows` read, `dropped` by reason, `shards`, and the `problem` of a file that is left out.

    Raises:
        CorpusError: It cannot be read, and `on_bad_file` is `"stop"`; a column is missing; the disk is full.
    """
    inputs = {"file": file.name, "identity": file.identity, **{name: getattr(args, name) for name in _SETTINGS}}
    record = work.folder / "read" / f"{fingerprint(file.name)}.json"

    def make() -> tuple[list[Path], dict[str, Any]]:
        report = ReadReport()
        try:
            shards = list(write_shards(read_file(file, args, report), documents, max_documents=args.shard_documents))
        except UnreadableFile as error:
            if args.on_bad_file == "stop":
                raise
            return [], {"rows": 0, "dropped": {}, "shards": [], "problem": str(error)}
        facts = {
            "rows": report.rows,
            "dropped": report.dropped,
            "shards": [{"key": s.key, "documents": s.documents, "text_bytes": s.text_bytes} for s in shards],
            "problem": "",
        }
        return [shard.path(documents) for shard in shards], facts

    # A file that could not be read may have been repaired, or the connection.
    return work.piece("read", record, inputs, make, stale=lambda facts: bool(facts["problem"]))


def find_duplicates(work: Workspace, shards: Sequence[Shard], documents: Path, *, by_id: bool) -> dict[str, int]:
    """Find duplicates over all shards, for `load_kept`; how many documents are dropped, by reason.

    Args:
        work ([`Workspace`]): Where the record of it is.
        shards (`Sequence[Shard]`): All of them, in order.
        documents (`Path`): Folder of document shards.
        by_id (`bool`): Whether a second document of the same id is one too.
    """

    def make() -> tuple[list[Path], dict[str, Any]]:
        paths = [shard.path(documents) for shard in shards]
        sizes = [shard.documents for shard in shards]
        kept, dropped = duplicates.find_duplicates(lambda shard: read_identities(paths[shard]), sizes, by_id=by_id)
        with replacing(work.folder / _KEPT) as temporary, open(temporary, "wb") as file:
            np.save(file, np.concatenate(kept), allow_pickle=False)
        return [work.folder / _KEPT], {"dropped": dropped}

    inputs = {"shards": fingerprint([shard.key for shard in shards]), "by_id": by_id}
    return dict(work.piece("read", work.folder / "duplicates.json", inputs, make)["dropped"])


def load_kept(work: Workspace, shards: Sequence[Shard]) -> list[np.ndarray]:
    """For each shard, which documents are no duplicates: shape `(documents,)`, bool."""
    kept = np.load(work.folder / _KEPT, allow_pickle=False)
    return list(np.split(kept, np.cumsum([shard.documents for shard in shards])[:-1]))
