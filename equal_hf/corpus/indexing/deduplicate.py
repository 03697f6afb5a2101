"""Documents that other shards hold already: the first of a text, in the order of the corpus, is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from equal_hf.utils.hashing import digest

PASS_ROWS = 1 << 27


def find_duplicates(
    read: Callable[[int], tuple[np.ndarray, Sequence[str]]], sizes: Sequence[int], *, by_id: bool
) -> tuple[list[np.ndarray], dict[str, int]]:
    """Mark documents whose text, or id, an earlier one has.

    Memory is bounded: where there are more than 134 million documents they are gone through in several passes, each
    over the documents of one range of digests.

    Args:
        read (`Callable[[int], tuple[np.ndarray, Sequence[str]]]`): Digests, shape `(n, 16)`, and ids of a shard.
        sizes (`Sequence[int]`): Documents of each shard.
        by_id (`bool`): Whether ids come from a column, so that they may repeat where texts do not.

    Returns:
        `tuple[list[np.ndarray], dict[str, int]]`: For each shard which documents are no duplicates, and how many are
        dropped by reason.

    >>> digests = np.zeros((2, 16), np.uint8)
    >>> unique, dropped = find_duplicates(lambda shard: (digests, ["a", "b"]), [2, 2], by_id=False)
    >>> [mask.tolist() for mask in unique], dropped
    ([[True, False], [False, False]], {'duplicate': 3})
    """
    unique = [np.ones(size, bool) for size in sizes]
    dropped: dict[str, int] = {}
    reasons: list[tuple[str, Callable[[int], np.ndarray]]] = [("duplicate", lambda shard: read(shard)[0])]
    if by_id:
        reasons.append(("duplicate_id", lambda shard: _hashed(read(shard)[1])))
    passes = -(-sum(sizes) // PASS_ROWS) or 1
    for reason, identities in reasons:
        count = 0
        for turn in range(passes):
            repeated = _repeated(identities, unique, turn, passes)
            for shard, rows in repeated.items():
                unique[shard][rows] = False
                count += len(rows)
        if count:
            dropped[reason] = count
    return unique, dropped


def _repeated(
    identities: Callable[[int], np.ndarray], unique: list[np.ndarray], turn: int, passes: int
) -> dict[int, np.ndarray]:
    words: list[np.ndarray] = [np.zeros((0, 2), np.uint64)]
    shards: list[np.ndarray] = [np.zeros(0, np.int32)]
    rows: list[np.ndarray] = [np.zeros(0, np.int32)]
    for shard, mask in enumerate(unique):
        pairs = np.ascontiguousarray(identities(shard)).view("<u8").reshape(-1, 2)
        mine = np.flatnonzero(mask & (pairs[:, 0] % np.uint64(passes) == turn))
        words.append(pairs[mine])
        rows.append(mine.astype(np.int32))
        shards.append(np.full(len(mine), shard, np.int32))
    both, shard_of, row = np.concatenate(words), np.concatenate(shards), np.concatenate(rows)
    del words, shards, rows  # the sort takes as much again
    order = np.lexsort((both[:, 1], both[:, 0]))  # stable: among equals the first of the corpus comes first
    ordered = both[order]
    again = order[1:][(ordered[1:] == ordered[:-1]).all(axis=1)]
    return {int(shard): row[again[shard_of[again] == shard]] for shard in np.unique(shard_of[again])}


def _hashed(ids: Sequence[str]) -> np.ndarray:
    hashes = b"".join(digest(id_) for id_ in ids)
    return np.frombuffer(hashes, np.uint8).reshape(-1, 16)
