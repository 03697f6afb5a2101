"""The stage that embeds the documents, each rank its own shards; what is done survives any stop."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.indexing.embedding_store import EmbeddingStore, usable
from equal_hf.corpus.indexing.shards import DIGEST, digests_of, read_shard, text_digest
from equal_hf.corpus.indexing.unfinished_shard import UnfinishedShard
from equal_hf.errors import ConfigError, CorpusError
from equal_hf.utils.hashing import fingerprint
from equal_hf.utils.progress import Progress

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.indexing.shards import Shard
    from equal_hf.corpus.indexing.state import IndexState

logger = logging.getLogger(__name__)


def load_embedder(config: CorpusConfig, aligned: Path | None, *, wait: bool = True) -> Embedder:
    """The embedder of an index: the aligned one where there is one, on this rank's GPU where there are some.

    Args:
        config ([`CorpusConfig`]): The settings.
        aligned (`Path`, *optional*): The aligned embedder.
        wait (`bool`, *optional*, defaults to `True`): Whether a Hub that cannot be reached is tried again for minutes.

    Raises:
        ConfigError: It cannot be loaded.
    """
    import torch

    device = None
    if torch.cuda.is_available():
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    return Embedder(
        str(aligned or config.embedder),
        device=device,
        batch_size=config.embedder_batch_size,
        max_windows=config.embedder_max_windows,
        dtype=config.embedder_dtype,
        wait=wait,
    )


def embed(state: IndexState) -> dict[str, Any]:
    """Embed the documents, each rank its own shards.

    Raises:
        ConfigError: Ranks loaded different models.
        CorpusError: No document has an embedding.
    """
    fingerprints = state.ranks.gather(state.embedder.fingerprint())
    if len(set(fingerprints)) > 1:
        raise ConfigError("`embedder`: ranks loaded different models. Use the same devices and precision on all.")
    state.store = EmbeddingStore(state.work.folder / "embeddings", fingerprints[0], state.embedder.dimension)
    mine = state.ranks.mine(range(len(state.shards)))
    total = sum(int(state.unique[number].sum()) for number in mine)
    several = f" on rank {state.ranks.rank} of {state.ranks.size}" if state.ranks.size > 1 else ""
    with Progress(f"embedding{several}", total, show=state.show_progress) as progress:

        def work() -> dict[int, dict[str, Any]]:
            state.store.remember(set(state.keys))
            return {number: _embed_piece(state, number, progress) for number in mine}

        began = time.perf_counter()
        by_shard = {number: facts for part in state.ranks.together(work) for number, facts in part.items()}
        seconds = round(time.perf_counter() - began, 3)
    state.usable = sum(facts["embedded"] for facts in by_shard.values())
    if missing := state.unique_documents() - state.usable:
        state.drop({"no_embedding": missing})
    state.beyond = sum(facts["sampled"] for facts in by_shard.values())
    if state.beyond and state.ranks.first:
        logger.warning(
            "%d documents are longer than %d windows of the embedder: windows spread evenly over them stand for them. "
            "`max_windows` of `Embedder`, `embedder_max_windows` of a YAML, raises that.",
            state.beyond,
            state.embedder.max_windows,
        )
    if not state.usable:
        raise CorpusError(state.nothing_usable())
    return {"embedding": {"documents": state.usable, "seconds": seconds}}


def _embed_piece(state: IndexState, number: int, progress: Progress) -> dict[str, Any]:
    shard, key, unique = state.shards[number], state.keys[number], state.unique[number]
    unfinished = state.store.folder / "unfinished" / key
    counted = 0.0

    def advance(share: float, count: Callable[[float], None]) -> None:
        nonlocal counted
        count(share * float(unique.sum()) - counted)
        counted = share * float(unique.sum())

    def make() -> tuple[list[Path], dict[str, Any]]:
        encode = functools.partial(
            encode_resumable,
            embedder=state.embedder,
            folder=unfinished,
            inputs={"threads": state.threads, "batch_size": state.config.embedder_batch_size},
            found=lambda share: advance(share, progress.found),
            made=lambda share: advance(share, progress.made),
        )
        facts = embed_shard(shard, state.documents, unique, encode, state.store, key)
        return [state.store.path(key)], facts

    inputs = {"key": key, "threads": state.threads}
    facts = state.work.piece("embed", state.store.folder / f"{key}.json", inputs, make)
    shutil.rmtree(unfinished, ignore_errors=True)
    advance(1.0, progress.found)
    return facts


def encode_resumable(
    texts: Sequence[str],
    embedder: Embedder,
    folder: Path,
    inputs: dict[str, Any],
    found: Callable[[float], None],
    made: Callable[[float], None],
) -> tuple[np.ndarray, np.ndarray]:
    """As [`Embedder.encode_documents`], going on from what a stopped start has left in a folder.

    Args:
        texts (`Sequence[str]`): The texts.
        embedder ([`Embedder`]): Embeds them.
        folder (`Path`): Where unfinished work is kept.
        inputs (`dict[str, Any]`): What else the embeddings depend on, to the last bit.
        found (`Callable[[float], None]`): Is given the share that was done earlier.
        made (`Callable[[float], None]`): Is given the share that is done, after each batch.
    """
    kept = UnfinishedShard(folder, {**inputs, "texts": fingerprint([text_digest(text).hex() for text in texts])})
    if kept.found is not None:
        found(kept.share)

    def take(rows: np.ndarray, share: float) -> None:
        kept.add(rows, share)
        made(share)

    try:
        return embedder.encode_documents(texts, earlier=kept.found, made=take)
    except BaseException:
        kept.save()
        raise


def embed_shard(
    shard: Shard,
    documents: Path,
    unique: np.ndarray | None,
    encode: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]],
    store: EmbeddingStore,
    key: str = "",
) -> dict[str, int]:
    """Embed a document shard into the store.

    Args:
        shard ([`Shard`]): The shard.
        documents (`Path`): Folder of document shards.
        unique (`np.ndarray` of shape `(n,)`, bool, *optional*): Documents that are no duplicates; all by default.
        encode (`Callable`): Embeds texts, as `Embedder.encode_documents` does.
        store ([`EmbeddingStore`]): Where they go, and where those made earlier are.
        key (`str`, *optional*): Name in the store; the shard's by default.

    Returns:
        `dict[str, int]`: `embedded` documents that have a direction, `made` of them now, and `sampled`, those longer
        than all windows.
    """
    table = read_shard(shard.path(documents)).select(["text", DIGEST])
    digests, texts = digests_of(table[DIGEST]), table["text"]
    if unique is not None:
        digests, texts = digests[unique], texts.filter(pa.array(unique))
    vectors, beyond, made = store.embed(digests, texts.to_pylist(), encode)
    store.save(key or shard.key, digests, vectors, beyond)
    return {"embedded": int(usable(vectors).sum()), "made": made, "sampled": int(beyond.sum())}
