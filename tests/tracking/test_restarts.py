"""Runs without a trainer that are tracked, killed with -9 and started again; and W&B where there is no network."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector, ExplicitExtractor
from equal_hf.records.run_folder import RoundRecords
from equal_hf.tracking.tracked_run import TrackedRun
from tests.processes import kill_when, run, start
from tests.tracking.trackio_file import trackio_rows
from tests.tracking.wandb_file import wandb_rows
from tests.world import make_target

# A run whose rounds take their time, in a process of its own.
COLLECT = """
import sys, time
from tests.tracking.test_restarts import collector_of
from equal_hf.tracking.tracked_run import TrackedRun
collector = collector_of(*sys.argv[1:3])
collector.open()
tracked = TrackedRun(collector, sys.argv[3:], project="restarts")
for round in collector.rounds():
    tracked.log(round)
    time.sleep(0.2)
tracked.close()
collector.close()
"""


def collector_of(world, folder, rounds: int = 4) -> EqualDataCollector:
    config = CollectorConfig(output_dir=str(folder), num_rounds=rounds, arms_per_round=2, documents_per_arm=4)
    corpus = ClusteredCorpus.load(Path(world) / "corpus")
    return EqualDataCollector(corpus, ExplicitExtractor(), args=config, reference=make_target().reference)


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {"WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "trackio"), "HF_HUB_OFFLINE": "1", **more}


def test_trackers_hold_what_the_records_hold_however_often_the_run_was_killed(world, tmp_path):
    output, log = tmp_path / "run", tmp_path / "log"
    arguments = ["-c", COLLECT, str(world), str(output), "wandb", "trackio"]
    process = start(arguments, log, **environment(tmp_path))
    assert kill_when(process, (output / "rounds/round-00002/rewards.json").exists), log.read_text()[-3000:]
    run(arguments, log, **environment(tmp_path))
    assert RoundRecords(output).indices() == [0, 1, 2, 3]
    assert len(list(output.glob("wandb/offline-run-*"))) == 1
    rows = [row for row in wandb_rows(output) if "equal/round" in row]
    assert [(row["equal/round"], row["_step"]) for row in rows] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert all("equal/arms" in row and "equal/clusters" in row for row in rows)
    found = [row["equal/round"] for _, row in trackio_rows(tmp_path / "trackio") if "equal/round" in row]
    assert sorted(found) == [0, 1, 2, 3]


def test_a_run_is_not_left_open_in_the_service_of_the_process_that_started_it(world, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    wandb.teardown()
    mine = wandb.init(project="parent", dir=str(tmp_path))  # as a notebook or a sweep's agent has one
    assert os.environ["WANDB_SERVICE"]
    try:
        arguments = ["-c", COLLECT, str(world), str(tmp_path / "run"), "wandb"]
        process = start(arguments, tmp_path / "log", **environment(tmp_path))
        mark = tmp_path / "run/rounds/round-00001/rewards.json"
        assert kill_when(process, mark.exists), (tmp_path / "log").read_text()[-3000:]
        said = run(arguments, tmp_path / "again", **environment(tmp_path))
    finally:
        mine.finish()
    assert "in use" not in said and "left out" not in said
    rows = [row["equal/round"] for row in wandb_rows(tmp_path / "run") if "equal/round" in row]
    assert rows == [0, 1, 2, 3]


def test_online_without_a_network_costs_a_line_and_not_the_run(world, tmp_path):
    arguments = ["-c", COLLECT, str(world), str(tmp_path / "run"), "wandb"]
    nowhere = {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "k" * 40}
    began = time.monotonic()
    said = run(arguments, tmp_path / "log", **environment(tmp_path, HOME=str(tmp_path), **nowhere))
    assert time.monotonic() - began < 60
    assert "W&B logs offline" in said and "Traceback" not in said
    rows = [row["equal/round"] for row in wandb_rows(tmp_path / "run") if "equal/round" in row]
    assert rows == [0, 1, 2, 3]


def test_a_tracker_that_cannot_start_is_left_out(world, tmp_path, monkeypatch, caplog):
    import trackio
    import wandb

    def broken(**settings):
        raise OSError("no room for it")

    monkeypatch.setattr(wandb, "init", broken)
    monkeypatch.setattr(trackio, "init", broken)
    collector = collector_of(world, tmp_path / "run", rounds=1)
    collector.open()
    tracked = TrackedRun(collector, ["wandb", "trackio"])
    for round in collector.rounds():
        assert tracked.log(round)["equal/round"] == 0
    tracked.close()
    assert caplog.text.count("no room for it") == 2
    assert "tracked_at" not in json.loads((tmp_path / "run/run.json").read_text())
