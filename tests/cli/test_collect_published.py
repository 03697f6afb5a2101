"""A run that publishes as it goes, killed with -9 five times and cut off from the Hub: the rows are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.killed_collect import PUSH_EVERY_S
from tests.processes import REPOSITORY
from tests.servers.hub import HubServer

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
        "reward_funcs": ["worth"],
        "max_answer_characters": 58,  # which turns some pairs down
        "num_rounds": 9,
        "arms_per_round": 2,
        "documents_per_arm": 4,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
    }
    (folder / "world.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "tests.killed_collect", "--config", str(folder / "world.yaml")]
    command += ["--folder", str(folder), "--hub", hub_server.url]
    command += ["--kills", str(KILLS), "--outage_s", str(OUTAGE_S)]
    environment = hub_server.env(folder / "home")
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300 + OUTAGE_S
    )
    assert done.returncode == 0, done.stderr[-4000:] + "".join(p.read_text() for p in folder.glob("*.log"))[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


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
    assert 2 <= found["commits"]["killed"] <= found["killed_s"] / PUSH_EVERY_S + 2


def test_a_hub_that_is_unwell_costs_nothing_but_time(found: dict):
    assert found["outage"] == 0 and found["outage_s"] >= OUTAGE_S
    for name, rows in found["rows"]["whole"].items():
        assert found["rows"]["outage"][name] == rows, name
    assert "was not pushed to tester/outage" in found["outage_said"] and found["commits"]["outage"] >= 1
