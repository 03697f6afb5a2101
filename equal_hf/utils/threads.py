"""How many threads compute: sums in another order differ in their last bits, so the number is part of a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let numpy, scikit-learn, FAISS and torch compute with so many threads, whatever the environment says.

    Args:
        threads (`int`): Of this process.
    """
    import faiss  # noqa: F401  what is not loaded yet is not limited
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)
