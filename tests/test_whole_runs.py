"""Whole training runs in processes of their own: tracked, killed with -9, resumed."""

import json

import pytest

from tests.processes import digests, kill_when, run, start
from tests.wandb_file import wandb_records


@pytest.fixture(scope="module")
def uninterrupted(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    arguments = ["-m", "tests.train_world", "--world", str(world), "--output_dir", str(folder / "run")]
    run([*arguments, "--report_to", "wandb"], folder / "log", WANDB_MODE="offline")
    return folder / "run"


def test_wandb_holds_every_round_under_stable_names(uninterrupted):
    (path,) = uninterrupted.glob("wandb/offline-run-*/*.wandb")
    values: dict[str, list[float]] = {}
    for record in wandb_records(path):
        for item in record.history.item:
            key = item.key or "/".join(item.nested_key)
            values.setdefault(key, []).append(json.loads(item.value_json))
    names = "documents pairs arms_pulled prompt_tokens completion_tokens reward/transport/mean reward/loss_drop/mean "
    names += "reward/mixed/mean transport/cost eval_loss documents_total pairs_total"
    for name in names.split():
        assert len(values[f"train/equal/{name}"]) == 4, name
    assert values["train/equal/round"] == [0, 1, 2, 3]
    assert values["train/equal/documents_total"] == [12, 24, 36, 48]
    assert values["train/equal/eval_loss"] == values["eval/loss"][1:]


def test_killed_and_resumed_ends_with_the_same_records(world, tmp_path, uninterrupted):
    output, log = tmp_path / "run", tmp_path / "log"
    arguments = ["-m", "tests.train_world", "--world", str(world), "--output_dir", str(output)]
    # In the training of a round, in the writing of a checkpoint, and between the credit of a round and its checkpoint.
    for mark in ("rounds/round-00000/extracted", "checkpoint-6/model.safetensors", "rounds/round-00002/credited.json"):
        process = start(arguments, log)
        assert kill_when(process, lambda mark=mark: (output / mark).exists()), log.read_text()[-3000:]
    run(arguments, log)
    assert digests(output / "rounds") == digests(uninterrupted / "rounds")
    assert digests(output / "hub/model", "*.safetensors") == digests(uninterrupted / "hub/model", "*.safetensors")


def test_two_processes_in_one_folder_are_refused(world, tmp_path):
    from equal_hf.errors import ResumeError
    from equal_hf.publishing.rounds import RoundRecords

    first, second = RoundRecords(tmp_path), RoundRecords(tmp_path)
    assert first.open({"seed": 1}, {}) is False
    with pytest.raises(ResumeError, match="another process is running"):
        second.open({"seed": 1}, {})
    first.close()
    assert second.open({"seed": 1}, {}) is True
