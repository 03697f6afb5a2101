"""A run that is killed with -9 and started again ends with the same records, byte for byte."""

import pytest

from tests.processes import digests, kill_when, run, start


@pytest.fixture(scope="module")
def uninterrupted(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(["-m", "tests.train_world", "--world", str(world), "--output_dir", str(folder / "run")], folder / "log")
    return folder / "run"


def test_killed_and_resumed_ends_with_the_same_records(world, tmp_path, uninterrupted):
    output, log = tmp_path / "run", tmp_path / "log"
    arguments = ["-m", "tests.train_world", "--world", str(world), "--output_dir", str(output)]
    # In the training of a round, in the writing of a checkpoint, and between the credit of a round and its checkpoint.
    for mark in ("rounds/round-00000/extracted", "checkpoint-6/model.safetensors", "rounds/round-00002/credited.json"):
        process = start(arguments, log)
        assert kill_when(process, lambda mark=mark: (output / mark).exists()), log.read_text()[-3000:]
    run(arguments, log)
    assert digests(output / "rounds") == digests(uninterrupted / "rounds")
    assert digests(output / "hub/model") == digests(uninterrupted / "hub/model")


def test_two_processes_in_one_folder_are_refused(world, tmp_path):
    from equal_hf.errors import ResumeError
    from equal_hf.publishing.rounds import RoundRecords

    first, second = RoundRecords(tmp_path), RoundRecords(tmp_path)
    assert first.open({"seed": 1}, {}) is False
    with pytest.raises(ResumeError, match="another process is running"):
        second.open({"seed": 1}, {})
    first.close()
    assert second.open({"seed": 1}, {}) is True
