"""Whole training runs in processes of their own: tracked, killed with -9, resumed."""

import json
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from tests.processes import digests, kill_when, run, run_on_terminal, start
from tests.servers import spawn
from tests.tracking.trackio_file import trackio_artifact, trackio_rows
from tests.tracking.wandb_file import wandb_records, wandb_rows

SCALARS = (
    "arms_pulled documents documents_total pairs pairs_total prompt_tokens prompt_tokens_total completion_tokens "
    "completion_tokens_total requests requests_total rejected eval_loss transport/distance reward/transport/mean "
    "reward/loss_drop/mean reward/mixed/mean reward/mixed/min reward/mixed/max"
).split()
ARM_COLUMNS = ["cluster", "pulls", "mean_reward", "uncertainty", "documents", "documents_left", "pairs", "top_terms"]


def offline(folder: Path) -> dict[str, str]:
    return {"WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "trackio"), "HF_HUB_OFFLINE": "1"}


def on_main(world: Path, folder: Path) -> list[str]:
    arguments = ["-m", "tests.training.train_world", "--world", str(world), "--output_dir", str(folder / "run")]
    return [*arguments, "--trackers", "wandb", "trackio"]


@pytest.fixture(scope="module")
def uninterrupted(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    said = run(on_main(world, folder), folder / "log", **offline(folder))
    assert "run round 3 (4 of 4): 12 documents (48), " in said and "evaluation loss" in said
    return folder


def test_wandb_holds_every_scalar_table_and_the_report(uninterrupted):
    rows = [row for row in wandb_rows(uninterrupted / "run") if "equal/round" in row]
    assert [row["equal/round"] for row in rows] == [0, 1, 2, 3]
    assert [row["equal/documents_total"] for row in rows] == [12, 24, 36, 48]
    for row in rows:
        assert row.keys() >= {f"equal/{name}" for name in SCALARS}
        assert row["equal/arms"]["_type"] == row["equal/pairs_sample"]["_type"] == "table-file"
        assert row["equal/clusters"]["_type"] == "image-file"
    assert not any(name.startswith("train/equal") for row in wandb_rows(uninterrupted / "run") for name in row)
    losses = [row["eval/loss"] for row in wandb_rows(uninterrupted / "run") if "eval/loss" in row]
    assert [row["equal/eval_loss"] for row in rows] == losses[1:]
    (files,) = (uninterrupted / "run").glob("wandb/offline-run-*/files")
    arms = json.loads((files / rows[-1]["equal/arms"]["path"]).read_text())
    assert arms["columns"] == ARM_COLUMNS and sum(row[4] for row in arms["data"]) == 48
    samples = json.loads((files / rows[-1]["equal/pairs_sample"]["path"]).read_text())
    assert len(samples["data"]) == 12 and samples["columns"][-2:] == ["question", "answer"], "an arm of a round each"
    assert (files / rows[-1]["equal/clusters"]["path"]).read_bytes().startswith(b"\x89PNG")
    (path,) = (uninterrupted / "run").glob("wandb/offline-run-*/*.wandb")
    records = [record.artifact for record in wandb_records(path) if record.HasField("artifact")]
    (report,) = [artifact for artifact in records if artifact.type == "report"]
    assert {entry.path for entry in report.manifest.contents} >= {"report.html", "clusters.png", "pulls.png"}


def test_trackio_holds_them_too(uninterrupted):
    found = trackio_rows(uninterrupted / "trackio")
    rows = [row for _, row in found if "equal/round" in row]
    assert [row["equal/round"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        assert row.keys() >= {f"equal/{name}" for name in SCALARS}
        assert row["equal/arms"]["_type"] == row["equal/pairs_sample"]["_type"] == "trackio.table"
        assert row["equal/clusters"]["_type"] == "trackio.image"
    assert "report.html" in trackio_artifact(uninterrupted / "trackio", "report")


def test_killed_and_resumed_ends_with_the_same_records(world, tmp_path, uninterrupted):
    output, log = tmp_path / "run", tmp_path / "log"
    arguments, environment = on_main(world, tmp_path), offline(tmp_path)
    # In the training of a round, in the writing of a checkpoint, and between a round's rewards and its checkpoint.
    for mark in ("rounds/round-00000/extracted", "checkpoint-6/model.safetensors", "rounds/round-00002/rewards.json"):
        process = start(arguments, log, **environment)
        assert kill_when(process, lambda mark=mark: (output / mark).exists()), log.read_text()[-3000:]
    shown = run_on_terminal(arguments, **environment)
    assert digests(output / "rounds") == digests(uninterrupted / "run/rounds")
    assert digests(output / "hub/model", "*.safetensors") == digests(uninterrupted / "run/hub/model", "*.safetensors")

    # One live view, with what the run is at; what is said meanwhile stands above it.
    for label in (
        "round",
        "clusters",
        "documents",
        "pairs",
        "mean mixed reward",
        "evaluation loss",
        "training",
        "speed",
        "time",
    ):
        assert re.search(rf"^{label} +\S", shown, re.MULTILINE), label
    assert re.search(r"^training +step \d+ of 12$", shown, re.MULTILINE)
    assert re.search(r"^.*run round 3 \(4 of 4\): 12 documents \(48\), ", shown, re.MULTILINE)

    # One run, however often it was started.
    identity = json.loads((output / "run.json").read_text())["id"]
    records = [record for path in output.glob("wandb/*/*.wandb") for record in wandb_records(path)]
    assert {record.run.run_id for record in records if record.HasField("run")} == {identity}
    # What was killed were the trackers' own processes too, with what they had not written yet; it is logged again, and
    # of the folders that W&B begins with every start the last one is left, with all of it.
    assert len(list(output.glob("wandb/offline-run-*"))) == 1
    rows, whole = wandb_rows(output), wandb_rows(uninterrupted / "run")
    assert [row["equal/round"] for row in rows if "equal/round" in row] == [0, 1, 2, 3]
    losses, wanted = ([row["eval/loss"] for row in found if "eval/loss" in row] for found in (rows, whole))
    assert losses == wanted, "none twice"
    found = trackio_rows(tmp_path / "trackio")
    assert {name for name, _ in found} == {f"run-world-{identity[:8]}"}
    assert sorted(row["equal/round"] for _, row in found if "equal/round" in row) == [0, 1, 2, 3]


def test_a_round_that_is_collected_ahead_is_cancelled_with_the_run_and_paid_once(world, tmp_path):
    output, log = tmp_path / "run", tmp_path / "log"
    with spawn("tests.servers.load", "--latency-s", "1.5", "--slots", "4") as url:
        arguments = ["-m", "tests.training.train_world", "--world", str(world), "--output_dir", str(output)]
        arguments += ["--endpoint", url, "--filters", "duplicate", "--rewards", "transport"]
        arguments += ["--num_rounds", "2"]

        def stats() -> dict[str, float]:
            return json.loads(urllib.request.urlopen(f"{url}/stats", timeout=30).read())

        def is_ahead() -> bool:
            """The next round is being extracted, and the training of this one has ended."""
            return (output / "checkpoint-3/trainer_state.json").exists() and stats()["in_flight"] == 4

        process = start(arguments, log)
        assert kill_when(process, is_ahead, number=signal.SIGTERM), log.read_text()[-3000:]
        assert process.returncode == 143 and "terminated" in log.read_text()
        assert RoundRecords(output).indices() == [0]
        assert (before := stats())["abandoned"] == 0, "what was under way was waited for"
        assert before["answered"] < 2 * 12, "and nothing more was asked for"
        said = run(arguments, tmp_path / "again")
        after = stats()
    assert "run round 1 (2 of 2)" in said and RoundRecords(output).indices() == [0, 1]
    store = ResponseStore(output / "responses.sqlite")
    paid = store.paid(RunFile(output).run_id())
    assert (paid.usage.requests, paid.unanswered) == (2 * 12, 0), "each document once"
    assert sum(line.usage.requests for line in store.lines()) == after["answered"], "and all of it is in the books"
    store.close()


def test_a_run_goes_on_with_another_number_of_processes_but_not_with_another_batch(world, tmp_path):
    def arguments(*flags: str, processes: int = 1) -> list[str]:
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
        run = ["-m", "tests.training.train_world", "--world", str(world), "--output_dir", str(tmp_path / "run")]
        return [*launcher, *run, "--rewards", "transport", *flags]  # no reward that waits for an evaluation

    rounds, log = tmp_path / "run/rounds", tmp_path / "log"
    process = start(arguments(), log)
    assert kill_when(process, (tmp_path / "run/checkpoint-6/trainer_state.json").exists), log.read_text()[-3000:]
    recorded = digests(rounds, "round-0000[01]/**/*")

    refused = start(arguments(processes=2), log := tmp_path / "refused")
    assert refused.wait(200) != 0
    words = "an effective batch of 8 rows .* and it is 16 now.* with 2 processes .* product is 4"
    assert re.search(words, log.read_text(), re.DOTALL), log.read_text()[-3000:]

    # The second process waits for the first, which extracts for longer than a collective would wait.
    slow = ("--first_extraction_s", "13", "--collectives_wait_s", "10")
    said = run(arguments("--per_device_train_batch_size", "4", *slow, processes=2), tmp_path / "resumed")
    assert digests(rounds, "round-0000[01]/**/*") == recorded
    assert len(list(rounds.glob("*/extracted"))) == len(list(rounds.glob("*/rewards.json"))) == 4
    rewards = [json.loads((rounds / f"round-{index:05d}/rewards.json").read_text()) for index in range(4)]
    assert all(sum(record["metrics"]["trained_rows"]) > 0 for record in rewards), "every round was trained on"
    assert "run round 3 (4 of 4)" in said
    state = json.loads((tmp_path / "run/checkpoint-12/trainer_state.json").read_text())
    assert (state["global_step"], state["stateful_callbacks"]["EqualTrainer"]["attributes"]["rounds"]) == (12, 4)
