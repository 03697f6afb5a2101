"""Embeddings on disk: float16, made once for every pair of embedder and text.

One Arrow file a document shard, in a folder named after the embedder's fingerprint. Each row carries the digest of its
text, so when documents move to other shards in a later revision of a corpus, their embeddings are found again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from equal_hf.corpus.indexing.shards import DIGEST_BYTES, digests_of
from equal_hf.corpus.indexing.workspace import read_record
from equal_hf.errors import CorpusError
from equal_hf.utils.files import replacing


class EmbeddingStore:
    """The embeddings of one embedder.

    Args:
        folder (`Path`): Parent folder of all embedders' stores.
        fingerprint (`str`): The embedder's.
        dimension (`int`): Length of an embedding.
    """

    def __init__(self, folder: Path, fingerprint: str, dimension: int) -> None:
        self.folder, self.dimension = folder / fingerprint, dimension
        self._known: tuple[np.ndarray, np.ndarray, np.ndarray, list[Path]] | None = None

    def path(self, key: str) -> Path:
        """The file of a shard."""
        return self.folder / f"{key}.arrow"

    def save(self, key: str, digests: np.ndarray, vectors: np.ndarray, beyond: np.ndarray) -> None:
        """Write the embeddings of a shard.

        Args:
            key (`str`): Name of the file.
            digests (`np.ndarray` of shape `(n, 16)`, uint8): Of the texts.
            vectors (`np.ndarray` of shape `(n, d)`): Their embeddings; kept as float16.
            beyond (`np.ndarray` of shape `(n,)`, bool): Which texts were longer than all windows.
        """
        half = np.ascontiguousarray(vectors, dtype="<f2").reshape(-1)
        table = pa.table(
            {
                "digest": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(DIGEST_BYTES), len(digests), [None, pa.py_buffer(np.ascontiguousarray(digests))]
                ),
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(half, pa.float16()), self.dimension),
                "beyond": pa.array(beyond),
            }
        )
        with (
            replacing(self.path(key)) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)

    def load(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Digests, `(n, 16)` uint8, and embeddings, `(n, d)` float16, mapped from the file rather than read."""
        return _load(self.path(key), self.dimension)[:2]

    def digests(self, keys: Sequence[str]) -> np.ndarray:
        """Digests of some files' texts, sorted, as `is_among` looks them up.

        Raises:
            CorpusError: A file is gone or damaged.
        """
        parts = [_load(self.path(key), self.dimension)[0].view("S16").reshape(-1) for key in keys]
        return np.sort(np.concatenate([np.zeros(0, "S16"), *parts]))

    def embed(
        self,
        digests: np.ndarray,
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]],
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Embeddings of texts: from the store where it has them, else made.

        Args:
            digests (`np.ndarray` of shape `(n, 16)`, uint8): Of the texts.
            texts (`Sequence[str]`): The texts.
            encode (`Callable`): Embeds texts, as `Embedder.encode_documents` does.

        Returns:
            `tuple[np.ndarray, np.ndarray, int]`: float16, shape `(n, d)`; which texts are longer than all windows,
            shape `(n,)`; and how many had to be made.
        """
        vectors, beyond = np.zeros((len(texts), self.dimension), np.float16), np.zeros(len(texts), bool)
        missing = np.ones(len(texts), bool)
        first, second, places, files = self._index()
        if len(first):
            words = np.ascontiguousarray(digests).view("<u8").reshape(-1, 2)
            at = np.minimum(np.searchsorted(first, words[:, 0]), len(first) - 1)
            missing = (first[at] != words[:, 0]) | (second[at] != words[:, 1])
            for file in np.unique(places[at[~missing], 0]):
                mine = np.flatnonzero(~missing & (places[at, 0] == file))
                _, stored, flags = _load(files[file], self.dimension)
                vectors[mine], beyond[mine] = stored[places[at[mine], 1]], flags[places[at[mine], 1]]
        todo = np.flatnonzero(missing)
        if len(todo):
            vectors[todo], beyond[todo] = encode([texts[row] for row in todo.tolist()])
        return vectors, beyond, len(todo)

    def remember(self, keep: set[str]) -> None:
        """Look embeddings up in the files there are now whose key is not in `keep`, if their records prove them whole.

        A shard of `keep` that is complete is never embedded again, and one that is not may hold nothing; what another
        process writes meanwhile must not change what this one does, so the files are listed once.
        """
        paths = sorted(path for path in self.folder.glob("*.arrow") if path.stem not in keep)
        paths = [path for path in paths if read_record(path.with_suffix(".json"), None) is not None]
        words, places = [], []
        for number, path in enumerate(paths):
            digests = _load(path, self.dimension)[0]
            words.append(np.ascontiguousarray(digests).view("<u8").reshape(-1, 2))
            places.append(np.stack([np.full(len(digests), number), np.arange(len(digests))], axis=1))
        if not words:
            return
        both, where = np.concatenate(words), np.concatenate(places)
        order = np.lexsort((both[:, 1], both[:, 0]))
        self._known = (both[order, 0], both[order, 1], where[order], paths)

    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Path]]:
        if self._known is None:
            self._known = (np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros((0, 2), np.int64), [])
        return self._known


def is_among(digests: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which digests, shape `(n, 16)` uint8, are among those that `EmbeddingStore.digests` gave.

    >>> is_among(np.eye(16, dtype=np.uint8)[:3], np.sort(np.eye(16, dtype=np.uint8)[1:9].view("S16").reshape(-1)))
    array([False,  True,  True])
    """
    wanted = np.ascontiguousarray(digests).view("S16").reshape(-1)
    if not len(known):
        return np.zeros(len(wanted), bool)
    return np.asarray(known[np.minimum(np.searchsorted(known, wanted), len(known) - 1)] == wanted)


def usable(vectors: np.ndarray) -> np.ndarray:
    """Which embeddings have a direction: finite and not all zero, so that they can be clustered."""
    return np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Stored embeddings as unit vectors, float32: float16 rounded their lengths."""
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _load(path: Path, dimension: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        flat = table["embedding"].combine_chunks()
        values = flat.flatten() if not isinstance(flat, pa.ChunkedArray) else flat.chunk(0).flatten()
        beyond = table["beyond"].to_numpy()
        return digests_of(table["digest"]), values.to_numpy().reshape(-1, dimension), beyond
    except (OSError, pa.ArrowException, KeyError, ValueError, IndexError) as error:
        raise CorpusError(
            f"The embeddings {path} cannot be read: {error}. Remove the file and start again."
        ) from error
