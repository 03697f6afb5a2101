"""Seeded random keys of documents: what is sampled, and the order of a cluster, are functions of the texts alone.

A key mixes a document's digest with a seed, so it depends neither on the order in which documents are read nor on how
many processes read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

ORDER, SAMPLE, TRAINING = 0, 1, 2  # what a key is for: independent keys for independent choices


def seeded_keys(digests: np.ndarray, seed: int, purpose: int = ORDER) -> np.ndarray:
    """Keys that look random and are uniform over 64 bits, by SplitMix64 (Steele et al. 2014).

    Args:
        digests (`np.ndarray` of shape `(n, 16)`, uint8): Of the texts.
        seed (`int`): Another seed, other keys.
        purpose (`int`, *optional*, defaults to `ORDER`): Keys of different purposes are independent.

    Returns:
        `np.ndarray` of shape `(n,)`, uint64.

    >>> digests = np.arange(32, dtype=np.uint8).reshape(2, 16)
    >>> seeded_keys(digests, 1).tolist() == seeded_keys(digests[::-1], 1)[::-1].tolist()
    True
    """
    words = np.ascontiguousarray(digests).view("<u8").astype(np.uint64)
    salt = _mix(np.array([seed], np.uint64) + np.uint64(purpose << 48))
    return _mix(_mix(words[:, 0] ^ salt) ^ words[:, 1])


def interleaved(sizes: Sequence[int], cluster: int) -> np.ndarray:
    """An order in which lists, each in random order, come shuffled together: every document is as likely anywhere.

    Args:
        sizes (`Sequence[int]`): Documents of each list.
        cluster (`int`): Another cluster, another shuffle.

    Returns:
        `np.ndarray` of shape `(sum(sizes),)`, int64: Positions in the lists joined. Each list keeps its own order, so
        that documents drawn one after the other lie side by side.

    >>> order = interleaved([6, 2], 0).tolist()
    >>> order, [place for place in order if place >= 6]
    ([0, 1, 2, 6, 7, 3, 4, 5], [6, 7])
    """
    total = sum(sizes)
    keys = _mix(np.arange(total, dtype=np.uint64) ^ _mix(np.array([cluster], np.uint64)))
    shuffled = np.repeat(np.arange(len(sizes)), sizes)[np.argsort(keys, kind="stable")]
    order = np.empty(total, np.int64)
    order[np.argsort(shuffled, kind="stable")] = np.arange(total)
    return order


def lowest_keys(read: Callable[[], Iterable[np.ndarray]], total: int, wanted: int) -> list[np.ndarray]:
    """Which rows have the `wanted` lowest keys of all.

    Args:
        read (`Callable[[], Iterable[np.ndarray]]`): Gives the keys, one array a shard.
        total (`int`): How many there are in all.
        wanted (`int`): How many to choose; all where there are fewer.

    Returns:
        `list[np.ndarray]`: For each shard the chosen positions, ascending.

    >>> shards = [np.array([5, 1], np.uint64), np.array([3], np.uint64)]
    >>> [chosen.tolist() for chosen in lowest_keys(lambda: shards, 3, 2)]
    [[1], [0]]
    """
    # Keys are uniform, so the bound that some more than `wanted` lie under is known beforehand; memory is for those.
    share = min(1.0, (wanted + 8 * wanted**0.5 + 64) / max(total, 1))
    bound = np.uint64(min(int(share * 2.0**64), 2**64 - 1))
    if share == 1.0:
        bound = np.uint64(2**64 - 1)
    candidates = [(position, keys[position]) for keys in read() for position in [np.flatnonzero(keys <= bound)]]
    every = np.concatenate([keys for _, keys in candidates]) if candidates else np.zeros(0, np.uint64)
    if len(every) <= wanted:
        return [position for position, _ in candidates]
    limit = np.partition(every, wanted - 1)[wanted - 1]
    return [position[keys <= limit] for position, keys in candidates]


def _mix(values: np.ndarray) -> np.ndarray:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
