"""Where the trainer's events meet the collector's rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from equal_hf.publishing.background_push import RoundPublisher
    from equal_hf.training.trainer import EqualTrainer


class RoundCallback(TrainerCallback):
    """Opens a round before its epoch and credits it after its evaluation.

    Evaluation fires on other occasions too: at the start, on resume, once for each of several evaluation sets, and
    when a script measures something. Only a configured metric that arrives after an epoch's end credits a round.

    Args:
        trainer ([`EqualTrainer`]): The trainer whose rounds these are.
    """

    def __init__(self, trainer: EqualTrainer) -> None:
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
        self.trainer.round_source.view.trained(state.global_step, state.max_steps)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A round without an evaluation is credited now; the last one ends training."""
        self.trained = True
        if not control.should_evaluate:
            self.trainer.credit_round({})
        if self.trainer.is_last_round and self.trainer.args.stop_when_finished:
            control.should_training_stop = True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Credit the round that was just trained on."""
        metrics = metrics or {}
        if self.trained:
            self.trainer.credit_round(metrics)
        elif state.global_step == 0 and self.trainer.args.reward_metric in metrics:
            self.trainer.round_source.start_loss = float(metrics[self.trainer.args.reward_metric])


class PublishCallback(TrainerCallback):
    """Tells a publisher, on the main process, that a round was recorded or credited.

    Args:
        publisher ([`RoundPublisher`]): Pushes in the background; it is closed when training ends.
    """

    def __init__(self, publisher: RoundPublisher) -> None:
        self.publisher = publisher

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The rounds before this one are credited."""
        if state.is_world_process_zero and state.global_step:
            self.publisher.notify()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Push what is left."""
        if state.is_world_process_zero:
            self.publisher.close()
