"""Mistral-7B on mathematics: select, extract, train, publish, and compare with uniform selection.

    accelerate launch recipes/mistral_math.py                                     # reads recipes/mistral_math.yaml
    accelerate launch recipes/mistral_math.py --config mine.yaml --max_documents 5000

Nothing in here is about Mistral or mathematics: corpus, target, model and endpoint come from the YAML, and any key of
it is a flag too. Run it again after a stop and it goes on where it was; a folder with a finished run just reports it.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import AutoTokenizer, PrinterCallback
from trl import ModelConfig, get_peft_config, get_quantization_config

from equal_hf import EqualConfig, EqualError, EqualTrainer
from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.checks import checks, require
from equal_hf.cli.factories import make_collector, open_corpus
from equal_hf.cli.parse_config import parse_config
from equal_hf.publishing.background_push import RoundPublisher
from equal_hf.publishing.dataset import export_dataset
from equal_hf.publishing.hub import publish_dataset
from equal_hf.publishing.model_card import link_model_card
from equal_hf.records.json_files import write_json
from equal_hf.records.summary import format_summary
from equal_hf.target import Target, evaluation_sets, load_targets, target_shares, weighted_mean
from equal_hf.tracking.trackers import tracked
from equal_hf.training.evaluation import exact_match
from equal_hf.training.round_callbacks import PublishCallback
from equal_hf.utils.logging import set_up_terminal
from equal_hf.utils.printable import escape
from equal_hf.utils.redaction import mask_text

HERE = Path(__file__).parent


def main(argv: list[str]) -> None:
    run, args, model_args = parse_config(
        (RunArguments, EqualConfig, ModelConfig), argv, default=HERE / "mistral_math.yaml"
    )
    state = PartialState()
    set_up_terminal(is_main_process=state.is_main_process)
    output_dir = Path(args.output_dir)
    if state.is_main_process:
        require(checks(run, args, model_args, start=True))
        target_shares(run.by_name(), args.target_weights)
    state.wait_for_everyone()

    with state.main_process_first():
        corpus = open_corpus(run, args.output_dir, args.seed, build=state.is_main_process)
        targets = load_targets(run, args.seed)

    equal = train(run, args, model_args, corpus, targets)
    summary: dict[str, Any] = {"equal": equal}
    if run.control:
        summary[run.control] = train(run, control_args(args, equal), model_args, corpus, targets, control=run.control)

    if state.is_main_process:
        summary |= {
            "dataset": str(output_dir / "hub/dataset"),
            "model": str(output_dir / "hub/model"),
            "seed": args.seed,
        }
        write_json(output_dir / "summary.json", summary)
        export_dataset(output_dir, output_dir / "hub/dataset", summary=summary)
        if args.push_to_hub and run.hub_dataset_id:
            private = args.hub_private_repo
            with pushing("dataset", f"equal-hf publish {output_dir} --repo-id {run.hub_dataset_id}"):
                publish_dataset(output_dir, run.hub_dataset_id, private=private, summary=summary, token=args.hub_token)
        print(format_summary(summary), flush=True)


@contextmanager
def pushing(what: str, again: str) -> Iterator[None]:
    """Push something at the end of a run: what it found is on this machine, so a Hub that refuses does not fail it."""
    try:
        yield
    except Exception as error:  # whatever the Hub's client raises
        told = mask_text(str(error))
        logging.getLogger("equal_hf").error("The %s was not pushed: %s. To push it later: %s", what, told, again)


def train(
    run: RunArguments,
    args: EqualConfig,
    model_args: ModelConfig,
    corpus: Any,
    targets: dict[str, Target],
    control: str | None = None,
) -> dict[str, Any]:
    """One run from first round to test loss; what a finished one came to is read from its `result.json`."""
    began = time.monotonic()
    args.model_init_kwargs = {"revision": model_args.model_revision, "dtype": model_args.dtype}
    collector = make_collector(run, args, corpus, targets, control)
    collector.config = vars(run) | {
        "model": model_args.model_name_or_path,
        "command": ["accelerate", "launch", *sys.argv],
    }
    publishing = args.push_to_hub and run.hub_dataset_id and control is None
    result_path = Path(args.output_dir) / "result.json"
    trainer = EqualTrainer(
        model_args.model_name_or_path,
        args,
        data_collector=collector,
        eval_dataset=evaluation_sets(targets, "validation"),
        processing_class=AutoTokenizer.from_pretrained(
            model_args.model_name_or_path, revision=model_args.model_revision
        ),
        peft_config=get_peft_config(model_args),
        quantization_config=get_quantization_config(model_args),
    )
    trainer.remove_callback(PrinterCallback)  # a line a round says enough
    if publishing:
        publisher = RoundPublisher(
            args.output_dir,
            run.hub_dataset_id,
            every_s=run.hub_push_every_s,
            private=args.hub_private_repo,
            token=args.hub_token,
        )
        trainer.add_callback(PublishCallback(publisher))
    trainer.open_run()
    if result_path.exists():
        return json.loads(result_path.read_text())
    with tracked(args, name=control or "equal", config=collector.config, id=collector.records.run_id()):
        trainer.train(resume_from_checkpoint=True)

        measured = measure(trainer, targets, collector.target_shares)
        folder = trainer.export_model()
        if trainer.is_world_process_zero():
            link_model_card(folder, run.hub_dataset_id or "../dataset")
            history = collector.history
            result = {
                "documents": history.documents,
                "prompt_tokens": history.usage.prompt_tokens,
                "completion_tokens": history.usage.completion_tokens,
                "pairs": history.pairs,
                "rounds": trainer.rounds_trained,
                "steps": trainer.steps_trained,
                "pool_steps": trainer.pool_steps_trained,
                **measured,
                "wall_s": round(time.monotonic() - began, 1),
            }
            write_json(result_path, result)
        if args.push_to_hub:
            with pushing("model", f"hf upload {trainer.hub_model_id or args.hub_model_id or 'user/name'} {folder}"):
                trainer.push_to_hub(dataset_name=run.hub_dataset_id)
    trainer.accelerator.wait_for_everyone()
    collector.close()
    return json.loads(result_path.read_text())


def measure(trainer: EqualTrainer, targets: dict[str, Target], shares: dict[str, float]) -> dict[str, float]:
    """Loss on the test parts and, where items have a final result, exact match, and of each of several targets."""
    if (tests := evaluation_sets(targets, "test")) is None:
        return {}
    metrics = trainer.evaluate(tests, metric_key_prefix="test")
    measured = {"test_loss": metrics["test_loss"]}
    if len(targets) > 1:
        measured |= {f"test_loss_{name}": metrics[f"test_{name}_loss"] for name in tests}
    longest = min(trainer.args.max_length or 512, 512)
    matches = {
        name: exact_match(trainer.model, trainer.processing_class, target.test, max_new_tokens=longest)
        for name, target in targets.items()
        if target.test and all(item.final is not None for item in target.test)
    }
    if matches:
        measured["exact_match"] = weighted_mean(matches, shares)
        measured |= {f"exact_match_{name}": value for name, value in matches.items() if len(targets) > 1}
    return measured


def control_args(args: EqualConfig, equal: dict[str, Any]) -> EqualConfig:
    """Settings of the control: the same budget and, whatever it finds, as many training steps."""
    control = copy.deepcopy(args)
    control.output_dir = str(Path(args.output_dir) / "control")
    control.num_rounds, control.stop_when_finished = equal["rounds"], False
    control.pool_steps = equal["pool_steps"] or None
    control.push_to_hub = False
    return control


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except EqualError as error:
        lines = [escape(line) for line in str(error).splitlines()]  # it may quote what a server or a file said
        sys.exit(f"\n{type(error).__name__}: " + "\n".join(lines))
