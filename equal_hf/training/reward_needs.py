"""What reward functions and values of pairs need of a training: refused before it starts where it is missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from transformers.trainer_utils import IntervalStrategy

from equal_hf.errors import ConfigError
from equal_hf.selection.rewards import reward_name
from equal_hf.training.sharding import sharding

if TYPE_CHECKING:
    from equal_hf.training.config import EqualConfig


def require_evaluation(args: EqualConfig, eval_dataset: Any, *, pairs: bool = False) -> None:
    """Refuse what waits for an evaluation where there will be none.

    Args:
        args ([`EqualConfig`]): The trainer's settings.
        eval_dataset (`Dataset` or `dict[str, Dataset]`, *optional*): The validation set.
        pairs (`bool`, *optional*, defaults to `False`): Whether pairs are valued by their influence.

    Raises:
        [`ConfigError`]: With the setting that keeps it from being made.
    """
    what, setting = "a reward function", "that reward function"
    if pairs:
        what, setting = "`pair_values` names influence, which", "it"
    if not args.closed_loop:
        raise ConfigError(
            f"{what} waits for a training but `closed_loop` is false, and all rounds are collected before one: "
            f"set it to true, or leave {setting} out"
        )
    if eval_dataset is None:
        raise ConfigError(
            f"{what} waits for an evaluation but there is no `eval_dataset`: "
            f"pass the validation set, or leave {setting} out"
        )
    if args.eval_strategy == IntervalStrategy.NO:
        raise ConfigError(
            f"{what} waits for an evaluation but `eval_strategy` is 'no': set it to 'epoch', or leave {setting} out"
        )


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
