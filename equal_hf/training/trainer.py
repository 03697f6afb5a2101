"""`EqualTrainer`: TRL's `SFTTrainer` on pairs that a collector chooses.

The only change is where rows come from: all rounds are collected, then their pairs are trained on. In the closed loop
the collector chooses while the model learns: one round is one epoch, its rows are put in place when the epoch begins,
and the evaluation at its end pays the round's arms.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import ProgressCallback, TrainerState, set_seed
from transformers.trainer_utils import IntervalStrategy, TrainOutput

from equal_hf.collection.collector import EqualDataCollector
from equal_hf.errors import ConfigError, ResumeError
from equal_hf.records.json_files import finite
from equal_hf.target.shares import weighted_mean
from equal_hf.tracking.tables import RoundTables
from equal_hf.tracking.trainer_callbacks import track_rounds
from equal_hf.training.checkpoints import (
    STATE_NAME,
    TrainingProgress,
    last_complete_checkpoint,
    steps_per_round,
    training_fingerprint,
)
from equal_hf.training.config import EqualConfig, pool_settings
from equal_hf.training.influence_batches import (
    influence_batches,
    pair_influence,
    rewarding_sets,
    rows_by_arm,
    rows_by_pair,
)
from equal_hf.training.length_batches import ByLength, InOrder, batches_by_length
from equal_hf.training.main_process import on_main
from equal_hf.training.model_export import ModelFolderTrainer
from equal_hf.training.reward_needs import refuse_sharded, require_evaluation
from equal_hf.training.round_callbacks import RoundCallback
from equal_hf.training.round_feed import OpenedRound, RoundFeed
from equal_hf.training.round_rows import RoundDataset
from equal_hf.training.tokenized_rows import TokenizedRows, tokenize_rows
from equal_hf.types import QAPair
from equal_hf.utils.rank_zero import start_heartbeat

# SFTTrainer wants a training set when it is built, to see what kind of rows it will get; this one is never trained on.
_PLACEHOLDER = QAPair("What is trained on?", "The rounds that follow.", document_id="").messages()

logger = logging.getLogger(__name__)


class EqualTrainer(ModelFolderTrainer):
    """Trains on what a collector selects; in the closed loop it helps to select.

    Args:
        model (`str` or `PreTrainedModel`): As for `SFTTrainer`.
        args ([`EqualConfig`]): Settings; the same object may be the collector's.
        data_collector ([`EqualDataCollector`]): Yields the rounds. Only the main process collects; it hands rows, or
            the error it met, to all others.
        eval_dataset (`Dataset` or `dict[str, Dataset]`, *optional*): The validation set whose loss pays rewards.
            Needed where a reward function waits for an evaluation. With several targets one set for each, by name:
            their mean by `target_weights` is `eval_loss`.
        **kwargs: Anything else `SFTTrainer` takes, such as `peft_config` or `processing_class`; not `train_dataset`.

    Raises:
        [`ConfigError`]: If a reward needs an evaluation set and there is none, or a training set is passed.
    """

    args: EqualConfig

    def __init__(
        self,
        model: Any,
        args: EqualConfig,
        *,
        data_collector: EqualDataCollector,
        eval_dataset: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("train_dataset", None) is not None:
            raise ConfigError("`train_dataset` cannot be used here: rows come from `data_collector`")
        self._values_pairs = "influence" in data_collector.args.pair_values
        self.waits_for_evaluation = self._values_pairs or "evaluated" in data_collector.stages.values()
        if self.waits_for_evaluation:
            require_evaluation(args, eval_dataset, pairs=self._values_pairs)
        if eval_dataset is None:
            args.eval_strategy, args.eval_on_start = IntervalStrategy.NO, False
        start_heartbeat(args.process_index == 0)  # loading a large model takes long, too
        args.num_train_epochs = float(args.planned_rounds)
        refuse_sharded(data_collector.reward_funcs, args, pairs=self._values_pairs)
        super().__init__(
            model, args, train_dataset=Dataset.from_list([_PLACEHOLDER]), eval_dataset=eval_dataset, **kwargs
        )
        self.train_dataset = self._round_dataset = RoundDataset(args.rows_per_round)
        self.data_collector = data_collector
        data_collector.trains = args.closed_loop
        self.run_dir = str(args.output_dir)
        self.round_feed = RoundFeed(data_collector, args)
        self.is_last_round = self.waits_for_review = False
        self.rounds_trained = self.steps_trained = self.pool_steps_trained = 0
        self.rows_cut = self.rows_lost = 0  # by `max_length`, of all rounds of this start
        self._cut: dict[str, float] = {}  # of the open round
        self._trained_rows: list[int] = []
        self._pool_lengths: list[int] = []
        self._arm_rows: list[list[dict[str, Any]]] = []
        self._pair_rows: dict[int, dict[str, Any]] = {}  # by position in the round
        self._eval_on_start = args.eval_on_start
        self._round_callback = RoundCallback(self)
        self.add_callback(self._round_callback)
        if self.waits_for_evaluation:
            batch = self.get_total_train_batch_size(args)
            data_collector.extra_fingerprint["training"] = training_fingerprint(args, self.model, batch)

    # -- training --------------------------------------------------------------------------------------------------

    def train(  # type: ignore[override]
        self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any
    ) -> TrainOutput:
        """Collect all rounds, then train on the pool of all pairs. In the closed loop, train round by round, then on
        the pool where `pool_epochs` or `pool_steps` ask for it.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*): A checkpoint, or `True` for the last complete one of
                the run folder (from the beginning where there is none). Rounds that are on record and newer than the
                checkpoint are trained again from their records.

        Where the run comes to `review_after`, it stops after that round; `waits_for_review` tells so.

        Raises:
            [`ResumeError`]: If the run folder holds another run.
            [`ExtractionError`]: If the whole budget gave not a single pair.
        """
        train = self._train_by_round if self.args.closed_loop else self._train_once
        return train(resume_from_checkpoint, **kwargs)

    def _train_by_round(self, resume_from_checkpoint: str | bool | None, **kwargs: Any) -> TrainOutput:
        """Train on each round before the next one is selected, then on the pool where that is asked for."""
        output_dir = Path(self.run_dir)
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete_checkpoint(output_dir)
        wants_pool = bool(self.args.pool_epochs or self.args.pool_steps)
        in_pool = last_complete_checkpoint(output_dir / "pool") if resume_from_checkpoint and wants_pool else None
        trainable, finished = self.open_run()
        self.waits_for_review = on_main(lambda: self.data_collector.waits_for_review)
        if self.waits_for_review:  # a start before this one was stopped between the round and its review
            return self._not_trained()
        self.rounds_trained = self._rounds_of(str(resume_from_checkpoint)) if resume_from_checkpoint else 0
        tables = RoundTables(self.data_collector.records, self.data_collector.corpus)
        track_rounds(self, tables)
        with self._under_way():
            if in_pool is None:
                self._skip_what_is_trained(resume_from_checkpoint, trainable, finished)
                # After a checkpoint the loss is known already, to the records and to trackers.
                self.args.eval_on_start = self._eval_on_start and not resume_from_checkpoint
                output = super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)
                self.steps_trained = self.state.global_step
            else:
                self._rounds_of(in_pool)
                state = TrainerState.load_from_json(f"{resume_from_checkpoint}/trainer_state.json")
                self.steps_trained, tables.earlier_logs = state.global_step, state.log_history
            if wants_pool and not self.waits_for_review:
                output = self._train_pool(in_pool, **kwargs)
            self.wait_for_main()
        return output

    def _train_once(self, resume_from_checkpoint: str | bool | None, **kwargs: Any) -> TrainOutput:
        """Collect what is not on record, then train on all of it."""
        output_dir = Path(self.run_dir)
        if resume_from_checkpoint and (left := last_complete_checkpoint(output_dir)) is not None:
            raise ResumeError(
                f"{left} is of a training round by round, and `closed_loop` is false: set it to true to go on with "
                "it, or remove the checkpoints to train once on all pairs, which asks for nothing anew"
            )
        self.open_run()
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete_checkpoint(output_dir / "pool")
        with self._under_way():
            logged, self.waits_for_review = on_main(self.round_feed.collect_all)
            if self.waits_for_review:
                return self._not_trained()
            self.rounds_trained = len(logged)
            tables = RoundTables(self.data_collector.records, self.data_collector.corpus)
            tables.earlier_logs = logged
            track_rounds(self, tables)
            if resume_from_checkpoint:
                self._rounds_of(str(resume_from_checkpoint))
            self.args.eval_on_start = self._eval_on_start and not resume_from_checkpoint
            output = self._train_pool(str(resume_from_checkpoint or "") or None, **kwargs)
            self.wait_for_main()
        return output

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """The run is shown on the terminal; at its end nothing is collected ahead, and settings are as they were."""
        as_set = self.args.eval_on_start, self.args.num_train_epochs
        try:
            with self.round_feed.view as view:
                if view.is_live:
                    self.remove_callback(ProgressCallback)  # two views of one run on one terminal
                yield
        finally:
            # A control in the same process is made from these settings, and starts at its beginning.
            self.args.eval_on_start, self.args.num_train_epochs = as_set
            self.round_feed.close()

    def _not_trained(self) -> TrainOutput:
        return TrainOutput(self.state.global_step, float("nan"), {})

    def open_run(self) -> tuple[int, bool]:
        """Open the run folder, on every process alike; done by `train`, and harmless before it.

        Returns:
            `tuple[int, bool]`: How many rounds on record can be trained on, and whether the run's end is among them.

        Raises:
            [`ResumeError`]: If the run folder holds another run, or another process has it open.
        """
        return on_main(self.round_feed.open)

    def _skip_what_is_trained(self, checkpoint: str | bool | None, trainable: int, finished: bool) -> None:
        """Keep the training loop from starting an epoch when the checkpoint holds the last round there is."""
        if not (checkpoint and finished and self.args.stop_when_finished):
            return
        if self.rounds_trained >= trainable:
            self.args.num_train_epochs = trainable

    def _progress(self) -> TrainingProgress:
        batch = self.get_total_train_batch_size(self.args)
        steps, start_loss = steps_per_round(self.args), self.round_feed.start_loss
        return TrainingProgress(self.rounds_trained, self.args.rows_per_round, batch, steps, start_loss)

    def _rounds_of(self, checkpoint: str) -> int:
        """How many rounds a checkpoint was trained on; refused where this run's rounds would not fit its steps."""
        progress = TrainingProgress.of(checkpoint)
        again = ", or remove the checkpoints to train again from the records, which asks for nothing anew"
        remedy = "" if self.waits_for_evaluation else again
        progress.check(checkpoint, self._progress(), self.args.world_size, remedy)
        self.round_feed.start_loss = progress.start_loss
        return progress.rounds

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        assert isinstance(self.state.stateful_callbacks, dict)
        self.state.stateful_callbacks[STATE_NAME] = self._progress().as_state()
        super()._save_checkpoint(*args, **kwargs)

    def _train_pool(self, checkpoint: str | None, **kwargs: Any) -> TrainOutput:
        """The fine-tuning on all pairs, after the rounds, with checkpoints of its own in `pool/`."""
        rows = on_main(lambda: tokenize_rows(self, self.round_feed.pool()))
        self._count_cut(rows, len(rows.cut), "the pool")
        if self.is_world_process_zero():
            logger.info("Training on all %s rows that were collected", f"{len(rows.dataset):,}")
        set_seed(self.args.seed)  # else a pool that begins in another process than the rounds has another dropout
        self.train_dataset, self._pool_lengths = rows.dataset, rows.lengths
        self.remove_callback(self._round_callback)
        try:
            with pool_settings(self.args, Path(self.run_dir)):
                output = super().train(resume_from_checkpoint=checkpoint, **kwargs)
            self.pool_steps_trained = self.state.global_step
            return output
        finally:
            self.add_callback(self._round_callback)
            self.train_dataset = self._round_dataset

    # -- rounds ----------------------------------------------------------------------------------------------------

    def open_round(self, epoch: int) -> None:
        """Collect the round of an epoch and set its rows, on every process.

        Raises:
            [`ResumeError`]: If the epoch is not the one after the rounds trained on.
        """
        if epoch != self.rounds_trained:
            raise ResumeError(
                f"the checkpoint was trained on {self.rounds_trained} rounds, but by the settings of now it ends in "
                f"epoch {epoch}: a setting that decides how many steps a round has changed; set it back"
            )
        opened, rows = on_main(lambda: self._collect(epoch))
        self.is_last_round, self.waits_for_review = opened.last, opened.review
        prepared = list(rows.dataset)
        if not prepared:
            raise ConfigError(
                f"every row of epoch {epoch} lost its whole answer to `max_length` {self.args.max_length}: raise it"
            )
        # Spare rows stand in for those that lost their whole answer, and where spare rows run out rows repeat.
        chosen = [prepared[i % len(prepared)] for i in range(self.args.rows_per_round)]
        if self._by_length:
            lengths, rng = [len(row["input_ids"]) for row in chosen], np.random.default_rng([self.args.seed, epoch, 2])
            chosen = [chosen[i] for i in batches_by_length(lengths, self._at_a_time, rng)]
        self._round_dataset.replace(chosen)
        distinct = {row["row"] for row in chosen}
        self._cut = {"equal/rows_cut": len(rows.cut & distinct), "equal/rows_lost": len(rows.lost)}
        self._count_cut(rows, len(rows.cut & distinct), f"round {epoch}")
        arms = Counter(opened.row_arms[row] for row in distinct)
        self._trained_rows = [arms[arm] for arm in range(opened.arms)]
        self._arm_rows = rows_by_arm(prepared, opened.row_arms, opened.arms)
        self._pair_rows = rows_by_pair(prepared, opened.row_pairs)

    def _collect(self, epoch: int) -> tuple[OpenedRound, TokenizedRows]:
        """What an epoch trains on, with its rows as tokens; on the main process."""
        opened = self.round_feed.collect(epoch)
        return replace(opened, rows=[]), tokenize_rows(self, opened.rows)

    @property
    def _by_length(self) -> bool:
        return self.args.train_sampling_strategy == "group_by_length"

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if not self._by_length:
            return super()._get_train_sampler(rows)
        if rows is self._round_dataset:
            return InOrder(rows)
        return ByLength(self._pool_lengths, self._at_a_time, self.args.seed)  # less the columns that are not used

    @property
    def _at_a_time(self) -> int:
        return self.args.train_batch_size * self.args.world_size

    def evaluate(  # type: ignore[override]
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """As `SFTTrainer.evaluate`; of sets of several targets, the weighted mean is `<prefix>_loss`."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        sets = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(sets, dict) and self._are_targets(sets):
            losses = {name: metrics[f"{metric_key_prefix}_{name}_loss"] for name in sets}
            mean = {f"{metric_key_prefix}_loss": weighted_mean(losses, self.data_collector.target_shares)}
            self.log(dict(mean))
            metrics |= mean
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _are_targets(self, sets: dict[str, Any]) -> bool:
        targets = self.data_collector.targets
        return len(targets) > 1 and set(sets) <= set(targets)

    def record_rewards(self, metrics: dict[str, float]) -> None:
        """Record the open round's rewards after an evaluation, on every process, if it has the metric that pays."""
        wanted = self.args.reward_metric
        if wanted not in metrics and (metrics or self.waits_for_evaluation):
            return  # one of several evaluation sets, another is awaited
        loss = metrics.get(wanted)
        context: dict[str, Any] = {"model": self.model}
        if len(self.data_collector.targets) > 1:
            losses = {name: metrics.get(f"eval_{name}_loss") for name in self.data_collector.targets}
            context["target_losses"] = {name: finite(value) for name, value in losses.items() if value is not None}
        logs = on_main(
            lambda: self.round_feed.record_rewards(loss, self._trained_rows, **context, **self._influence())
        )
        if logs:
            self.log(logs | self._cut)

    def _influence(self) -> dict[str, Any]:
        """What reward functions and values of pairs need of the model's gradients; called on the main process."""
        looks = "influence" in self.data_collector.stages
        if not looks and not self._values_pairs:
            return {}

        def batch(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
            collated = self.data_collator([dict(row) for row in rows])
            return {name: value.to(self.args.device) for name, value in collated.items()}

        sets: Any = self.eval_dataset
        paying = rewarding_sets(sets, self.args.reward_metric, self.data_collector.target_shares)
        told = influence_batches(self._arm_rows, paying, batch) if looks else {}
        if self._values_pairs:
            told["pair_influence"] = pair_influence(self.model, self._pair_rows, paying, batch)
        return told

    # -- plumbing --------------------------------------------------------------------------------------------------

    def wait_for_main(self) -> None:
        """Wait until the main process has done what it alone does, such as pushing; no time-out ends that."""
        on_main(lambda: None)

    def _count_cut(self, rows: TokenizedRows, cut: int, of: str) -> None:
        """Count rows that `max_length` cuts, and say so the first time."""
        if not (self.rows_cut or self.rows_lost) and self.is_world_process_zero():
            rows.warn(self.args.max_length, cut, of)
        self.rows_cut += cut
        self.rows_lost += len(rows.lost)
