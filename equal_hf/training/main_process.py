"""Work of the main process whose result every process gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from equal_hf.utils.rank_zero import once

T = TypeVar("T")


def on_main(work: Callable[[], T]) -> T:
    """Do work on the main process, however long it takes; every process gets its result, or raises its error.

    Args:
        work (`Callable`): What is done there. Its result can be pickled.

    Raises:
        [`EqualError`]: On the other processes, if it fails, or the main process is heard of no more.
    """
    state = PartialState()
    if state.num_processes == 1:
        return work()
    return once(state.is_main_process, work, broadcast_object_list)
