"""What would end a run later is found at its start: before a corpus is built, a call made or a round recorded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from equal_hf.cli import main
from tests.extraction.endpoints import MODELS
from tests.servers.faults import FaultyServer
from tests.world import make_target

LONG = "The sum of the apples and the coins of Ada is told of here. " * 20


@pytest.fixture
def start(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Starts a run with these keys changed; exit code and what it said."""

    def run(command: str = "train", **changes: Any) -> tuple[int, str]:
        settings = {
            "model_name_or_path": str(world / "model"),
            "corpus": str(world / "documents.parquet"),
            "embedder": str(world / "embedder"),
            "n_clusters": 5,
            "target": str(world / "target"),
            "n_reference": 20,
            "extractor": "explicit",
            "num_rounds": 1,
            "arms_per_round": 2,
            "documents_per_arm": 3,
            "closed_loop": True,
            "reward_funcs": ["value", "loss_drop"],
            "rows_per_round": 8,
            "max_length": 128,
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "output_dir": str(tmp_path / "run"),
        }
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(settings | changes))
        code = main([command, str(path)])
        return code, capsys.readouterr().err

    return run


def target(folder: Path, long_part: str | None = None, some: int = 1000) -> str:
    """The small world's target, with long questions in one part."""
    (folder / "data").mkdir(parents=True)
    for part in ("reference", "validation", "test"):
        rows = [
            {"question": (LONG if part == long_part and place < some else "") + item.question, "answer": item.answer}
            for place, item in enumerate(getattr(make_target(), part))
        ]
        pd.DataFrame(rows).to_parquet(folder / f"data/{part}-00000-of-00001.parquet")
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load_in_4bit": True, "use_peft": True}, "`load_in_4bit` needs bitsandbytes, which is not installed"),
        ({"load_in_8bit": True}, "needs bitsandbytes.*cannot be trained without an adapter; set `use_peft: true`"),
        ({"use_liger_kernel": True}, "`use_liger_kernel` needs liger-kernel"),
        ({"attn_implementation": "nonsense"}, "cannot be built as the settings say.*nonsense.*`attn_implementation`"),
        ({"model_init_kwargs": {"attn_implementation": "flash_attention_2"}}, "cannot be built as the settings say"),
        ({"dtype": "float31"}, "`dtype` is 'float31', which is no precision"),
        ({"use_peft": True, "lora_target_modules": ["nonsense", "more"]}, "cannot be built.*nonsense.*`lora_…`"),
        ({"model_name_or_path": None}, "`model_name_or_path` is not set; name a model"),
        ({"chat_template_path": "no/where"}, "no access to `chat_template_path` no/where"),
        ({"eos_token": "<nonsense>"}, "`eos_token` is '<nonsense>', which the vocabulary"),
        ({"closed_loop": False, "rows_per_round": 512}, "loss_drop waits for a training, and `closed_loop` is false"),
        ({"target_validation_split": None}, "names loss_drop, but no target has a validation part"),
        ({"eval_strategy": "no"}, "names loss_drop, but `eval_strategy` is 'no'"),
        ({"target_test_split": "exam"}, "`target_test_split`"),
        ({"reward_weights": [1.0]}, "`reward_weights` has 1 values for 2 reward functions"),
        ({"reward_funcs": ["value", "value"]}, "`reward_funcs` names one twice"),
        ({"reward_metric": "eval_gsm8k_loss"}, "`reward_metric` is 'eval_gsm8k_loss', which no evaluation gives"),
        ({"target_weights": [1.0, 2.0]}, "`target_weights` has 2 values for 1 targets"),
        ({"max_cost": 3.0}, "`max_cost` is set but nothing costs anything"),
        ({"report_to": ["tensorbored"]}, "`report_to` names 'tensorbored'; use .*wandb"),
        ({"report_to": ["mlflow"]}, "`report_to` names 'mlflow', which is not installed; pip install mlflow"),
        ({"decontaminate_against": ["no/where:test"]}, "no access to `decontaminate_against` no/where"),
        ({"extractor": "endpoint", "extractor_url": "http://127.0.0.1:9", "extractor_prompt": "no.jinja"}, "no.jinja"),
        ({"extractor": "endpoint"}, "no endpoint: `extractor_url` is not set"),
        ({"text_column": "body"}, "no column 'body'"),
        ({"corpus": "nothere/*.parquet"}, "nothing is at nothere|the glob matches nothing; correct the path"),
    ],
)
def test_it_is_one_line_and_nothing_is_done(start, tmp_path: Path, monkeypatch, changes: dict, message: str):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, said = start(**changes)
    assert code == 1 and "this run cannot start; " in said, said
    assert pd.Series([said]).str.contains(f"(?s){message}").all(), said
    assert not (tmp_path / "run" / "corpus").exists() and not (tmp_path / "run" / "rounds").exists()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_questions_that_all_fill_max_length(start, tmp_path: Path, part: str):
    source = target(tmp_path / "target", part)
    code, said = start(target=source)
    assert code == 1 and f"20 of 20 {part} questions of target 'target' fill `max_length` 128" in said
    assert f"there would be no {part} loss; raise `max_length` above " in said
    assert not (tmp_path / "run").exists()
    # What counts the question too has a loss.
    for changes in ({"completion_only_loss": False}, {"max_length": 2048}):
        assert main(["doctor", str(tmp_path / "run.yaml"), *(f"--{k}={v}" for k, v in changes.items())]) == 0


def test_questions_of_which_some_fill_max_length_are_told_by_doctor(start, tmp_path: Path, capsys):
    start(target=target(tmp_path / "target", "validation", some=5), reward_weights=[1.0])
    assert main(["doctor", str(tmp_path / "run.yaml"), "--reward_weights", "1", "1"]) == 0
    assert "5 of 20 validation questions of target 'target' fill `max_length` 128: they do not count" in (
        capsys.readouterr().out
    )


def test_a_run_without_a_trainer_needs_none_of_it(start, tmp_path: Path):
    code, said = start("collect", target=target(tmp_path / "target", "test"), attn_implementation="nonsense")
    assert code == 0, said


@pytest.mark.parametrize("key", ["output_dir", "corpus_dir", "response_store"])
def test_a_place_that_cannot_be_written_to(start, tmp_path: Path, key: str):
    (tmp_path / "file").write_text("")
    code, said = start("collect", **{key: str(tmp_path / "file" / "below" / "it")})
    assert code == 1 and f"{tmp_path / 'file'} is a file" in said and f"set `{key}` to another folder" in said


def test_what_costs_nothing_to_look_at_comes_before_a_request(start, tmp_path: Path):
    with FaultyServer(pages=MODELS) as server:
        (tmp_path / "file").write_text("")
        endpoint = {"extractor": "endpoint", "extractor_url": server.url}
        code, said = start("collect", **endpoint, max_cost=3.0, output_dir=str(tmp_path / "file"))
        assert code == 1 and "file is a file, where a folder is wanted" in said and "nothing costs anything" in said
        code, said = start("collect", **endpoint, text_column="body")
        assert code == 1 and "no column 'body'" in said and server.chats == []


def test_a_name_that_is_too_long(start):
    code, said = start("collect", output_dir="x" * 300)
    assert code == 1 and "cannot be used: File name too long; set `output_dir` to another" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(start, tmp_path: Path):
    (tmp_path / "locked").mkdir(mode=0o500)
    code, said = start("collect", output_dir=str(tmp_path / "locked" / "run"))
    assert code == 1 and "cannot be written to" in said
