"""Whether the model's parameters are shared out over processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def sharding(args: Any) -> str | None:
    """How parameters are sharded: `"FSDP"`, `"DeepSpeed ZeRO-3"`, or `None` where each process has them whole.

    Args:
        args (`TrainingArguments`): The trainer's arguments; `accelerate launch` says the rest in the environment.
    """
    if getattr(args, "fsdp", None) or os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"):
        return "FSDP"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() in ("1", "true"):
        path, stage = (
            os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE"),
            os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE"),
        )
        return "DeepSpeed ZeRO-3" if _zero_stage(path) == 3 or stage == "3" else None
    return "DeepSpeed ZeRO-3" if _zero_stage(getattr(args, "deepspeed", None)) == 3 else None


def _zero_stage(config: Any) -> Any:
    """The stage that DeepSpeed's own configuration names, given as a file or a dict."""
    if isinstance(config, str) and Path(config).is_file():
        config = json.loads(Path(config).read_text(encoding="utf-8"))
    return config.get("zero_optimization", {}).get("stage") if isinstance(config, dict) else None
