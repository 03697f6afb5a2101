"""A run in a machine that ends: what `recipes/hf_job.py` keeps, and what it takes up again."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import REPOSITORY
from tests.servers import spawn

SCRIPT = REPOSITORY / "recipes/hf_job.py"


@pytest.fixture(scope="module")
def job():
    spec = importlib.util.spec_from_file_location("hf_job", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder as it is while a run goes on: a store that is written, a record that is not finished."""
    run = tmp_path / "run"
    (run / "rounds/round-00000").mkdir(parents=True)
    (run / "rounds/round-00000/rewards.json").write_text("{}")
    (run / "rounds/.round-00001.building").mkdir()
    (run / "checkpoint-4").mkdir()
    (run / "checkpoint-4/trainer_state.json").write_text("{}")
    (run / ".run.json.1.2.tmp").write_text("half")
    (run / "run.json").write_text("{}")
    return run


def put(store: Path, reply: str) -> sqlite3.Connection:
    connection = sqlite3.connect(store)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS replies (text)")
    connection.execute("INSERT INTO replies VALUES (?)", (reply,))
    connection.commit()
    return connection  # open, so that the reply lies in the WAL


def replies(store: Path) -> list[str]:
    connection = sqlite3.connect(store)
    found = [text for (text,) in connection.execute("SELECT text FROM replies ORDER BY rowid")]
    connection.close()
    return found


def test_what_is_kept_is_laid_out_again(job, folder, tmp_path):
    keep, writer = tmp_path / "keep", put(folder / "responses.sqlite", "first")
    job.save(folder, keep)
    put(folder / "responses.sqlite", "second").close()
    (folder / "rounds/round-00001").mkdir()
    (folder / "rounds/round-00001/rewards.json").write_text("{}")
    before = {path.name: path.stat().st_mtime_ns for path in keep.glob("*.tar")}
    job.save(folder, keep)
    writer.close()
    shutil.rmtree(folder)
    assert job.restore(keep, folder)
    assert replies(folder / "responses.sqlite") == ["first", "second"]
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    rounds = {f"rounds/round-0000{n}/rewards.json" for n in (0, 1)}
    assert names == {*rounds, "checkpoint-4/trainer_state.json", "run.json", "responses.sqlite"}
    same = [name for name, at in before.items() if (keep / name).exists() and (keep / name).stat().st_mtime_ns == at]
    assert len(same) == 4, "what did not change was not written again"
    assert not job.restore(keep, folder), "a folder that is there is left alone"


def test_a_state_that_was_cut_off_is_passed_over(job, folder, tmp_path):
    keep = tmp_path / "keep"
    put(folder / "responses.sqlite", "first").close()
    job.save(folder, keep)
    put(folder / "responses.sqlite", "second").close()
    job.save(folder, keep)
    newest = json.loads(max(keep.glob("state-*.json")).read_text())
    part = keep / newest["responses.sqlite"][0]
    part.write_bytes(part.read_bytes()[:100])
    shutil.rmtree(folder)
    assert job.restore(keep, folder) and replies(folder / "responses.sqlite") == ["first"]
    shutil.rmtree(folder)
    max(keep.glob("state-*.json")).write_text('{"run.js')
    assert job.restore(keep, folder) and replies(folder / "responses.sqlite") == ["first"]


def test_two_states_are_kept_and_no_more(job, folder, tmp_path):
    keep = tmp_path / "keep"
    for n in range(5):
        (folder / "run.json").write_text(json.dumps({"n": n}))
        job.save(folder, keep)
    assert sorted(path.name for path in keep.glob("state-*")) == ["state-000003.json", "state-000004.json"]
    assert len(list(keep.glob("run.json-*.tar"))) == 2 and len(list(keep.glob("checkpoint-4-*.tar"))) == 1
    assert not job.restore(tmp_path / "nothing", tmp_path / "other")


