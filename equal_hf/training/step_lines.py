"""How far training and evaluation are, in a log: a line every half minute in place of bars."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import has_length

from equal_hf.utils.progress import Progress


class StepLines(TrainerCallback):
    """Logs the steps of training and the batches of evaluation that are done, and how long the rest will take.

    For programs without a terminal, instead of [`~transformers.ProgressCallback`], whose bars fill a log.
    """

    def __init__(self) -> None:
        self._training: Progress | None = None
        self._evaluation: Progress | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count from the checkpoint's step on."""
        self._training = Progress("training", state.max_steps, "steps", show=state.is_world_process_zero)
        self._training.found(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """One more step."""
        if self._training is not None:
            self._training.made(1)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """One more batch of an evaluation."""
        if self._evaluation is None:
            batches = kwargs.get("eval_dataloader")
            total = len(batches) if has_length(batches) else None
            self._evaluation = Progress("evaluation", total, "batches", show=state.is_world_process_zero)
        self._evaluation.made(1)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The next batch is one of another evaluation."""
        self._evaluation = None
