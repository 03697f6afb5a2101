"""Whether the model's parameters are shared out over processes, and what cannot be done then."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.selection.rewards import reward_name


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


def refuse_sharded(reward_funcs: Sequence[Callable[..., Any]], args: Any, *, pairs: bool = False) -> None:
    """Refuse what looks at the model where no process has it whole.

    They run on the main process, which would wait for parameters that the others never send.

    Args:
        reward_funcs (`Sequence[Callable]`): Those that ask for a `model` look at it.
        args (`TrainingArguments`): The trainer's arguments.
        pairs (`bool`, *optional*, defaults to `False`): Whether pairs are valued by their influence.

    Raises:
        [`ConfigError`]: If there is one.
    """
    looking = [
        (f"reward function {reward_name(function)!r}", "reward_funcs")
        for function in reward_funcs
        if "model" in inspect.signature(function).parameters
    ]
    looking += [("'influence' as a value of pairs", "pair_values")] * pairs
    if looking and (how := sharding(args)) is not None:
        what, setting = looking[0]
        raise ConfigError(
            f"{what} looks at the whole model, which is sharded by {how}: leave it out of `{setting}`, or train "
            "without sharding (DDP)"
        )
