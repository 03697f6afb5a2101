"""What the stages of an index share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.embedder import Embedder
    from equal_hf.corpus.indexing.embedding_store import EmbeddingStore
    from equal_hf.corpus.indexing.shards import Shard
    from equal_hf.corpus.indexing.workspace import Workspace
    from equal_hf.corpus.kmeans import Centroids
    from equal_hf.utils.distributed import Ranks


@dataclass
class IndexState:
    """An index in the making: what it is made with, and what its stages have left so far.

    Args:
        config ([`CorpusConfig`]): The settings.
        seed (`int`): Seeds every choice.
        ranks ([`Ranks`]): The processes.
        work ([`Workspace`]): Records of what is done.
        corpus_dir (`Path`): Folder of the finished corpus.
        threads (`int`): Threads of each process.
        gpu (`bool` or `"auto"`, *optional*, defaults to `"auto"`): Whether k-means runs on the GPU.
        revisable (`bool`, *optional*, defaults to `True`): Whether a later revision of the dataset replaces the corpus
            and keeps its centroids; `False` for a corpus that is built once.
        recluster (`bool`, *optional*, defaults to `False`): Train centroids anew where the documents have changed.
        alignment (`dict[str, Any]`, *optional*): What `equal-hf align` measured.
        show_progress (`bool`, *optional*, defaults to `True`): Report progress.

    Attributes:
        rows (`int`): Rows read.
        dropped (`dict[str, int]`): Rows that gave no document, by reason.
        skipped (`list[dict[str, str]]`): Files left out: `file` and `problem`.
        not_read (`str`): Names and counts the files of other kinds.
        columns (`dict[str, list[str]]`): Columns that are not carried as they were, by what became of them.
        shards (`list[Shard]`): Document shards, in the order of the dataset.
        unique (`list[np.ndarray]`): For each shard, which documents are no duplicates.
        keys (`list[str]`): For each shard, the name of its embeddings.
        made_from (`dict[str, Any]`): What the documents are, for the manifest.
        schema (`pa.Schema`): Columns of all documents.
        embedder ([`Embedder`]): Embeds the documents.
        store ([`EmbeddingStore`]): Embeddings on disk.
        usable (`int`): Documents that have an embedding.
        beyond (`int`): Documents longer than all windows of the embedder.
        centroids ([`Centroids`]): What documents are assigned to.
        components (`np.ndarray` of shape `(d, p)`): Principal directions of the embeddings.
        trained_on (`list[str]`): `keys` that the centroids were trained on.
        runs (`list[Path]`): For each shard, its sorted run.
        assigned (`list[dict[str, Any]]`): For each run: `documents`, `new` to the centroids, and their similarity.
    """

    config: CorpusConfig
    seed: int
    ranks: Ranks
    work: Workspace
    corpus_dir: Path
    threads: int
    gpu: bool | Literal["auto"] = "auto"
    revisable: bool = True
    recluster: bool = False
    alignment: dict[str, Any] | None = None
    show_progress: bool = True

    rows: int = field(default=0, init=False)
    dropped: dict[str, int] = field(default_factory=dict, init=False)
    skipped: list[dict[str, str]] = field(default_factory=list, init=False)
    not_read: str = field(default="", init=False)
    columns: dict[str, list[str]] = field(default_factory=dict, init=False)
    shards: list[Shard] = field(default_factory=list, init=False)
    unique: list[np.ndarray] = field(default_factory=list, init=False)
    keys: list[str] = field(default_factory=list, init=False)
    made_from: dict[str, Any] = field(default_factory=dict, init=False)
    schema: pa.Schema = field(default=None, init=False)
    embedder: Embedder = field(init=False)
    store: EmbeddingStore = field(init=False)
    usable: int = field(default=0, init=False)
    beyond: int = field(default=0, init=False)
    centroids: Centroids = field(init=False)
    components: np.ndarray = field(init=False)
    trained_on: list[str] = field(default_factory=list, init=False)
    runs: list[Path] = field(default_factory=list, init=False)
    assigned: list[dict[str, Any]] = field(default_factory=list, init=False)

    @property
    def documents(self) -> Path:
        """Folder of document shards."""
        return self.work.folder / "documents"

    @property
    def building(self) -> Path:
        """Folder in which the corpus is written before it takes its place."""
        target = self.corpus_dir.absolute()
        return target.parent / f".{target.name}.building"

    def unique_documents(self) -> int:
        """Documents that are no duplicates."""
        return int(sum(unique.sum() for unique in self.unique))

    def drop(self, counts: dict[str, int]) -> None:
        """Count rows that gave no document, by reason."""
        for reason, count in counts.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def nothing_usable(self) -> str:
        """Message for a corpus that has no document left."""
        config = self.config
        if not self.rows:
            return "The corpus is empty: of 0 rows none is a document. Check `corpus` and `corpus_split`."
        return (
            f"No document is usable: of {self.rows} rows, dropped were {self.dropped or 'none'}. Check `corpus`, "
            f"`text_column` ({config.text_column!r}) and `min_characters` ({config.min_characters})."
        )
