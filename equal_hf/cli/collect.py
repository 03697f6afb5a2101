"""`equal-hf collect CONFIG`: select and extract, and train nothing; no GPU, no model, the data alone."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from equal_hf.errors import ConfigError

logger = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    """Add `collect` to the commands."""
    parser = subparsers.add_parser(
        "collect",
        help="collect data without training on it",
        description="Select clusters and extract pairs, round by round, without a trainer. Takes the recipe's YAML; "
        "rewards that wait for a training are left out, and so is the model. Any key of the YAML can be given as a "
        "flag. Started again, it goes on where it was.",
        epilog="example: equal-hf collect recipes/mistral_math.yaml --output_dir runs/data --max_documents 2000",
    )
    parser.add_argument("config", help="the recipe's YAML")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, takes_settings=True)


def run(args: argparse.Namespace) -> int:
    """Collect, export the dataset, and print what it came to.

    Raises:
        [`ConfigError`]: If the configuration is wrong, or no reward is left without a trainer.
    """
    with contextlib.redirect_stdout(sys.stderr):  # libraries greet on standard output; that is for the result alone
        found = _collect(args)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}")
    return 0


def _collect(args: argparse.Namespace) -> dict[str, Any]:
    from trl import ModelConfig

    from equal_hf.cli.arguments import RunArguments
    from equal_hf.cli.checks import checks, require
    from equal_hf.cli.factories import open_corpus
    from equal_hf.cli.parse_config import parse_config
    from equal_hf.publishing.background_push import RoundPublisher
    from equal_hf.publishing.dataset import export_dataset
    from equal_hf.records.json_files import write_json
    from equal_hf.target import load_targets, target_shares
    from equal_hf.training.config import EqualConfig
    from equal_hf.utils.logging import set_up_terminal

    settings: tuple[RunArguments, EqualConfig, Any] = parse_config(
        (RunArguments, EqualConfig, ModelConfig), ["--config", args.config, *args.settings], args.config
    )
    what, how, _ = settings
    set_up_terminal(is_main_process=True)
    what, how = without_training(what, how)
    folder = str(how.output_dir)
    require(checks(what, how, start=True))
    target_shares(what.by_name(), how.target_weights)
    corpus, targets = open_corpus(what, folder, how.seed), load_targets(what, how.seed)
    publisher = None
    if how.push_to_hub and what.hub_dataset_id:
        publisher = RoundPublisher(
            folder,
            what.hub_dataset_id,
            every_s=what.hub_push_every_s,
            private=how.hub_private_repo,
            token=how.hub_token,
        )
    found = _rounds(what, how, corpus, targets, None, publisher)
    if what.control:
        control = replace_output(how, Path(folder) / "control", found["rounds"])
        found["control"] = _rounds(what, control, corpus, targets, what.control, None)
        measures = {name: value for name, value in found.items() if isinstance(value, int | float)}
        against = {name: found["control"][name] for name in measures if name in found["control"]}
        write_json(Path(folder) / "summary.json", {"equal": measures, what.control: against})
        if publisher is not None:  # the card on the Hub tells of the control too
            publisher.close()
    dataset = export_dataset(folder)
    return {"dataset": str(dataset)} | found


def without_training(what: Any, how: Any) -> tuple[Any, Any]:
    """The settings less the rewards that wait for a training; what is left decides the same records as in a trainer.

    Raises:
        [`ConfigError`]: If no reward is left.
    """
    from equal_hf.selection.config import REWARD_FUNCTIONS
    from equal_hf.selection.rewards import stage_of

    stages = [stage_of(REWARD_FUNCTIONS[name.removesuffix("_per_cost")]) for name in what.reward_funcs]
    kept = [place for place, stage in enumerate(stages) if stage == "extracted"]
    left_out = [name for place, name in enumerate(what.reward_funcs) if place not in kept]
    if not kept:
        raise ConfigError(
            f"every reward in `reward_funcs` ({', '.join(left_out)}) waits for a training: add `value` or `transport`"
        )
    if left_out:
        logger.info("Left out of `reward_funcs`, as they wait for a training: %s", ", ".join(left_out))
    if how.reward_weights is not None and len(how.reward_weights) == len(what.reward_funcs):
        how.reward_weights = [how.reward_weights[place] for place in kept]
    return replace(what, reward_funcs=[what.reward_funcs[place] for place in kept]), how


def replace_output(how: Any, folder: Path, rounds: int) -> Any:
    """Settings of a control: another folder, as many rounds."""
    import copy

    control = copy.copy(how)
    control.output_dir, control.num_rounds = str(folder), max(1, rounds)
    return control


def _rounds(what: Any, how: Any, corpus: Any, targets: Any, policy: str | None, publisher: Any) -> dict[str, Any]:
    """One run from first round to last: what it came to."""
    from equal_hf.cli.factories import make_collector
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.records.statistics import mean
    from equal_hf.tracking.progress_view import RunView
    from equal_hf.tracking.tracked_run import TrackedRun

    config = CollectorConfig(**{field.name: getattr(how, field.name) for field in fields(CollectorConfig)})
    collector = make_collector(what, config, corpus, targets, policy)
    collector.config = vars(what) | {"command": ["equal-hf", *sys.argv[1:]]}
    recorded = collector.open().rounds
    tracked = TrackedRun(collector, how.report_to, project=how.project, kind=policy or "equal")
    rewards: dict[str, list[float | None]] = {}
    try:
        with RunView(config, Path(config.output_dir).name, extractor=collector.extractor) as view:
            for round in collector.rounds():
                metrics = tracked.log(round)
                for name, values in (collector.records.reward_record(round.index) or {"rewards": {}})[
                    "rewards"
                ].items():
                    rewards.setdefault(name, []).extend(values)
                view.show(metrics, recorded=round.index < recorded)
                if publisher is not None:
                    publisher.notify()
        # Before trackers are told where the dataset is, and at which revision.
        url = publisher.close() if publisher is not None else None
    finally:
        tracked.close()
        collector.close()
    history = collector.history
    return {
        "run": str(config.output_dir),
        "rounds": history.rounds,
        "documents": history.documents,
        "pairs": history.pairs,
        "prompt_tokens": history.usage.prompt_tokens,
        "completion_tokens": history.usage.completion_tokens,
        **{f"mean_{name}": mean(values) for name, values in rewards.items()},
    } | ({"dataset": url} if url is not None else {})
