"""Whether the settings of a run fit each other: the collector's, the trainer's and the trackers'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from equal_hf.cli.machine_checks import Check
from equal_hf.errors import ConfigError

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.training.config import EqualConfig

NO_PRICES = (
    "`max_cost` is set but nothing costs anything",
    "set `price_per_million_prompt_tokens` and `price_per_million_completion_tokens`, and an endpoint",
)


def check_settings_fit(run: RunArguments, args: EqualConfig) -> Iterator[Check]:
    """Whether settings of the run and of the collector fit each other.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
    """
    from equal_hf.selection.config import REWARD_FUNCTIONS
    from equal_hf.selection.rewards import stage_of
    from equal_hf.target.shares import target_shares
    from equal_hf.training.reward_needs import refuse_sharded
    from equal_hf.utils.hub_repository import check_repository_name

    try:
        target_shares(run.by_name(), args.target_weights)
    except ConfigError as error:
        yield Check("settings", "problem", str(error))
    for name, repo_id in (("hub_dataset_id", run.hub_dataset_id), ("hub_model_id", args.hub_model_id)):
        try:
            if repo_id is not None:
                check_repository_name(repo_id, f"`{name}`")
        except ConfigError as error:
            yield Check("settings", "problem", str(error))
    weights, rewards = args.reward_weights, run.reward_funcs
    if weights is not None and len(weights) != len(rewards):
        found = f"`reward_weights` has {len(weights)} values for {len(rewards)} reward functions"
        yield Check("settings", "problem", found, "give one each")
    if len(set(rewards)) != len(rewards):
        yield Check("settings", "problem", f"`reward_funcs` names one twice: {', '.join(rewards)}", "name each once")
    if args.max_cost is not None and run.extractor != "endpoint":
        yield Check("settings", "problem", *NO_PRICES)
    try:
        functions = [REWARD_FUNCTIONS[name] for name in rewards if name in REWARD_FUNCTIONS]
        refuse_sharded(functions, args, pairs="influence" in args.pair_values)
    except ConfigError as error:
        yield Check("settings", "problem", str(error))
    late = [name for name in rewards if name in REWARD_FUNCTIONS and stage_of(REWARD_FUNCTIONS[name]) == "evaluated"]
    if late and not args.closed_loop:
        found = f"{', '.join(late)} waits for a training, and `closed_loop` is false: all is collected before one"
        yield Check("settings", "problem", found, "set `closed_loop: true`, or leave it out")
    if "influence" in args.pair_values and not args.closed_loop:
        found = "`pair_values` names influence, which only a training after every round tells"
        yield Check("settings", "problem", found, "leave it out, or train with `closed_loop: true`")
    losses = {"eval_loss", *(f"eval_{name}_loss" for name in run.by_name())}
    if args.reward_metric.endswith("_loss") and args.reward_metric not in losses:
        found = f"`reward_metric` is {args.reward_metric!r}, which no evaluation gives"
        yield Check("settings", "problem", found, f"set it to one of {', '.join(sorted(losses))}")


def check_waiting(run: RunArguments, args: EqualConfig) -> Iterator[Check]:
    """What it means for training that a round takes as long as a provider's batch.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
    """
    if run.extractor != "endpoint" or not run.endpoint.batch:
        return
    if args.closed_loop and args.feedback_lag == 0:
        found = "a round is a batch that may take 24 hours, and with `feedback_lag: 0` the trainer waits for it"
        yield Check("settings", "note", found, "leave `feedback_lag` out, and the next round is extracted meanwhile")


def check_trackers(args: EqualConfig, train: bool) -> Iterator[Check]:
    """Whether what `report_to` names can be logged to.

    Args:
        args ([`EqualConfig`]): The trainer's settings.
        train (`bool`): Whether a model is trained; a run without a trainer knows W&B and trackio alone.
    """
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    known = INTEGRATION_TO_CALLBACK if train else {"wandb", "trackio"}
    installed = get_available_reporting_integrations()
    for name in args.report_to or []:
        if name in ("none", "all", "wandb"):  # W&B has a check of its own
            continue
        if name not in known:
            yield Check(
                "tracker", "problem", f"`report_to` names {name!r}", f"use {', '.join(sorted(known))}, or none"
            )
        elif name not in installed:
            yield Check(
                "tracker", "problem", f"`report_to` names {name!r}, which is not installed", f"pip install {name}"
            )
