"""Metrics under their names, and what W&B and trackio really wrote, read back from their files."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from equal_hf.errors import ConfigError, MissingDependencyError
from equal_hf.tracking.metrics import round_metrics
from equal_hf.tracking.trackers import RunTracker, keep_trackio_local
from equal_hf.types import Decision, Rejection, Round, Usage
from tests.tracking.wandb_file import wandb_records

ROOT = Path(__file__).parents[2]
SECRET = "hf_" + "s" * 34

ROUND = Round(
    index=4,
    decisions=(Decision(7, 0.5, ("a", "b")), Decision(9, 0.25, ("c",))),
    pairs=(),
    usage=Usage(100, 20, 3),
    rewards={"transport": [0.38, None]},
    rejected=(Rejection("a", "duplicate"), Rejection("b", "duplicate"), Rejection("c", "empty")),
)
CREDITED = {
    "index": 4,
    "rewards": {"transport": [0.38, None], "loss_drop": [0.5, 0.25]},
    "mixed": [0.75, -0.25],
    "metrics": {"eval_loss": 2.5, "trained_rows": [1, 2]},
}


def test_a_round_is_told_in_numbers():
    metrics = round_metrics(ROUND, CREDITED, {"pairs": 12, "prompt_tokens": 900})
    assert metrics == {
        "equal/round": 4,
        "equal/arms_pulled": 2,
        "equal/documents": 3,
        "equal/pairs": 0,
        "equal/prompt_tokens": 100,
        "equal/cached_tokens": 0,
        "equal/reasoning_tokens": 0,
        "equal/completion_tokens": 20,
        "equal/requests": 3,
        "equal/rejected": 3,
        "equal/dropped/duplicate": 2,
        "equal/dropped/empty": 1,
        "equal/reward/transport/mean": 0.38,
        "equal/reward/transport/min": 0.38,
        "equal/reward/transport/max": 0.38,
        "equal/reward/loss_drop/mean": 0.375,
        "equal/reward/loss_drop/min": 0.25,
        "equal/reward/loss_drop/max": 0.5,
        "equal/reward/mixed/mean": 0.25,
        "equal/reward/mixed/min": -0.25,
        "equal/reward/mixed/max": 0.75,
        "equal/transport/distance": 0.5,
        "equal/eval_loss": 2.5,
        "equal/pairs_total": 12,
        "equal/prompt_tokens_total": 900,
    }
    assert all(math.isfinite(value) for value in metrics.values())


def test_without_rewards_only_what_extraction_knew_is_told():
    metrics = round_metrics(ROUND)
    assert metrics["equal/reward/transport/mean"] == 0.38
    assert not {"equal/reward/mixed/mean", "equal/eval_loss"} & metrics.keys()
    nothing = round_metrics(Round(0, (), (), rewards={"transport": []}))
    assert not any("reward" in name or "transport" in name for name in nothing)


TRACK = f"""
import logging, sys
logging.basicConfig()
from equal_hf.tracking.trackers import RunTracker, tracked
from tests.tracking.wandb_file import wandb_records
tracker = RunTracker(sys.argv[2:], project="equal-tests", name="first", dir=sys.argv[1],
                     config={{"seed": 1, "hub_token": "{SECRET}", "endpoint": "http://u:{SECRET}@host"}})
for step in range(3):
    tracker.log({{"equal/round": step, "equal/eval_loss": 3.0 - step}}, step=step)
tracker.finish()

# Two trainings in one process, as a run and its control are.
import os, types
args = types.SimpleNamespace(report_to=["wandb"], process_index=0, project="equal-tests", run_name=None,
                             output_dir=os.path.join(sys.argv[1], "quickstart"))
for name in ("equal", "uniform") if "wandb" in sys.argv else ():
    with tracked(args, name=name, config={{"hub_token": "{SECRET}"}}):
        import wandb
        wandb.log({{"loss": 1.0}})
        assert args.run_name == f"quickstart-{{name}}"
    assert wandb.run is None and args.run_name is None
