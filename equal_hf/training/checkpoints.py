"""Finding the checkpoint a killed run can go on from, and whether this run can go on from it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerState

from equal_hf.errors import ResumeError
from equal_hf.utils.redaction import sanitise

_NAME = re.compile(r"checkpoint-(\d+)")
STATE_NAME = "EqualTrainer"  # among the callbacks' states in `trainer_state.json`


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


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """What a checkpoint says of the training that made it, so that another start can go on with the right round.

    Args:
        rounds (`int`): Rounds trained on to their end.
        rows_per_round (`int`): Rows of a round.
        effective_batch_size (`int`): Rows of an optimizer step, over all processes and accumulation steps.
        steps_per_round (`int`): Optimizer steps of a round.
        start_loss (`float`, *optional*): Evaluation loss before the first round, from which its rewards are paid.
    """

    rounds: int
    rows_per_round: int
    effective_batch_size: int
    steps_per_round: int
    start_loss: float | None = None

    def as_state(self) -> dict[str, dict[str, Any]]:
        """As transformers keeps what callbacks want to find in a checkpoint again."""
        return {"args": {}, "attributes": asdict(self)}

    @classmethod
    def of(cls, checkpoint: str) -> TrainingProgress:
        """What a checkpoint says.

        Raises:
            [`ResumeError`]: If this library did not write it.
        """
        state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        found: Mapping[str, Any] = state.stateful_callbacks or {}
        if STATE_NAME not in found:
            raise ResumeError(
                f"{checkpoint} does not say which rounds it was trained on: another trainer or an earlier version "
                "wrote it. Remove it to train from the records of the rounds, or set `output_dir` to a new folder"
            )
        return cls(**found[STATE_NAME]["attributes"])

    def check(self, checkpoint: str, now: TrainingProgress, world_size: int, remedy: str = "") -> None:
        """Refuse to go on from a checkpoint if rounds would then begin and end at other steps than its own did.

        Args:
            checkpoint (`str`): The checkpoint that `self` is of.
            now ([`TrainingProgress`]): This run.
            world_size (`int`): Processes of this run; free, as long as the effective batch stays.
            remedy (`str`, *optional*): What else helps.

        Raises:
            [`ResumeError`]: If `rows_per_round`, the effective batch size or the steps of a round changed.
        """
        if self.rows_per_round != now.rows_per_round:
            raise ResumeError(
                f"{checkpoint} was trained on rounds of {self.rows_per_round} rows and `rows_per_round` is "
                f"{now.rows_per_round} now: set it back{remedy}"
            )
        if self.effective_batch_size != now.effective_batch_size:
            share, rest = divmod(self.effective_batch_size, world_size)
            how = (
                f"with {world_size} processes set `per_device_train_batch_size` and `gradient_accumulation_steps` so "
                f"that their product is {share}"
                if not rest
                else f"no setting does that with {world_size} processes, start a number that divides it"
            )
            raise ResumeError(
                f"{checkpoint} was trained with an effective batch of {self.effective_batch_size} rows "
                "(`per_device_train_batch_size` times `gradient_accumulation_steps` times processes) and it is "
                f"{now.effective_batch_size} now. The number of processes is free, the effective batch is not: {how}"
                f"{remedy}"
            )
        if self.steps_per_round != now.steps_per_round:
            raise ResumeError(
                f"{checkpoint} was trained with {self.steps_per_round} steps a round and now it would be "
                f"{now.steps_per_round}: set `dataloader_drop_last` back, and with it on the batch size and number of "
                f"processes too{remedy}"
            )


def steps_per_round(args: Any) -> int:
    """Optimizer steps that a round of `rows_per_round` rows takes, as transformers and accelerate count them.

    Args:
        args ([`EqualConfig`]): The trainer's settings.

    >>> from types import SimpleNamespace
    >>> sizes = {"train_batch_size": 8, "world_size": 2, "gradient_accumulation_steps": 2}
    >>> steps_per_round(SimpleNamespace(rows_per_round=100, dataloader_drop_last=False, **sizes))
    4
    """
    whole = math.floor if args.dataloader_drop_last else math.ceil
    batches = whole(whole(args.rows_per_round / args.train_batch_size) / args.world_size)
    return max(1, math.ceil(batches / args.gradient_accumulation_steps))


# Settings that decide what a model has learned after a round, and so what a loss reward is.
TRAINING_SETTINGS = (
    "learning_rate lr_scheduler_type warmup_steps optim weight_decay max_grad_norm rows_per_round max_length "
    "completion_only_loss loss_type bf16 fp16 reward_metric reward_metric_rises train_sampling_strategy"
)


def training_fingerprint(args: Any, model: Any, effective_batch_size: int) -> dict[str, Any]:
    """What of a training decides rewards that wait for an evaluation.

    Args:
        args ([`EqualConfig`]): The trainer's settings.
        model (`PreTrainedModel`): The model.
        effective_batch_size (`int`): Rows of an optimizer step.
    """
    return {
        **{name: sanitise(getattr(args, name)) for name in TRAINING_SETTINGS.split()},
        "effective_batch_size": effective_batch_size,
        "model": str(model.config.name_or_path),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
