"""One driver of run, control and summary: `equal-hf train` gives it a training, `equal-hf collect` a run without."""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.utils.redaction import mask_text

if TYPE_CHECKING:
    from trl import ModelConfig

    from equal_hf.cli.arguments import RunArguments
    from equal_hf.collection.collector import EqualDataCollector
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus
    from equal_hf.publishing.background_push import RoundPublisher
    from equal_hf.target.items import Target
    from equal_hf.training.config import EqualConfig


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
    from equal_hf.target.load import load_targets
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


def command_line() -> list[str]:
    """The command that started this process, as a person would write it."""
    program, *words = sys.argv
    if Path(program).name in ("equal-hf", "__main__.py"):
        return ["equal-hf", *words]
    return ["accelerate", "launch", program, *words]
