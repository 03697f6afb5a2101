"""A tracker fails no run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from equal_hf.utils.redaction import mask_text

logger = logging.getLogger(__name__)


@contextmanager
def keeps_going(what: str) -> Iterator[None]:
    """Let a run go on when it cannot be tracked: whatever a tracker raises is a warning.

    Args:
        what (`str`): What fails, for the message.
    """
    try:
        yield
    except Exception as error:
        logger.warning("%s failed, and the run goes on: %s: %s", what, type(error).__name__, mask_text(str(error)))
