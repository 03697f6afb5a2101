"""What a recipe shows: a line a round on the main process, bars on a terminal only, silence elsewhere."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

from equal_hf.utils.redaction import mask_text

# Libraries below that log addresses, with what is in their queries, and errors of the HTTP library.
_LOUD = ("huggingface_hub.utils._http", "huggingface_hub", "httpx2", "httpx", "urllib3.connectionpool", "datasets")


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what standard error is at the time: a live view puts itself in between, so that lines go above it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # a stream handler would take hold of today's stream

    def format(self, record: logging.LogRecord) -> str:
        """The line, tracebacks included, without secrets."""
        return mask_text(super().format(record))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Standard error."""
        return sys.stderr


def set_up_terminal(*, is_main_process: bool) -> None:
    """Configure logging and progress bars of a process that a person started. Recipes call it; the library never does.

    Args:
        is_main_process (`bool`): Other processes say nothing but errors.
    """
    handler = _StandardError()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    ours = logging.getLogger("equal_hf")
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(logging.INFO if is_main_process else logging.ERROR)
    mask_tracebacks()
    for name in _LOUD:
        logging.getLogger(name).addFilter(_mask)
    if not is_main_process or not sys.stderr.isatty():
        import datasets
        from huggingface_hub.utils import disable_progress_bars
        from transformers.utils.logging import disable_progress_bar

        datasets.disable_progress_bars()
        disable_progress_bars()
        disable_progress_bar()
    # TRL turns it on by its old name, on which transformers remarks at every start; nothing a user can act on.
    warnings.filterwarnings("ignore", message="`gradient_checkpointing` is deprecated", category=FutureWarning)


def mask_tracebacks() -> None:
    """From here on, what ends this process with a traceback shows no secret; for programs."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(mask_text("".join(traceback.format_exception(kind, error, trace))))

    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = show


@contextmanager
def messages_shown() -> Iterator[None]:
    """Inside, what this package logs goes to standard error: for commands that say a few lines."""
    handler, ours = _StandardError(), logging.getLogger("equal_hf")
    level = ours.level
    for name in _LOUD:
        logging.getLogger(name).addFilter(_mask)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


def _mask(record: logging.LogRecord) -> bool:
    """Take secrets out of another library's log line."""
    line = record.getMessage()
    if (masked := mask_text(line)) != line:
        record.msg, record.args = masked, None
    return True
