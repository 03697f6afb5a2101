"""`equal-hf train CONFIG`: select, extract, train, publish, and compare with uniform selection."""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.cli.drive import Job, command_line, drive, pushing, reviewed
from equal_hf.utils.printable import only_results_on_stdout

if TYPE_CHECKING:
    from equal_hf.training.trainer import EqualTrainer


def add_parser(subparsers: Any) -> None:
    """Add `train` to the commands."""
    parser = subparsers.add_parser(
        "train",
        help="do it all: select, extract, train, compare",
        description="Select documents and extract their pairs, round by round, then train on all of them (with "
        "`closed_loop` after every round); publish, and repeat with uniform selection if `control` asks for it. Any "
        "key of the YAML can be given as a flag. Run the same command again after a stop to go on.",
        epilog="example: equal-hf train recipes/mistral_math.yaml --max_documents 2000 (on several GPUs: accelerate "
        "launch -m equal_hf train CONFIG)",
    )
    parser.add_argument("config", help="the recipe's YAML")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, takes_settings=True)


def run(args: argparse.Namespace) -> int:
    """Train, and print what it came to.

    Raises:
        [`ConfigError`]: If the configuration is wrong, or something that the run needs is missing.
    """
    from accelerate import PartialState

    from equal_hf.cli.parse_config import parse_run
    from equal_hf.records.summary import format_summary

    with only_results_on_stdout():
        summary = drive(*parse_run(args.config, args.settings), train)
    if PartialState().is_main_process:
        print(json.dumps(summary, indent=2) if args.json else format_summary(summary), flush=True)
    return 0


def train(job: Job) -> dict[str, Any]:
    """Train from first round to test loss; what a finished run came to is read from its `result.json`.

    Args:
        job ([`Job`]): The run, or its control.
    """
    from equal_hf.cli.collect_rounds import collect_rounds
    from equal_hf.publishing.model_card import link_model_card
    from equal_hf.publishing.previous_export import last_push
    from equal_hf.records.json_files import write_json
    from equal_hf.records.summary import TRAINED, with_untouched
    from equal_hf.tracking.trackers import TRACKERS, tracked
    from equal_hf.training.main_process import on_main
    from equal_hf.training.measures import weights_digest

    began = time.monotonic()
    run, args, trainer = job.run, job.args, make_trainer(job)
    collector = trainer.data_collector
    trainer.open_run()
    result_path = Path(str(args.output_dir)) / "result.json"
    if not result_path.exists():
        if not args.closed_loop:
            report_to = [name for name in args.report_to or [] if name in TRACKERS]
            collected = partial(collect_rounds, collector, report_to, job.publisher, goes_on=True)
            on_main(lambda: collected(project=args.project, kind=job.name))
        with tracked(args, name=job.name, config=collector.config, id=collector.run_file.run_id()):
            measure_before_training(trainer, job)
            trainer.train(resume_from_checkpoint=True)
            if trainer.waits_for_review:
                return {"review": reviewed(collector) if trainer.is_world_process_zero() else []}
            folder = trainer.export_model()
            measures = measure(trainer, job, TRAINED, weights_digest(trainer.model))
            dataset = last_push(str(args.output_dir)).get("repo_id")
            dataset = dataset or (run.hub_dataset_id if job.policy is None else None)  # the control's is its own
            if trainer.is_world_process_zero():
                link_model_card(
                    folder,
                    dataset or "../dataset",
                    policy=collector.selector.bandit.identity()["policy"],
                    run=collector.run_file.read(),
                    summary=with_untouched(trainer.run_dir, {job.name: measures}),
                    repo_id=args.hub_model_id,
                )
                wall_s = round(time.monotonic() - began, 1)
                write_json(result_path, {**used_and_found(trainer), **measures, "wall_s": wall_s})
            if args.push_to_hub:
                again = f"hf upload {trainer.hub_model_id or args.hub_model_id or 'user/name'} {folder}"
                with pushing("model", again):
                    trainer.push_to_hub(dataset_name=dataset)
        trainer.wait_for_main()
        collector.close()
    return json.loads(result_path.read_text(encoding="utf-8"))


