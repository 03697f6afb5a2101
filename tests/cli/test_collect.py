"""`equal-hf collect` and what is done with its folder afterwards: the same records as a trainer's, and no secret."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from equal_hf.cli import main
from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.collect import without_training
from equal_hf.collection.config import CollectorConfig
from equal_hf.errors import ConfigError
from tests.extraction.endpoints import MODELS, completion
from tests.processes import REPOSITORY, free_port
from tests.servers.faults import Fault, FaultyServer
from tests.tracking.trackio_file import trackio_rows
from tests.tracking.wandb_file import wandb_records, wandb_rows

# Of no known shape, so that nothing but where it stands can give it away.
SECRET = "verborgener schatz 7391".replace(" ", "")


@pytest.fixture(scope="module")
def config(world, tmp_path_factory) -> Path:
    settings = {
        "model_name_or_path": str(world / "model"),
        "corpus": str(world / "corpus"),
        "embedder": str(world / "embedder"),
        "target": str(world / "target"),
        "n_reference": 20,
        "extractor": "explicit",
        "closed_loop": True,
        "reward_funcs": ["loss_drop", "value"],
        "reward_weights": [0.25, 1.0],
        "num_rounds": 3,
        "arms_per_round": 2,
        "documents_per_arm": 4,
        "use_cpu": True,
        "bf16": False,
        "report_to": ["wandb", "trackio"],
    }
    path = tmp_path_factory.mktemp("config") / "world.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def call(home: Path, *argv: object) -> subprocess.CompletedProcess[str]:
    """`equal-hf …` in a process of its own, with secrets all around it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "TRACKIO_", "HF_"))}
    own = {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRACKIO_DIR": str(home / "trackio"),
        "PYTHONPATH": str(REPOSITORY),
        "EQUAL_API_KEY": SECRET,
        "HF_TOKEN": SECRET,
        "MY_PASSWORD": SECRET,
    }
    command = [sys.executable, "-m", "equal_hf", *map(str, argv)]
    return subprocess.run(command, env={**kept, **own}, cwd=home, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def collected(config, tmp_path_factory):
    """A run that was stopped after one round and started again."""
    home = tmp_path_factory.mktemp("home")
    headers = json.dumps({"X-Api-Key": f"{SECRET} spoken"})
    secret = ["--extractor_headers", headers, f"--extractor_headers={headers}", "--hub_token", SECRET]
    secret += ["--extractor_api_key", SECRET, "--extractor_url", f"http://me:{SECRET}@127.0.0.1:9/?sig={SECRET}"]
    secret += ["--control", "uniform"]
    # Three rounds are planned, but the first start is killed by a disk that is full for the second.
    blocked = home / "run" / "rounds" / "round-00001"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("")
    first = call(home, "collect", config, "--output_dir", home / "run", *secret)
    blocked.unlink()
    second = call(home, "collect", config, "--output_dir", home / "run", "--json", *secret)
    return home, first, second


def test_it_collects_goes_on_and_tells(collected):
    home, first, second = collected
    assert first.returncode == 1 and "Error" in first.stderr
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith("{"), second.stdout
    found = json.loads(second.stdout)
    assert (found["rounds"], found["documents"]) == (3, 24) and found["pairs"] > 0
    assert (Path(found["dataset"]) / "README.md").is_file()
    assert "Left out of `reward_funcs`" in second.stderr or "Left out of `reward_funcs`" in first.stderr
    assert "run round 2 (3 of 3): 8 documents (24), " in second.stderr
    run = json.loads((home / "run" / "run.json").read_text())
    assert run["fingerprint"]["reward_weights"] == {"value": 1.0}


def test_trackers_have_one_run_with_numbers_tables_and_report(collected):
    home, *_ = collected
    run = json.loads((home / "run" / "run.json").read_text())
    files = sorted((home / "run").glob("wandb/offline-run-*/*.wandb"))
    records = [record for path in files for record in wandb_records(path)]
    assert {record.run.run_id for record in records if record.HasField("run")} == {run["id"]}
    rows = wandb_rows(home / "run")
    told = [row["equal/round"] for row in rows if "equal/round" in row]
    assert told == [0, 1, 2], "each round once, over both starts"
    keys = set().union(*rows)
    assert keys >= {"equal/documents_total", "equal/reward/value/mean", "equal/reward/mixed/max", "equal/pairs"}
    last = rows[-1]
    assert last["equal/arms"]["_type"] == last["equal/pairs_sample"]["_type"] == "table-file"
    assert last["equal/clusters"]["_type"] == "image-file"
    (path,) = (home / "run").glob(f"wandb/offline-run-*/files/{last['equal/arms']['path']}")
    table = json.loads(path.read_text())
    assert table["columns"][:4] == ["cluster", "pulls", "mean_reward", "uncertainty"]
    assert sum(row[4] for row in table["data"]) == 24 and all(row[5] is not None for row in table["data"])
    assert any(record.HasField("artifact") or "artifact" in str(record)[:400] for record in records)
    found = trackio_rows(home / "trackio")
    control = json.loads((home / "run" / "control" / "run.json").read_text())
    name = f"run-equal-{run['id'][:8]}"
    assert {one for one, _ in found} == {name, f"control-uniform-{control['id'][:8]}"}
    metrics = [row for one, row in found if one == name]
    assert [row["equal/round"] for row in metrics if "equal/round" in row] == [0, 1, 2]
    assert "equal/arms" in metrics[-1] and "equal/clusters" in metrics[-1]


def test_report_publish_inspect_and_doctor_take_the_folder(collected, config, capsys, monkeypatch):
    home, *_ = collected
    monkeypatch.setenv("EQUAL_API_KEY", SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["report", str(home / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Path(found["page"]).is_file() and len(found["pictures"]) >= 2
    assert main(["publish", str(home / "run"), "--repo-id", "me/data", "--dry-run", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"].keys()
    assert files >= {"README.md", "data/train/round-00002.parquet", "pictures/clusters.png"}
    card = (home / "run" / "hub" / "dataset" / "README.md").read_text()
    assert "(pictures/progress.png)" in card and "equal-hf collect" in card
    assert "|  | EQUAL | uniform control |" in card and "| `documents` | 24 | 24 |" in card
    assert re.search(r"\| `mean_value` \| 0\.\d+ \| 0\.\d+ \|", card) and "training steps" not in card
    assert "source_datasets" not in card
    assert main(["inspect", str(home / "run"), "--json"]) == 0
    capsys.readouterr()
    assert main(["doctor", str(config), "--json"]) == 0
    out = capsys.readouterr().out
    checks = {check["name"]: check for check in json.loads(out)}
    assert checks["endpoint"]["found"].startswith("none is needed") and checks["faiss"]["status"] == "ok"
    assert SECRET not in out


def test_no_secret_is_in_anything_it_left_or_said(collected):
    """Last of those on this folder: report, card, records, trackers' files and output are all there by now."""
    home, first, second = collected
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".html", ".md", ".wandb", ".db", ".parquet", ".json", ".png"}
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
        if path.suffix == ".parquet":  # compressed
            assert SECRET not in str(pq.read_table(path).to_pylist()), path
    assert SECRET not in first.stdout + first.stderr + second.stdout + second.stderr


def test_the_records_are_those_of_a_trainer(collected, config, tmp_path):
    """The recipe trains on the same rounds: the same decisions, pairs and embeddings."""
    home, *_ = collected
    command = [
        sys.executable,
        "recipes/mistral_math.py",
        "--config",
        str(config),
        "--output_dir",
        str(tmp_path / "run"),
    ]
    command += ["--reward_funcs", "value", "--reward_weights", "1.0", "--report_to", "none", "--rows_per_round", "8"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, timeout=500)
    assert digests(home / "run") == digests(tmp_path / "run")


def digests(run: Path) -> dict[str, str]:
    paths = sorted(path for path in run.glob("rounds/*/extracted/*") if path.is_file())
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_server_that_repeats_a_key_and_steers_the_terminal(config, tmp_path, capsys, monkeypatch):
    """What it says is part of the error, without the key, and as text."""
    monkeypatch.setenv("EQUAL_API_KEY", SECRET)
    refusal = Fault(401, body=f"\x1b]0;title\x07no such key: {SECRET}")
    with FaultyServer(faults=[refusal] * 9, pages=dict.fromkeys(("/info", "/v1/models", "/props"), refusal)) as server:
        flags = ["--extractor", "endpoint", "--extractor_url", server.url, "--report_to", "none"]
        assert main(["collect", str(config), "--output_dir", str(tmp_path / "run"), *flags]) == 1
    said = capsys.readouterr().err
    assert "no such key: ***" in said and "\\x1b]0;title" in said
    assert SECRET not in said and "\x1b" not in said


def test_rewards_that_wait_for_a_training_are_left_out():
    what = RunArguments(corpus="c", target="t", reward_funcs=["loss_drop", "transport", "value"])
    how = CollectorConfig(num_rounds=1, reward_weights=[1.0, 2.0, 3.0])
    what = without_training(what, how)
    assert (what.reward_funcs, how.reward_weights) == (["transport", "value"], [2.0, 3.0])
    with pytest.raises(ConfigError, match="add `value` or `transport`"):
        without_training(RunArguments(corpus="c", target="t", reward_funcs=["loss_drop"]), how)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_answer_characters": 1},
            r"not a single pair came of 24 documents \(answer_too_long \d+.*equal-hf inspect",
        ),
        ({"max_prompt_tokens": 1}, "no document was drawn: what is left of `max_prompt_tokens`.*raise it"),
        (
            {"filters": ["lengths"], "max_question_characters": 1},
            r"not a single pair came of 24 documents \(question_too_long 48\)",
        ),
    ],
)
def test_a_run_of_which_nothing_came_says_so_and_fails(config, tmp_path, capsys, changes, message):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"report_to": "none"} | changes))
    for _ in range(2):  # a second start does no better
        assert main(["collect", str(path), "--output_dir", str(tmp_path / "run")]) == 1
        said = capsys.readouterr().err
        assert re.search(f"(?s)ExtractionError: {message}", said), said


def test_a_server_that_finds_no_pair_anywhere(config, tmp_path, capsys):
    with FaultyServer(pages=MODELS, faults=[completion('{"pairs": []}')] * 200) as server:
        flags = ["--extractor", "endpoint", "--extractor_url", server.url, "--report_to", "none"]
        assert main(["collect", str(config), "--output_dir", str(tmp_path / "run"), *flags]) == 1
    assert "not a single pair came of 24 documents (no_pairs 24)" in capsys.readouterr().err


def test_on_two_processes_both_build_the_corpus_and_one_collects(config, world, tmp_path):
    settings = yaml.safe_load(config.read_text()) | {"report_to": "none", "n_clusters": 5, "shard_documents": 50}
    settings |= {"corpus": str(world / "documents.parquet"), "id_column": "id", "output_dir": str(tmp_path / "run")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        str(free_port()),
    ]
    command += ["-m", "equal_hf", "collect", str(tmp_path / "run.yaml"), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rounds"] == 3, "one result, of one process"
    assert done.stderr.count("round 2 (3 of 3)") == 1
