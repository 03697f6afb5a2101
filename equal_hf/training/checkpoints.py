"""Finding the checkpoint a killed run can go on from."""

from __future__ import annotations

import json
import re
from pathlib import Path

_NAME = re.compile(r"checkpoint-(\d+)")


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint in a folder that was written to its end.

    The trainer writes `trainer_state.json` last, so a checkpoint in which it can be read is whole; one that a kill cut
    short is passed over, where `transformers.trainer_utils.get_last_checkpoint` would choose it by its name.

    Args:
        folder (`str` or `Path`): Where checkpoints are.

    Returns:
        `str` or `None`: Its path, or `None` where there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        return None
    checkpoints = [(int(match[1]), path) for path in root.iterdir() if (match := _NAME.fullmatch(path.name))]
    for _, path in sorted(checkpoints, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(path)
    return None
