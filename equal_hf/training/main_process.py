"""Work of the main process whose result every process gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate.utils import broadcast_object_list

from equal_hf.errors import EqualError

T = TypeVar("T")


def on_main(is_main: bool, work: Callable[[], T]) -> T:
    """Do work on the main process; every process gets its result, or raises its error.

    Args:
        is_main (`bool`): Whether this is the main process.
        work (`Callable`): What is done there.

    Raises:
        [`EqualError`]: On the other processes, if it fails.
    """
    error: BaseException | None = None
    message: list[Any] = [None]
    if is_main:
        try:
            message = [(work(), None)]
        except Exception as raised:
            error = raised
            message = [(None, f"{type(raised).__name__} on the main process: {raised}")]
    broadcast_object_list(message, from_process=0)
    if error is not None:
        raise error
    result, failure = message[0]
    if failure is not None:
        raise EqualError(failure)
    return result
