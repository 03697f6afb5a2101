"""A run that is killed with -9 and started again ends with the same records, byte for byte."""

import pytest

from tests.processes import digests, kill_when, run, start

EXTRACTED = "rounds/round-{:05d}/extracted/round.json"
CREDITED = "rounds/round-{:05d}/credited.json"


@pytest.fixture(scope="module")
def uninterrupted(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(["-m", "tests.train_world", "--world", str(world), "--output_dir", str(folder / "run")], folder / "log")
    return folder / "run"


def kill_and_resume(world, tmp_path, marks):
    output, log = tmp_path / "run", tmp_path / "log"
    arguments = ["-m", "tests.train_world", "--world", str(world), "--output_dir", str(output)]
    for mark in marks:
        process = start(arguments, log)
        assert kill_when(process, lambda mark=mark: any(output.glob(mark))), log.read_text()[-3000:]
    run(arguments, log)
    return output


@pytest.mark.parametrize(
    "marks",
    [
        pytest.param([EXTRACTED.format(0), CREDITED.format(2)], id="in training, then before the checkpoint"),
        pytest.param(["rounds/round-00001", "checkpoint-9/model.safetensors"], id="in the middle of writing"),
    ],
)
def test_killed_and_resumed_ends_with_the_same_records(world, tmp_path, uninterrupted, marks):
    resumed = kill_and_resume(world, tmp_path, marks)
    assert digests(resumed / "rounds") == digests(uninterrupted / "rounds")
    assert digests(resumed / "hub/model") == digests(uninterrupted / "hub/model")


def test_a_finished_run_started_again_changes_nothing(world, tmp_path, uninterrupted):
    before = digests(uninterrupted / "rounds")
    arguments = ["-m", "tests.train_world", "--world", str(world), "--output_dir", str(uninterrupted)]
    run(arguments, tmp_path / "log")
    assert digests(uninterrupted / "rounds") == before


def test_two_processes_in_one_folder_are_refused(world, tmp_path):
    from equal_hf.errors import ResumeError
    from equal_hf.publishing.rounds import RoundRecords

    first, second = RoundRecords(tmp_path), RoundRecords(tmp_path)
    assert first.open({"seed": 1}, {}) is False
    with pytest.raises(ResumeError, match="another process is running"):
        second.open({"seed": 1}, {})
    first.close()
    assert second.open({"seed": 1}, {}) is True
