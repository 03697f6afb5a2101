"""`equal-hf collect CONFIG`: select and extract, and train nothing; no GPU, no model, the data alone."""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from equal_hf.errors import ConfigError, ExtractionError

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.cli.drive import Job
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.types import Round

logger = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    """Add `collect` to the commands."""
    parser = subparsers.add_parser(
        "collect",
        help="collect pairs without a trainer: no GPU, no model",
        description="Select clusters and extract pairs, round by round, without a trainer. Takes the recipe's YAML, "
        "and ignores its model and the rewards that need a training. Any key of the YAML can be given as a "
        "flag. Run the same command again after a stop to go on.",
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
    from accelerate import PartialState

    from equal_hf.cli.drive import drive
    from equal_hf.cli.parse_config import parse_run
    from equal_hf.records.summary import format_summary
    from equal_hf.utils.logging import set_up_terminal
    from equal_hf.utils.printable import only_results_on_stdout

    with only_results_on_stdout():
        settings, collector_args, _ = parse_run(args.config, args.settings)
        set_up_terminal(is_main_process=PartialState().is_main_process)
        settings = without_training(settings, collector_args)
        summary = drive(settings, collector_args, None, collect)
    if not summary:
        return 0
    if "review" in summary:
        print(json.dumps(summary, indent=2) if args.json else format_summary(summary))
        return 0
    result = {"dataset": summary["dataset"]} | summary["equal"]
    if settings.control:
        result["control"] = summary[settings.control]
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {_rounded(value)}")
    return 0


def without_training(run: RunArguments, args: CollectorConfig) -> RunArguments:
    """The arguments less the rewards that wait for a training; what is left decides the same records as in a trainer.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`CollectorConfig`]): The settings, whose `reward_weights` are shortened to fit.

    Raises:
        [`ConfigError`]: If no reward is left.
    """
    from equal_hf.selection.config import PER_COST, REWARD_FUNCTIONS
    from equal_hf.selection.rewards import stage_of

    names = run.reward_funcs
    known = [stage_of(REWARD_FUNCTIONS[name.removesuffix(PER_COST)]) == "extracted" for name in names]
    left_out = [name for name, keep in zip(names, known, strict=True) if not keep]
    if not any(known):
        raise ConfigError(
            f"every reward in `reward_funcs` ({', '.join(left_out)}) waits for a training: add `value` or `transport`"
        )
    if left_out:
        logger.info("Left out of `reward_funcs`, as they wait for a training: %s", ", ".join(left_out))
    if args.reward_weights is not None and len(args.reward_weights) == len(names):
        args.reward_weights = [weight for weight, keep in zip(args.reward_weights, known, strict=True) if keep]
    return replace(run, reward_funcs=[name for name, keep in zip(names, known, strict=True) if keep])


def collect(job: Job) -> dict[str, Any]:
    """Collect from first round to last.

    Args:
        job ([`Job`]): The run, or its control; the collector's part of its settings counts.

    Raises:
        [`ExtractionError`]: If not a single pair came of the whole run.
    """
    from equal_hf.cli.collect_rounds import collect_rounds
    from equal_hf.cli.drive import command_line, reviewed
    from equal_hf.cli.factories import make_collector
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.records.statistics import mean
    from equal_hf.utils.settings import take

    config = take(CollectorConfig, job.args)
    collector = make_collector(job.run, config, job.corpus, job.targets, job.policy)
    collector.config = vars(job.run) | {"command": command_line(), "given": getattr(job.args, "given", None)}
    collector.require_no_trainer()
    rewards: dict[str, list[float | None]] = {}
    reasons: Counter[str] = Counter()

    def count(round: Round) -> None:
        record = collector.records.reward_record(round.index) or {"rewards": {}}
        for name, values in record["rewards"].items():
            rewards.setdefault(name, []).extend(values)
        reasons.update(round.dropped)

    try:
        url = collect_rounds(
            collector, job.args.report_to or [], job.publisher, project=job.args.project, kind=job.name, each=count
        )
        if collector.waits_for_review:
            return {"review": reviewed(collector)}
    finally:
        collector.close()
    history = collector.history
    if not history.pairs and job.policy is None:
        raise ExtractionError(_nothing_came(str(config.output_dir), history.documents, reasons))
    return {
        "run": str(config.output_dir),
        "rounds": history.rounds,
        "documents": history.documents,
        "pairs": history.pairs,
        **collector.found(),
        "prompt_tokens": history.usage.prompt_tokens,
        "completion_tokens": history.usage.completion_tokens,
        **collector.spending.summary(history),
        **{f"mean_{name}": mean(values) for name, values in rewards.items()},
    } | ({"dataset": url} if url is not None else {})


def _rounded(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) and abs(value) < 10 else value


def _nothing_came(run_dir: str, documents: int, reasons: Counter[str]) -> str:
    if not documents:
        return (
            "no document was drawn: what is left of `max_prompt_tokens`, `max_completion_tokens` or `max_cost` is "
            "less than one document may take: raise it"
        )
    listed = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(5)) or "documents state none"
    return (
        f"not a single pair came of {documents:,} documents ({listed}). Look with `equal-hf inspect {run_dir}`: "
        "another extractor, prompt, corpus or target may fit"
    )