def used_and_found(trainer: EqualTrainer) -> dict[str, Any]:
    """What a run used and found, as `result.json` says it.

    Args:
        trainer ([`EqualTrainer`]): The trainer, done.
    """
    collector, history = trainer.data_collector, trainer.data_collector.history
    return {
        "documents": history.documents,
        "prompt_tokens": history.usage.prompt_tokens,
        "completion_tokens": history.usage.completion_tokens,
        **collector.spending.summary(history),
        "pairs": history.pairs,
        **collector.found(),
        "rounds": trainer.rounds_trained,
        "steps": trainer.steps_trained,
        "pool_steps": trainer.pool_steps_trained,
    }


def make_trainer(job: Job) -> EqualTrainer:
    """The trainer of a run, with its collector, its model and what publishes.

    Args:
        job ([`Job`]): The run, or its control.
    """
    from transformers import AutoTokenizer, PrinterCallback, ProgressCallback
    from trl import get_quantization_config

    from equal_hf.cli.factories import adapter_settings, make_collector, model_settings
    from equal_hf.target.evaluation_sets import evaluation_sets
    from equal_hf.target.items import has_annotations
    from equal_hf.training.round_callbacks import PublishCallback
    from equal_hf.training.step_lines import StepLines
    from equal_hf.training.trainer import EqualTrainer
    from equal_hf.utils.hub_retry import wait_for_hub

    run, args, model = job.run, job.args, job.model
    assert model is not None
    name = str(model.model_name_or_path)
    args.model_init_kwargs = model_settings(model, args.model_init_kwargs)
    collector = make_collector(run, args, job.corpus, job.targets, job.policy)
    collector.config = vars(run) | {"model": name, "command": command_line(), "given": getattr(args, "given", None)}
    revision = args.model_init_kwargs["revision"]

    def tokenizer() -> Any:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=args.trust_remote_code)

    trainer = EqualTrainer(
        name,
        args,
        data_collector=collector,
        eval_dataset=evaluation_sets(job.targets, "validation", annotations=run.target_annotations),
        processing_class=wait_for_hub(tokenizer, f"loading the tokenizer of {name}"),
        peft_config=adapter_settings(model),
        quantization_config=get_quantization_config(model),
    )
    if (
        run.target_annotations == "strip"
        and trainer.waits_for_evaluation
        and has_annotations(job.targets, "validation")
    ):
        collector.extra_fingerprint["target_annotations"] = "strip"  # else as it was before it could be set
    trainer.remove_callback(PrinterCallback)  # a line a round says enough
    if not sys.stderr.isatty():
        trainer.remove_callback(ProgressCallback)  # a log would get hundreds of its lines
        if not args.disable_tqdm:
            trainer.add_callback(StepLines())
    if job.publisher is not None:
        trainer.add_callback(PublishCallback(job.publisher))
    return trainer


def measure_before_training(trainer: EqualTrainer, job: Job) -> None:
    """Have the untouched model measured before its first step; a control has the one of its run.

    Args:
        trainer ([`EqualTrainer`]): The trainer.
        job ([`Job`]): The run.
    """
    from equal_hf.records.summary import UNTOUCHED
    from equal_hf.training.measures import UntouchedCallback

    model = job.model
    if job.policy is not None or model is None or not job.run.measure_untouched:
        return
    bits = "4" * model.load_in_4bit + "8" * model.load_in_8bit
    identity = " ".join(map(str, filter(None, (model.model_name_or_path, model.model_revision, model.dtype, bits))))
    measuring = partial(measure, trainer, job, UNTOUCHED, identity)
    trainer.add_callback(UntouchedCallback(trainer, measuring, identity))


def measure(trainer: EqualTrainer, job: Job, stage: str, model: str) -> dict[str, float]:
    """Loss on the test parts and, where items have a final result, exact match, and of each of several targets.

    Args:
        trainer ([`EqualTrainer`]): The trainer.
        job ([`Job`]): The run.
        stage (`str`): `"untouched"` or `"trained"`.
        model (`str`): What tells the model from others.
    """
    from equal_hf.training.measures import measure_model

    annotations = job.run.target_annotations
    return measure_model(trainer, job.targets, job.run, stage=stage, model=model, annotations=annotations)
