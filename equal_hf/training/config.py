"""`EqualConfig`: TRL's `SFTConfig` and the collector's settings in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from trl import SFTConfig

from equal_hf.collection.config import CollectorConfig
from equal_hf.errors import ConfigError
from equal_hf.utils.effective import AllNeeds

POOL_EPOCHS = 3.0  # as transformers' own default


@dataclass
class EqualConfig(SFTConfig, CollectorConfig):  # type: ignore[misc]
    """Settings of [`EqualTrainer`]: those of [`CollectorConfig`], those of `trl.SFTConfig`, and these.

    Args:
        closed_loop (`bool`, *optional*, defaults to `False`): Train after every round: one round is one epoch, and the
            evaluation at its end may pay rewards. Otherwise all rounds are collected first, by the rewards known
            at extraction, and the model is trained once on all pairs.
        rows_per_round (`int`, *optional*, defaults to `512`): Rows a round trains on in the closed loop, exactly: a
            sample of its own pairs, topped up by replay from earlier rounds.
        pool_epochs (`float`, *optional*): Epochs over all pairs after the last round; where left out 3, and none in
            the closed loop.
        pool_steps (`int`, *optional*): Exact optimizer steps of that training instead of `pool_epochs`; a control run
            is given those of the run it is compared with.
        reward_metric (`str`, *optional*, defaults to `"eval_loss"`): The metric whose drop pays the loss reward; with
            several targets that is the mean of their losses by `target_weights`, `"eval_<target>_loss"` one of them.
        reward_metric_rises (`bool`, *optional*): `True` where the metric is better when it is higher, such as an
            accuracy: its rise pays then, and it is recorded with its sign turned. Needed where the metric's name does
            not end in `loss`.
        stop_when_finished (`bool`, *optional*, defaults to `True`): Stop training when budget or corpus end before
            `num_rounds`; otherwise the rounds left train on replay.

    > These parameters have default values different from `trl.SFTConfig`:
    > - `lr_scheduler_type`: `"auto"`: `"cosine"`, and in the closed loop `"constant_with_warmup"`, since a decaying
    >   rate would show up there as a shrinking reward.
    > - `train_sampling_strategy`: `"group_by_length"`: batches of rows of like length, formed anew for each round or
    >   epoch. Of random ones more than half is padding.
    > - `eval_strategy`, `save_strategy`: `"epoch"`: rewards are recorded after a round's evaluation, and a run is
    >   resumed from the end of a round.
    > - `eval_on_start`: `True`: the first round's drop needs a loss to drop from.
    > - `hub_strategy`: `"end"`: what transformers pushes in the middle holds a pickle of the arguments.
    """

    # Settings of `trl.SFTConfig` that a run of rounds overrides or never reads, and why.
    without_effect: ClassVar[dict[str, str]] = {
        "num_train_epochs": "`pool_epochs` says it, and in the closed loop one round is one epoch",
        "max_steps": "the rounds decide how long training is; set `num_rounds`",
        "eval_delay": "a round's rewards are recorded after its evaluation; set `eval_strategy: no` for none",
        "eval_steps": "evaluation is at the end of a round",
        "resume_from_checkpoint": "a run goes on from the last checkpoint in `output_dir`",
        "shuffle_dataset": "a round's rows are sampled by seed already",
        "length_column_name": "a round's rows are tokenised here, so their lengths are known",
        "dataset_text_field": "rows are conversations",
        "hub_always_push": "the model is pushed at the end alone",
        "do_train": "a run trains",
        "do_eval": "`eval_strategy` says whether a run evaluates",
        "do_predict": "test items are measured at the end of a run, where the target has some",
        "include_for_metrics": "no metrics are computed but losses and exact match",
        "batch_eval_metrics": "no metrics are computed but losses and exact match",
    }

    needs: ClassVar[AllNeeds] = {
        "reward_metric": {"closed_loop": [True]},
        "reward_metric_rises": {"closed_loop": [True]},
    }

    lr_scheduler_type: str = field(
        default="auto",
        metadata={"help": "Learning rate schedule; auto is cosine, and constant_with_warmup in the closed loop."},
    )
    train_sampling_strategy: str = field(
        default="group_by_length", metadata={"help": "How batches are formed: rows of like length, or at random."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate; rounds need `epoch`."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    eval_on_start: bool = field(default=True, metadata={"help": "Evaluate before the first round."})
    hub_strategy: str = field(default="end", metadata={"help": "When to push the model; only at the `end`."})
    closed_loop: bool = field(
        default=False,
        metadata={
            "help": "Train after every round, whose evaluation may pay rewards; else once, when all is collected."
        },
    )
    rows_per_round: int = field(default=512, metadata={"help": "Rows a round trains on in the closed loop, exactly."})
    pool_epochs: float | None = field(
        default=None,
        metadata={"help": "Epochs over all pairs after the last round; left out, 3, and none in the closed loop."},
    )
    pool_steps: int | None = field(default=None, metadata={"help": "Exact steps of that training, for a control."})
    reward_metric: str = field(default="eval_loss", metadata={"help": "The metric whose drop pays the loss reward."})
    reward_metric_rises: bool | None = field(
        default=None, metadata={"help": "Whether `reward_metric` is better when it is higher; needed unless a loss."}
    )
    stop_when_finished: bool = field(
        default=True, metadata={"help": "Stop training when budget or corpus end before the rounds do."}
    )

    def __post_init__(self) -> None:
        CollectorConfig.__post_init__(self)
        if self.pool_epochs is None:
            self.pool_epochs = 0.0 if self.closed_loop else POOL_EPOCHS
        if self.lr_scheduler_type == "auto":
            self.lr_scheduler_type = "constant_with_warmup" if self.closed_loop else "cosine"
        if not (self.closed_loop or self.pool_epochs > 0 or self.pool_steps):
            raise ConfigError(
                f"`pool_epochs` is {self.pool_epochs}, which trains on nothing: raise it, or set `closed_loop: true` "
                "to train after every round, or use `equal-hf collect`, which trains nothing"
            )
        if self.rows_per_round < 1:
            raise ConfigError(f"`rows_per_round` is {self.rows_per_round}: set it to 1 or more")
        self._refuse_without_effect()
        self._refuse_unusable()
        super().__post_init__()

    def _refuse_unusable(self) -> None:
        """Refuse settings of `SFTConfig` that do not go with rounds."""
        refused: dict[str, tuple[Any, str]] = {
            "packing": (
                self.packing,
                "a step trains on so many rows, which packing would merge, and batches by length waste hardly more",
            ),
            "dataloader_persistent_workers": (
                self.dataloader_persistent_workers,
                "workers that outlive an epoch would go on serving the rows of the first round",
            ),
            "auto_find_batch_size": (
                self.auto_find_batch_size,
                "it would begin a round again with another batch size",
            ),
            "train_sampling_strategy": (
                self.train_sampling_strategy == "batch_rebalance",
                "it needs the lengths of all rows when training begins; `group_by_length` takes those of each round",
            ),
        }
        for name, (value, reason) in refused.items():
            if value:
                raise ConfigError(f"`{name}` cannot be used here: {reason}. Leave `{name}` out.")
        if str(getattr(self.eval_strategy, "value", self.eval_strategy)) == "steps":
            raise ConfigError(
                "`eval_strategy` is 'steps', but rewards are recorded at the end of a round: set it to 'epoch' or 'no'"
            )
        if self.reward_metric_rises is None and not self.reward_metric.endswith("loss"):
            raise ConfigError(
                f"`reward_metric` is {self.reward_metric!r}, which does not say whether more or less is better: set "
                "`reward_metric_rises` to true (as for an accuracy) or to false (as for a perplexity)"
            )
        strategy = str(getattr(self.hub_strategy, "value", self.hub_strategy))
        if self.push_to_hub and strategy != "end":
            raise ConfigError(
                f"`hub_strategy` is {strategy!r}, with which transformers pushes a pickle of all arguments, folders "
                "of this machine among them: set it to 'end', or leave it out"
            )

    def _refuse_without_effect(self) -> None:
        """Refuse settings that would change nothing; from a YAML they are refused with their defaults too."""
        defaults = {one.name: None if one.default is MISSING else one.default for one in fields(self)}
        # Set by this class and the trainer, in a config that may be copied.
        own = {"do_eval": True, "num_train_epochs": float(self.planned_rounds)}
        for name, reason in self.without_effect.items():
            value = getattr(self, name) or defaults[name]
            if value not in (defaults[name], own.get(name)):
                raise ConfigError(f"`{name}` has no effect here: {reason}. Leave it out.")
        if not self.closed_loop and self.rows_per_round != type(self).rows_per_round:
            raise ConfigError(
                "`rows_per_round` has no effect here: all rounds are collected first, and the model is trained once "
                "on all pairs. Leave it out, or set `closed_loop: true` to train after every round"
            )
        save = str(getattr(self.save_strategy, "value", self.save_strategy))
        if self.save_steps != type(self).save_steps and save != "steps":
            raise ConfigError(
                f"`save_steps` has no effect with `save_strategy` {save!r}: a checkpoint is saved after each round. "
                "Leave it out, or set `save_strategy: steps`"
            )

    def __getstate__(self) -> dict[str, Any]:
        # transformers pickles the arguments beside a model it saves; they are removed, but were on the disk by then.
        return self.__dict__ | {"hub_token": None}


@contextmanager
def pool_settings(args: EqualConfig, run_dir: Path) -> Iterator[None]:
    """The settings, inside the block, of the training on all pairs: in `pool/`, for its own epochs or steps.

    Args:
        args ([`EqualConfig`]): The trainer's settings.
        run_dir (`Path`): The run folder.
    """
    before = args.output_dir, args.num_train_epochs, args.max_steps, args.eval_on_start
    args.output_dir, args.num_train_epochs = str(run_dir / "pool"), args.pool_epochs or 1.0
    args.max_steps = args.pool_steps or -1
    args.eval_on_start = args.eval_on_start and not args.closed_loop  # after rounds the loss is known
    try:
        yield
    finally:
        args.output_dir, args.num_train_epochs, args.max_steps, args.eval_on_start = before