"""


def track(folder: Path, *trackers: str, **extra: str) -> str:
    """Runs a tracked process without a key or a home; what it said on stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "TRACKIO_", "HF_"))}
    own = {
        "HOME": str(folder),
        "TRACKIO_DIR": str(folder / "trackio"),
        "HF_HOME": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", TRACK, str(folder), *trackers],
        env={**kept, **own, **extra},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


FLAGS = """
import sys, types
from equal_hf.tracking.trackers import RunTracker, tracked
args = types.SimpleNamespace(report_to=["wandb"], process_index=0, project="p", run_name=None, output_dir=sys.argv[1])
with tracked(args, name="equal"):
    pass
tracker = RunTracker("wandb", dir=sys.argv[1])
tracker.log({"equal/round": 0}, step=0)
tracker.finish()
assert sys.argv[3] != "***"
"""


def test_a_key_on_the_command_line_is_not_recorded(tmp_path: Path):
    command = [sys.executable, "-c", FLAGS, str(tmp_path), "--extractor_api_key", SECRET, "--seed", "271828"]
    env = {**os.environ, "HOME": str(tmp_path), "WANDB_MODE": "offline", "PYTHONPATH": str(ROOT)}
    # W&B records the remote too, of which it hides a password, but not what stands for a user.
    remote = f"https://{SECRET}:x-oauth-basic@github.com/me/repository"
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@here"]
    for arguments in (
        ["init", "-q"],
        ["commit", "-q", "--allow-empty", "-m", "first"],
        ["remote", "add", "origin", remote],
    ):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=True, timeout=240)
    files = [file for file in tmp_path.rglob("*") if file.is_file() and ".git" not in file.parts]
    assert len([file for file in files if file.suffix == ".wandb"]) == 2
    assert any(b"271828" in file.read_bytes() for file in files), "the command line is recorded"
    for file in files:
        assert SECRET.encode() not in file.read_bytes(), file


def names(paths: list[Path]) -> list[tuple[str, str]]:
    """Project and name of each W&B run."""
    runs = [record.run for path in paths for record in wandb_records(path) if record.HasField("run")]
    return list(dict.fromkeys((run.project, run.display_name) for run in runs))


def test_both_trackers_hold_what_was_logged_and_no_secret(tmp_path: Path):
    said = track(tmp_path, "wandb", "trackio")
    lines = [line for line in said.splitlines() if "equal_hf.tracking.wandb_setup" in line]
    assert len(lines) == 1 and "offline" in lines[0] and "no key is set" in lines[0]

    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(path))
    history = [
        {"".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    rows = [(row["equal/round"], row["equal/eval_loss"], row["_step"]) for row in history]
    assert rows == [(0, 3, 0), (1, 2, 1), (2, 1, 2)]
    assert names([path]) == [("equal-tests", "first")]
    trained = sorted(tmp_path.glob("quickstart/wandb/offline-run-*/*.wandb"))
    assert sorted(names(trained)) == [("equal-tests", "quickstart-equal"), ("equal-tests", "quickstart-uniform")]

    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select run_name, step, metrics from metrics order by step").fetchall()
    connection.close()
    assert [(name, step, json.loads(metrics)) for name, step, metrics in rows] == [
        ("first", step, {"equal/round": step, "equal/eval_loss": 3.0 - step}) for step in range(3)
    ]
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


def test_a_wandb_server_that_cannot_be_reached_costs_one_line(tmp_path: Path):
    extra = {"WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_HTTP_TIMEOUT": "1"}
    said = track(tmp_path, "wandb", **extra)
    (line,) = [line for line in said.splitlines() if "equal_hf.tracking.wandb_setup" in line]
    assert "offline" in line and "127.0.0.1:9" in line and "k" * 40 not in line
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "equal-hf\[trackio\]"'):
        RunTracker(["trackio"])


def test_a_run_that_cannot_be_told_of_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    from equal_hf.tracking.keeps_going import keeps_going
    from equal_hf.tracking.trainer_callbacks import report_folder

    assert report_folder(tmp_path) is None and "Writing the report failed, and the run goes on" in caplog.text
    with keeps_going("Logging"):
        raise ConnectionError(f"https://me:{SECRET}@host/ is away")
    assert "https://***@host/ is away" in caplog.text and SECRET not in caplog.text


def test_an_unknown_tracker_is_refused_and_none_is_silent():
    with pytest.raises(ConfigError, match="`report_to` names 'tensorboard'"):
        RunTracker(["tensorboard"])
    tracker = RunTracker("none")
    tracker.log({"equal/round": 0}, step=0)
    tracker.finish()


def test_trackio_makes_no_space_unless_asked():
    from transformers import TrainingArguments

    unasked = TrainingArguments(output_dir="unused", report_to="trackio")
    keep_trackio_local(unasked)
    assert unasked.trackio_static_space_id is False
    for asked in ({"trackio_space_id": "me/live"}, {"trackio_static_space_id": "me/still"}):
        arguments = SimpleNamespace(**{"trackio_space_id": None, "trackio_static_space_id": None, **asked})
        keep_trackio_local(arguments)
        assert arguments.trackio_static_space_id is not False
