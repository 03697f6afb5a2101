"""Where the trainer's events meet the collector's rounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from equal_hf.publishing.background_push import RoundPublisher
    from equal_hf.training.config import EqualConfig
    from equal_hf.training.round_feed import RoundFeed


class RoundTrainer(Protocol):
    """What [`RoundCallback`] needs of a trainer."""

    args: EqualConfig
    round_feed: RoundFeed
    is_last_round: bool
    waits_for_review: bool
    rounds_trained: int

    def open_round(self, epoch: int) -> None:
        """Collect the round of an epoch and set its rows, on every process."""

    def record_rewards(self, metrics: dict[str, float]) -> None:
        """Record the open round's rewards after an evaluation, on every process."""


class RoundCallback(TrainerCallback):
    """Opens a round before its epoch and records its rewards after its evaluation.

    Evaluation fires on other occasions too: at the start, on resume, once for each of several evaluation sets, and
    when a script measures something. Only a configured metric that arrives after an epoch's end is recorded.

    Args:
        trainer ([`RoundTrainer`]): The trainer whose rounds these are.
    """

    def __init__(self, trainer: RoundTrainer) -> None:
        self.trainer = trainer
        self.trained = False

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the rows of this epoch's round in place."""
        self.trained = False
        self.trainer.open_round(int(state.epoch or 0))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show how far training is."""
        self.trainer.round_feed.view.trained(state.global_step, state.max_steps)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Rewards of a round without an evaluation are recorded now; the last one ends training."""
        self.trained = True
        self.trainer.rounds_trained = int((state.epoch or 0.0) + 1e-6)  # not one that was stopped in its middle
        if not control.should_evaluate:
            self.trainer.record_rewards({})
        if self.trainer.waits_for_review or (self.trainer.is_last_round and self.trainer.args.stop_when_finished):
            control.should_training_stop = True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the rewards of the round that was just trained on."""
        metrics = metrics or {}
        if self.trained:
            self.trainer.record_rewards(metrics)
        elif state.global_step == 0 and self.trainer.args.reward_metric in metrics:
            self.trainer.round_feed.start_loss = self.trainer.round_feed.loss(metrics[self.trainer.args.reward_metric])

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Say when training diverges, also where nothing is evaluated."""
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if isinstance(value, float) and not math.isfinite(value):
                self.trainer.round_feed.diverged(f"`{name}` is {value} at step {state.global_step}")


class PublishCallback(TrainerCallback):
    """Tells a publisher, on the main process, that a round or its rewards were recorded.

    Args:
        publisher ([`RoundPublisher`]): Pushes in the background; it is closed when training ends.
    """

    def __init__(self, publisher: RoundPublisher) -> None:
        self.publisher = publisher

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The rewards of the rounds before this one are recorded."""
        if state.is_world_process_zero and state.global_step:
            self.publisher.notify()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Push what is left."""
        if state.is_world_process_zero:
            self.publisher.close()
