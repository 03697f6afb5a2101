"""Content-defined chunks as Xet cuts them: what of a file a client of the Hub would have to send.

The Hub stores files as chunks of 8 to 128 KiB, 64 KiB on average, which end where a gear hash (Xia et al. 2014) of the
last 64 bytes has sixteen zeros; a chunk that a repository holds already is not sent again. The gear table is another
than Xet's, so chunks end elsewhere and are as long.

>>> content = np.random.default_rng(0).bytes(1 << 20)
>>> first, second = (set(chunks(part)) for part in (content, b"in front" + content))
>>> b"".join(chunks(content)) == content, len(second - first)
(True, 1)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

LEAST, MOST = 8 << 10, 128 << 10
MASK = np.uint64(0xFFFF << 48)
GEAR = np.random.default_rng(1).integers(0, 2**64, 256, dtype=np.uint64)
BLOCK = 4 << 20


def chunks(content: bytes) -> Iterator[bytes]:
    """The chunks of a file."""
    ends = _ends(np.frombuffer(content, np.uint8))
    start = 0
    while start < len(content):
        at = np.searchsorted(ends, start + LEAST)
        end = min(int(ends[at]) if at < len(ends) else len(content), start + MOST, len(content))
        yield content[start:end]
        start = end


def _ends(content: np.ndarray) -> np.ndarray:
    """Where the hash of the 64 bytes before has sixteen zeros in front."""
    found = []
    for start in range(0, len(content), BLOCK):
        before = min(start, 63)
        hashes = GEAR[content[start - before : start + BLOCK]]
        for step in (1, 2, 4, 8, 16, 32):  # the hash of twice as many bytes, from the two halves'
            hashes[step:] += hashes[:-step] << np.uint64(step)
        found.append(start + 1 + np.flatnonzero((hashes & MASK)[before:] == 0))
    return np.concatenate(found) if found else np.zeros(0, np.int64)
