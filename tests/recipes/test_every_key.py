"""Every key of the recipes' YAMLs for a run changes what it is meant to change, where that is used: a key of no effect
would be a promise that nothing keeps. (The keys of an index are shown by tests/corpus/indexing.)"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from transformers import ProgressCallback
from transformers.integrations import WandbCallback

from equal_hf.cli import main
from equal_hf.cli.checks import require
from equal_hf.cli.drive import Job
from equal_hf.cli.factories import make_extractor
from equal_hf.cli.hub_checks import check_publishing
from equal_hf.cli.index_arguments import IndexArguments
from equal_hf.cli.parse_config import parse_run
from equal_hf.cli.train import make_trainer
from equal_hf.corpus.run_corpus import open_corpus
from equal_hf.records.run_folder import RoundRecords
from equal_hf.target import load_targets
from equal_hf.training.step_lines import StepLines
from equal_hf.types import Document
from tests.extraction.endpoints import MODELS, completion
from tests.processes import REPOSITORY
from tests.servers.faults import FaultyServer

KEYS = {
    key
    for path in (REPOSITORY / "recipes").glob("*.yaml")
    if not path.name.startswith("cluster_")
    for key in yaml.safe_load(path.read_text(encoding="utf-8"))
}
MORE_KEYS = {"hub_model_id", "hub_dataset_id"}  # which stand there as comments


@pytest.fixture(scope="module")
def base(world: Path, tmp_path_factory) -> dict[str, Any]:
    return {
        "model_name_or_path": str(world / "model"),
        "dtype": "float32",
        "corpus": str(world / "corpus"),
        "embedder": str(world / "embedder"),
        "target": str(world / "target"),
        "n_reference": 20,
        "extractor": "explicit",
        "reward_funcs": ["transport", "loss_drop"],
        "closed_loop": True,
        "num_rounds": 2,
        "arms_per_round": 2,
        "documents_per_arm": 3,
        "rows_per_round": 16,
        "per_device_train_batch_size": 8,
        "max_length": 128,
        "learning_rate": 2.0e-3,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "logging_steps": 50,
        "output_dir": str(tmp_path_factory.mktemp("every") / "run"),
    }


@pytest.fixture
def parsed(base, tmp_path):
    """The settings of the base with these keys changed."""

    def parse(**changes: Any) -> tuple[Any, Any, Any]:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(base | changes))
        return parse_run(path, [])

    return parse


@pytest.fixture
def trainer(parsed, tmp_path):
    """The trainer that the recipe makes, from a YAML with these keys changed."""

    def make(**changes: Any) -> Any:
        run, args, model = parsed(output_dir=tempfile.mkdtemp(dir=tmp_path), **changes)
        targets = load_targets(run, args.seed)
        return make_trainer(Job(run, args, model, open_corpus(run, args.output_dir, args.seed), targets))

    return make


def has(trainer: Any, callback: type) -> bool:
    return any(isinstance(one, callback) for one in trainer.callback_handler.callbacks)


def rate(trainer: Any, step: int) -> float:
    trainer.create_optimizer_and_scheduler(num_training_steps=10)
    for _ in range(step):
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    return trainer.optimizer.param_groups[0]["lr"]


def evaluation_batches(trainer: Any) -> int:
    return len(trainer.get_eval_dataloader())


PEFT = {"use_peft": True, "lora_target_modules": ["q_proj"]}
# Of the trainer: the key's new value, what else it takes, and what is seen in the trainer.
TRAINER: dict[str, tuple[Any, dict[str, Any], Callable[[Any], Any], Any]] = {
    "dtype": ("bfloat16", {}, lambda t: str(t.model.dtype), "torch.bfloat16"),
    "attn_implementation": ("eager", {}, lambda t: t.model.config._attn_implementation, "eager"),
    "use_peft": (True, {}, lambda t: type(t.model).__name__, "PeftModelForCausalLM"),
    "lora_r": (3, PEFT, lambda t: t.model.peft_config["default"].r, 3),
    "lora_alpha": (5, PEFT, lambda t: t.model.peft_config["default"].lora_alpha, 5),
    "lora_target_modules": (
        ["v_proj"],
        PEFT,
        lambda t: {name.split(".")[-2] for name, _ in t.model.named_modules() if name.endswith("lora_A")},
        {"v_proj"},
    ),
    "reward_funcs": (["yield"], {}, lambda t: [*t.data_collector.stages], ["yield"]),
    "reward_weights": ([1.0, 0.5], {}, lambda t: t.data_collector.reward_weights["loss_drop"], 0.5),
    "feedback_lag": (1, {}, lambda t: t.data_collector.feedback_lag, 1),
    "rows_per_round": (24, {}, lambda t: len(t.train_dataset), 24),
    "learning_rate": (1e-4, {}, lambda t: rate(t, 0), 1e-4),
    "warmup_steps": (5, {}, lambda t: rate(t, 1), 2e-3 / 5),
    "per_device_train_batch_size": (4, {}, lambda t: len(t.get_train_dataloader()), 4),
    "per_device_eval_batch_size": (2, {}, evaluation_batches, 10),
    "max_length": (40, {}, lambda t: max(len(row["input_ids"]) for row in t.eval_dataset), 40),
    "n_validation": (7, {}, lambda t: len(t.eval_dataset), 7),
    "target_validation_split": ("test", {}, lambda t: t.eval_dataset[0]["input_ids"], None),
    "target_test_split": ("validation", {}, lambda t: t.data_collector.fingerprint()["protected"], None),
    "target_reference_split": ("validation", {}, lambda t: t.data_collector.fingerprint()["reference"], None),
    "n_reference": (5, {}, lambda t: len(t.data_collector.reference), 5),
    "max_prompt_tokens": (500, {}, lambda t: t.data_collector.collect(0).usage.prompt_tokens <= 500, True),
    "disable_tqdm": (False, {}, lambda t: has(t, ProgressCallback) or has(t, StepLines), True),
    "report_to": (["wandb"], {}, lambda t: has(t, WandbCallback), True),
    "gradient_checkpointing": (True, {}, lambda t: t.args.gradient_checkpointing, True),
    "bf16": (True, {}, lambda t: t.args.bf16, True),
    "ddp_timeout": (60, {}, lambda t: t.args.ddp_timeout_delta.total_seconds(), 60.0),
    "seed": (7, {}, lambda t: t.data_collector.fingerprint()["seed"], 7),
}


@pytest.mark.parametrize("key", TRAINER)
def test_it_reaches_the_trainer(key: str, trainer):
    value, with_it, look, wanted = TRAINER[key]
    without, changed = look(trainer(**with_it)), look(trainer(**with_it | {key: value}))
    assert without != changed
    if wanted is not None:
        assert changed == (pytest.approx(wanted) if isinstance(wanted, float) else wanted)


def test_use_cpu_is_a_device(parsed):
    assert parsed(use_cpu=True)[1].device.type == "cpu" and parsed(use_cpu=True)[1].use_cpu


def test_names_of_model_and_template(trainer, world: Path, tmp_path: Path):
    other = tmp_path / "model"
    other.symlink_to(world / "model")
    assert trainer(model_name_or_path=str(other)).model.config.name_or_path == str(other)
    template = tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    assert trainer(chat_template_path=str(template)).processing_class.chat_template == template.read_text()


def test_where_documents_come_from(parsed, world: Path, tmp_path: Path):
    documents = pd.read_parquet(world / "documents.parquet").rename(columns={"id": "name"})
    documents.to_parquet(tmp_path / "documents.parquet")
    changes = {"corpus": str(tmp_path / "documents.parquet"), "id_column": "name", "n_clusters": 2}
    run, args, _ = parsed(output_dir=str(tmp_path / "run"), **changes)
    corpus = open_corpus(run, args.output_dir, args.seed)
    assert len(corpus.sizes) == 2 and corpus.sizes.sum() == len(documents)
    assert {document.id for document in corpus.draw(0, 3)} <= set(documents["name"])
    assert corpus.embedder_name == str(world / "embedder")


def test_a_configuration_of_the_hub_is_asked_for(parsed):
    run, *_ = parsed(target="a/b", target_config="main", corpus="c/d", corpus_config="web")
    assert run.by_name()["target"] | {"source": "a/b", "name": "main"} == run.by_name()["target"]
    assert (run.corpus, run.corpus_config) == ("c/d", "web")


def test_what_the_endpoint_is_asked(parsed, tmp_path: Path):
    (tmp_path / "prompt.jinja").write_text("Ask about {{ document }}.")
    with FaultyServer(pages=MODELS, faults=[completion()] * 9) as server:
        changes = {"extractor": "endpoint", "extractor_url": server.url, "extractor_max_new_tokens": 77}
        changes |= {"extractor_body": {"repeat_penalty": 1.5}, "extractor_prompt": str(tmp_path / "prompt.jinja")}
        changes |= {"extractor_model_revision": "v9", "extractor_load_timeout_s": 7}
        run, args, _ = parsed(**changes, extractor_concurrency=3)
        extractor: Any = make_extractor(run, str(tmp_path), seed=args.seed)
        extractor.extract([Document("a", "Water boils at 100 degrees.")])
        assert server.chats[-1].body["max_tokens"] == 77
        assert server.chats[-1].body["repeat_penalty"] == 1.5
        assert server.chats[-1].body["messages"][0]["content"] == "Ask about Water boils at 100 degrees.."
        (endpoint,) = extractor.describe()["endpoints"]
        assert (endpoint["max_concurrent"], extractor.identity()["model_revision"]) == (3, "v9")
        assert extractor.config.load_timeout_s == 7
        extractor.close()


def test_where_a_run_publishes(parsed, hub, tmp_path: Path):
    from huggingface_hub import HfApi

    names = {"hub_model_id": "tester/every-model", "hub_dataset_id": "tester/every-dataset"}
    assert list(check_publishing(*parsed(**names))) == [], "not without push_to_hub"
    require(check_publishing(*parsed(push_to_hub=True, output_dir=str(tmp_path / "run"), **names)))
    assert HfApi().model_info("tester/every-model") and HfApi().dataset_info("tester/every-dataset")


@pytest.fixture
def hub():
    import os

    from tests.servers.hub import HubServer

    with HubServer() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.env(Path(os.environ.get("HOME", "/tmp"))).items():
            if name.startswith("HF_"):
                patch.setenv(name, value)
        patch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        yield server


def test_how_long_a_run_is_and_what_it_leaves(base, tmp_path: Path, capsys):
    """Two runs that differ in all of these keys, each of which shows elsewhere."""
    changed = {
        "num_rounds": 3,
        "arms_per_round": 3,
        "documents_per_arm": 2,
        "max_documents": 17,
        "pool_epochs": 1,
        "gradient_accumulation_steps": 2,
        "logging_steps": 1,
        "save_total_limit": 1,
        "control": "uniform",
        "output_dir": str(tmp_path / "changed"),
    }
    shown = []
    for changes in ({"output_dir": str(tmp_path / "plain")}, changed):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(base | changes))
        assert main(["train", str(path), "--json"]) == 0, capsys.readouterr().err
        folder = Path(str(changes["output_dir"]))
        records = RoundRecords(folder)
        rounds = [records.load(index) for index in records.indices()]
        state = max(folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
        losses = [entry for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]
        summary = json.loads((folder / "summary.json").read_text())
        shown.append(
            {
                "num_rounds": len(rounds),
                "arms_per_round": len(rounds[0].decisions),
                "documents_per_arm": len(rounds[0].decisions[0].documents),
                "max_documents": sum(round.documents for round in rounds),
                "gradient_accumulation_steps": summary["equal"]["steps"] / len(rounds),
                "pool_epochs": summary["equal"]["pool_steps"] > 0,
                "logging_steps": len(losses) >= len(rounds),
                "save_total_limit": len(list(folder.glob("checkpoint-*"))),
                "control": "uniform" in summary,
            }
        )
    assert shown[0] == {
        "num_rounds": 2,
        "arms_per_round": 2,
        "documents_per_arm": 3,
        "max_documents": 12,
        "gradient_accumulation_steps": 2.0,
        "pool_epochs": False,
        "logging_steps": False,
        "save_total_limit": 2,
        "control": False,
    }
    assert shown[1] == {
        "num_rounds": 3,
        "arms_per_round": 3,
        "documents_per_arm": 2,
        "max_documents": 17,
        "gradient_accumulation_steps": 1.0,
        "pool_epochs": True,
        "logging_steps": True,
        "save_total_limit": 1,
        "control": True,
    }


def test_in_which_order_a_run_collects_and_trains(base, parsed, tmp_path: Path, capsys):
    loop = {name: base[name] for name in ("closed_loop", "rows_per_round", "reward_funcs")}
    path = tmp_path / "run.yaml"
    once = {name: value for name, value in base.items() if name not in loop} | {"output_dir": str(tmp_path / "once")}
    path.write_text(yaml.safe_dump(once | {"num_rounds": 1, "pool_epochs": 1}))
    assert main(["train", str(path), "--json"]) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)["equal"]
    assert told["steps"] == 0 < told["pool_steps"]
    assert parsed()[1].closed_loop and parsed()[1].lr_scheduler_type == "constant_with_warmup"


def test_no_key_is_left_out():
    """Each key of the YAMLs is changed by a test above, or is a key of an index."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert {key for key in KEYS | MORE_KEYS if f'"{key}"' not in source and f"{key}=" not in source} == set()
    of_index = {field.name for field in fields(IndexArguments)} | {"output_dir", "seed"}
    assert set(yaml.safe_load((REPOSITORY / "recipes/cluster_automathtext.yaml").read_text())) <= of_index