def test_a_run_goes_on_in_another_machine(tmp_path, world):
    """The machine is taken away with a kill, and its disk with it."""
    settings = {
        "corpus": str(world / "corpus"),
        "embedder": str(world / "embedder"),
        "target": str(world / "target"),
        "n_reference": 20,
        "extractor": "endpoint",
        "filters": ["self_contained", "duplicate"],
        "num_rounds": 5,
        "arms_per_round": 2,
        "documents_per_arm": 2,
        "response_store": str(tmp_path / "elsewhere.sqlite"),
    }
    keep, machine = tmp_path / "keep", tmp_path / "machine"
    flags = ["--keep", str(keep), "--run", str(machine / "run"), "--save_every_s", "0.2"]

    def start(name: str) -> subprocess.Popen:
        machine.mkdir()
        command = [sys.executable, str(SCRIPT), *flags, "collect", str(tmp_path / "run.yaml")]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        with (tmp_path / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    with spawn("tests.servers.load", "--latency-s", "0.2") as url:
        (tmp_path / "run.yaml").write_text(yaml.safe_dump({**settings, "extractor_url": url}))
        first = start("first")
        while not list(keep.glob("rounds-*.tar")) and first.poll() is None:
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        shutil.rmtree(machine)
        second = start("second")
        assert second.wait(timeout=300) == 0, (tmp_path / "second.log").read_text()
    rounds = sorted(path.name for path in (machine / "run/rounds").iterdir())
    assert rounds == [f"round-{n:05d}" for n in range(5)]
    assert list((machine / "run/hub/dataset/data/train").glob("*.parquet"))
    assert not (tmp_path / "elsewhere.sqlite").exists(), "replies are kept with the run"
    assert "is as it was kept in" in (tmp_path / "second.log").read_text()


@pytest.mark.parametrize("name", ["hf_job.py", "mistral_math.py"])
def test_the_header_is_one_that_hf_jobs_reads(name: str):
    from huggingface_hub.cli._uv_script_header import _extract_pep_723_block, parse_uv_script_header

    text = (REPOSITORY / "recipes" / name).read_text(encoding="utf-8")
    header = parse_uv_script_header(text)
    assert header.secrets == ["HF_TOKEN"] and header.timeout == "6h"
    block = tomllib.loads(_extract_pep_723_block(text))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert block["requires-python"] == project["requires-python"]
    name, extras, _ = re.split(r"[\[\]]", block["dependencies"][0])
    assert name == project["name"] and set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_the_commands_of_the_page_are_taken_by_hf(tmp_path: Path):
    """Without being sent: what is only parsed by `hf`, and the jobs as `--dry-run` shows them."""
    page = (REPOSITORY / "recipes/hf_jobs.md").read_text(encoding="utf-8")
    commands = re.findall(r"^hf .*$", page, re.MULTILINE)
    jobs = [shlex.split(command) for command in commands if command.startswith("hf jobs uv run")]
    assert len(jobs) == 2 and len(commands) == 8
    for words in jobs:
        at = words.index("recipes/hf_job.py")
        command = [sys.executable, "-m", "huggingface_hub.cli.hf", *words[1:at], "--dry-run", *words[at:]]
        environment = {**os.environ, "HOME": str(tmp_path), "HF_TOKEN": "hf_x", "EQUAL_API_KEY": "k" * 20}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "(dry run) Job not submitted." in done.stdout and "HF_TOKEN=*** (from script)" in done.stdout
        assert "hf://buckets/you/equal:/keep" in done.stdout and "k" * 20 not in done.stdout
    parsed = [shlex.split(command) for command in commands if not command.startswith("hf jobs uv run")]
    from huggingface_hub.cli.hf import app

    for words in parsed:
        options = {word for word in words if word.startswith("--") and word != "--max-model-len"}
        assert options <= options_of(app, words[1:]), words


def options_of(group: Any, words: list[str]) -> set[str]:
    """The flags of a command of `hf`."""
    command, context = group, group.make_context("hf", [], resilient_parsing=True)
    for word in words:
        found = command.get_command(context, word) if hasattr(command, "get_command") else None
        if found is None:
            break
        command = found
    return {flag for parameter in command.params for flag in parameter.opts}
