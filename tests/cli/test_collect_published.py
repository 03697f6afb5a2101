"""A run that publishes as it goes, killed with -9 five times and cut off from the Hub: the rows are the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.collection.killed_collect import KILLED_PUSH_EVERY_S
from tests.processes import REPOSITORY, without_codes
from tests.servers.hub import HubServer
from tests.tracking.wandb_file import wandb_records

KILLS = 5
# Users are promised a minute: EQUAL_TEST_OUTAGE_S=60 waits for a whole one.
OUTAGE_S = float(os.environ.get("EQUAL_TEST_OUTAGE_S", "4"))


@pytest.fixture(scope="module")
def found(world: Path, hub_server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("published")
    settings = {
        "model_name_or_path": "unused",
        "corpus": str(world / "corpus"),
        "embedder": str(world / "embedder"),
        "target": str(world / "target"),
        "n_reference": 20,
        "extractor": "explicit",
        "reward_funcs": ["value"],
        "max_answer_characters": 58,  # which turns some pairs down
        "num_rounds": 9,
        "arms_per_round": 2,
        "documents_per_arm": 4,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "hub_private_repo": True,
    }
    (folder / "world.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "tests.collection.killed_collect", "--config", str(folder / "world.yaml")]
    command += ["--folder", str(folder), "--hub", hub_server.url]
    command += ["--kills", str(KILLS), "--outage_s", str(OUTAGE_S)]
    terminal = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", "WANDB_MODE": "offline"}
    environment = hub_server.env(folder / "home") | terminal
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300 + OUTAGE_S
    )
    assert done.returncode == 0, done.stderr[-4000:] + "".join(p.read_text() for p in folder.glob("*.log"))[-4000:]
    return json.loads(done.stdout.splitlines()[-1]) | {"folder": folder}


def test_a_token_that_may_only_read_is_found_out_before_the_run(found: dict):
    code, rounds, said = found["refused"]
    assert (code, rounds) == (1, 0)
    assert "this run cannot start" in said and "may only read" in said


def test_every_configuration_opens_and_holds_what_an_uninterrupted_run_holds(found: dict):
    assert (found["whole"], found["killed"], found["kills"]) == (0, 0, KILLS)
    whole = found["rows"]["whole"]
    assert {row["round"] for row in whole["decisions"]} == set(range(9)) and len(whole["default"]) > 50
    for name, rows in whole.items():
        assert found["rows"]["killed"][name] == rows, name


def test_commits_stay_within_the_set_limit(found: dict):
    times = found["commits"]["killed"]
    assert 2 <= len(times) <= found["killed_s"] / KILLED_PUSH_EVERY_S + 2
    *between, _ = [later - earlier for earlier, later in pairwise(times)]  # the last one does not wait
    # Pushes begin so far apart; how long each takes to its commit differs by much less.
    assert all(seconds > KILLED_PUSH_EVERY_S / 2 for seconds in between), between


def test_a_hub_that_is_unwell_costs_nothing_but_time(found: dict):
    assert found["outage"] == 0 and found["outage_s"] >= OUTAGE_S
    for name, rows in found["rows"]["whole"].items():
        assert found["rows"]["outage"][name] == rows, name
    assert "was not pushed to tester/outage" in found["outage_said"] and found["commits"]["outage"]


def test_run_and_dataset_name_each_other(found: dict):
    folder = found["folder"] / "outage"
    run = json.loads((folder / "run.json").read_text())
    assert f"- The run was tracked as `W&B huggingface/{run['id']}`." in (folder / "hub/dataset/README.md").read_text()
    pushed = json.loads((folder / "hub/published.json").read_text())
    assert pushed["url"].endswith("/datasets/tester/outage") and len(pushed["revision"]) == 40
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(path))
    told = {update.key or update.nested_key[0]: update.value_json for r in records for update in r.summary.update}
    assert (
        json.loads(told["dataset_url"]) == pushed["url"] and json.loads(told["dataset_revision"]) == pushed["revision"]
    )
    (report,) = [r.artifact for r in records if r.HasField("artifact") and r.artifact.type == "report"]
    assert json.loads(report.metadata) == {name: pushed[name] for name in ("url", "revision")}


def test_on_a_terminal_there_is_one_live_view(found: dict):
    shown = without_codes(found["whole_said"])
    for label in ("round", "clusters", "documents", "pairs", "dropped", "mean mixed reward", "speed", "time"):
        assert re.search(rf"^{label} +\S", shown, re.MULTILINE), label
    assert re.search(r"^.*whole round 8 \(9 of 9\): 8 documents \(72\), ", shown, re.MULTILINE), "lines stand above it"
    assert "clusters  " not in found["outage_said"], "plain lines where there is no terminal"
