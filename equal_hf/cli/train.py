"""`equal-hf train CONFIG`: select, extract, train, publish, and compare with uniform selection.

[`drive`] is the one driver of run, control and summary; `equal-hf collect` is the same without a trainer.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.utils.printable import only_results_on_stdout
from equal_hf.utils.redaction import mask_text

if TYPE_CHECKING:
    from trl import ModelConfig

    from equal_hf.cli.arguments import RunArguments
    from equal_hf.collection.collector import EqualDataCollector
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from equal_hf.publishing.background_push import RoundPublisher
    from equal_hf.target import Target
    from equal_hf.training.config import EqualConfig
    from equal_hf.training.trainer import EqualTrainer


@dataclass
class Job:
    """One run from first round to last: EQUAL, or its control.

    Args:
        run ([`RunArguments`]): Corpus, target, selection, extractor and repositories.
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`, *optional*): The model's; `None` for a run that trains none.
        corpus ([`ClusteredCorpus`]): Where documents are drawn from.
        targets (`Mapping[str, Target]`): The target tasks by name.
        policy (`str`, *optional*): The policy of a control.
        publisher ([`RoundPublisher`], *optional*): Pushes rounds as they complete.
    """

    run: RunArguments
    args: EqualConfig
    model: ModelConfig | None
    corpus: ClusteredCorpus
    targets: Mapping[str, Target]
    policy: str | None = None
    publisher: RoundPublisher | None = None

    @property
    def name(self) -> str:
        """What tells the run from its control."""
        return self.policy or "equal"


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


def drive(
    run: RunArguments, args: EqualConfig, model: ModelConfig | None, once: Callable[[Job], dict[str, Any]]
) -> dict[str, Any]:
    """Run, control and summary, on every process alike.

    Args:
        run ([`RunArguments`]): Corpus, target, selection, extractor and repositories.
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`, *optional*): The model's; `None` for a run that trains none.
        once (`Callable`): Does one run, and returns its measures: [`train`], or `collect`'s.

    Returns:
        `dict[str, Any]`: Measures by run, and where dataset and model are; of a run that stopped for a review,
        `review` alone: its lines.

    Raises:
        [`ConfigError`]: If something that the run needs is missing.
    """
    from accelerate import PartialState

    from equal_hf.cli.checks import checks, require
    from equal_hf.corpus.run_corpus import open_corpus
    from equal_hf.publishing.background_push import RoundPublisher
    from equal_hf.records.summary import with_untouched
    from equal_hf.target import load_targets
    from equal_hf.utils.distributed import Ranks
    from equal_hf.utils.logging import set_up_terminal

    state, output_dir = PartialState(), str(args.output_dir)
    set_up_terminal(is_main_process=state.is_main_process)
    with contextlib.closing(Ranks()) as ranks:
        ranks.once(lambda: require(checks(run, args, model, start=True)))
        corpus = open_corpus(run, output_dir, args.seed, ranks=ranks)  # which all processes build together
        targets = ranks.once(lambda: load_targets(run, args.seed))

    if model is None and not state.is_main_process:
        return {}  # rounds without a training are the work of one process; the others helped with the corpus

    publisher = None
    if args.push_to_hub and run.hub_dataset_id:
        publisher = RoundPublisher(
            output_dir,
            run.hub_dataset_id,
            every_s=run.hub_push_every_s,
            private=args.hub_private_repo,
            token=args.hub_token,
        )
    equal = Job(run, args, model, corpus, targets, publisher=publisher)
    summary = {"equal": once(equal)}
    if "review" in summary["equal"]:
        return summary["equal"]
    if model is not None:
        summary = with_untouched(output_dir, summary)
    if run.control:
        settings = control_settings(args, summary["equal"])
        summary[run.control] = once(replace(equal, args=settings, policy=run.control, publisher=None))
    return finish(equal, summary) if state.is_main_process else summary


def finish(job: Job, summary: dict[str, Any]) -> dict[str, Any]:
    """Write summary and dataset, and push the card that compares both runs.

    Args:
        job ([`Job`]): The run.
        summary (`dict[str, Any]`): Measures by run.
    """
    from equal_hf.publishing.dataset import export_dataset
    from equal_hf.publishing.hub import publish_dataset
    from equal_hf.publishing.hub_model import push_model
    from equal_hf.publishing.model_card import complete_model_card
    from equal_hf.records.json_files import write_json

    run, args = job.run, job.args
    output_dir = Path(str(args.output_dir))
    places = {"dataset": str(output_dir / "hub/dataset")}
    if job.model is not None:
        places["model"] = str(output_dir / "hub/model")
    compared = job.model is not None or run.control  # else there is no more to tell than the records do
    if compared:
        numbers = {
            name: {
                measure: value
                for measure, value in measures.items()
                if value is None or isinstance(value, int | float)
            }
            for name, measures in summary.items()
        }
        write_json(output_dir / "summary.json", {**numbers, **places, "seed": args.seed})
    export_dataset(output_dir)
    if job.model is not None:
        names = complete_model_card(output_dir)
        if args.push_to_hub:
            folder = output_dir / "hub" / "model"
            repo_id = args.hub_model_id or output_dir.absolute().name
            with pushing("model's card", f"hf upload {repo_id} {folder}"):
                private, message = args.hub_private_repo, "Results beside the control's"
                push_model(folder, repo_id, args.hub_token, names=names, private=private, message=message)
    if compared and args.push_to_hub and run.hub_dataset_id:
        with pushing("dataset", f"equal-hf publish {output_dir} --repo-id {run.hub_dataset_id}"):
            publish_dataset(output_dir, run.hub_dataset_id, private=args.hub_private_repo, token=args.hub_token)
    return summary | places


@contextmanager
def pushing(what: str, again: str) -> Iterator[None]:
    """Push something at the end of a run: its results are on this machine, so a Hub that refuses does not fail it.

    Args:
        what (`str`): What is pushed, for messages.
        again (`str`): The command that pushes it later.
    """
    try:
        yield
    except Exception as error:  # whatever the Hub's client raises
        message = mask_text(str(error))
        logging.getLogger("equal_hf").error("The %s was not pushed: %s. To push it later: %s", what, message, again)


def control_settings(args: EqualConfig, equal: Mapping[str, Any]) -> EqualConfig:
    """Settings of the control: the same budget and, whatever it finds, as many rounds and training steps.

    Args:
        args ([`EqualConfig`]): Settings of the run.
        equal (`Mapping[str, Any]`): Its measures.
    """
    control = copy.deepcopy(args)
    control.output_dir = str(Path(str(args.output_dir)) / "control")
    control.num_rounds, control.stop_when_finished = max(1, equal["rounds"]), False
    control.pool_steps = equal.get("pool_steps") or None
    control.stop_when = control.max_cost_per_useful_pair = None  # it ends with the run
    control.push_to_hub, control.review_after = False, None
    return control


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
        with tracked(args, name=job.name, config=collector.config, id=collector.records.run_id()):
            measure_before_training(trainer, job)
            trainer.train(resume_from_checkpoint=True)
            if trainer.waits_for_review:
                return {"review": reviewed(collector) if trainer.is_world_process_zero() else []}
            folder = trainer.export_model()
            measures = measure(trainer, job, TRAINED, weights_digest(trainer.model))
            dataset = last_push(str(args.output_dir)).get("repo_id")
            dataset = dataset or (run.hub_dataset_id if job.policy is None else None)  # the control's is its own
            if trainer.is_world_process_zero():
                policy = collector.selector.bandit.identity()["policy"]
                link_model_card(
                    folder,
                    dataset or "../dataset",
                    policy=policy,
                    run=collector.records.run(),
                    summary=with_untouched(trainer.run_dir, {job.policy or "equal": measures}),
                    repo_id=args.hub_model_id,
                )
                history = collector.history
                result = {
                    "documents": history.documents,
                    "prompt_tokens": history.usage.prompt_tokens,
                    "completion_tokens": history.usage.completion_tokens,
                    **collector.spending.summary(history),
                    "pairs": history.pairs,
                    **collector.found(),
                    "rounds": trainer.rounds_trained,
                    "steps": trainer.steps_trained,
                    "pool_steps": trainer.pool_steps_trained,
                    **measures,
                    "wall_s": round(time.monotonic() - began, 1),
                }
                write_json(result_path, result)
            if args.push_to_hub:
                again = f"hf upload {trainer.hub_model_id or args.hub_model_id or 'user/name'} {folder}"
                with pushing("model", again):
                    trainer.push_to_hub(dataset_name=dataset)
        trainer.wait_for_main()
        collector.close()
    return json.loads(result_path.read_text(encoding="utf-8"))


def reviewed(collector: EqualDataCollector) -> list[str]:
    """The review of a run that stopped for one, with its report written, as lines.

    Args:
        collector ([`EqualDataCollector`]): The run; its folder is free for another start afterwards.
    """
    from equal_hf.collection.review import review
    from equal_hf.report.write_report import write_report

    lines = review(collector)
    page = write_report(collector.records.run_dir)
    collector.close()
    return [
        *lines,
        "",
        f"report: {page}",
        "The run has stopped for its review. Start the same command again to go on; prompt, extractor and target may "
        "be changed before.",
    ]


def make_trainer(job: Job) -> EqualTrainer:
    """The trainer of a run, with its collector, its model and what publishes.

    Args:
        job ([`Job`]): The run, or its control.
    """
    from transformers import AutoTokenizer, PrinterCallback
    from trl import get_quantization_config

    from equal_hf.cli.factories import adapter_settings, make_collector, model_settings
    from equal_hf.target import evaluation_sets, has_annotations
    from equal_hf.training.round_callbacks import PublishCallback
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


def command_line() -> list[str]:
    """The command that started this process, as a person would write it."""
    program, *words = sys.argv
    if Path(program).name in ("equal-hf", "__main__.py"):
        return ["equal-hf", *words]
    return ["accelerate", "launch", program, *words]
