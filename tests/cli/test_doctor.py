"""`equal-hf doctor` against servers that are well, ill, and not there: what it finds, its exit code, its JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from equal_hf.cli import main
from tests.extraction.endpoints import MODELS, completion
from tests.servers import spawn
from tests.servers.batches import BatchStandIn
from tests.servers.faults import FaultyServer
from tests.servers.hub import HubServer
from tests.servers.providers import PROVIDERS
from tests.servers.standin import StandIn

KEY = "k" * 34
Doctor = Callable[..., tuple[int, dict[str, dict[str, str]], str]]


@pytest.fixture(scope="module")
def tgi() -> Iterator[str]:
    with spawn("tests.servers.tgi", "--api-key", KEY) as url:
        yield url


@pytest.fixture
def doctor(
    world: Path, tmp_path: Path, hub: HubServer, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Doctor:
    """Runs it on a recipe with these keys changed; exit code, checks by name, and all it said."""
    monkeypatch.delenv("EQUAL_API_KEY", raising=False)

    def run(**changes: object) -> tuple[int, dict[str, dict[str, str]], str]:
        settings = {
            "model_name_or_path": str(world / "model"),
            "corpus": str(world / "documents.parquet"),
            "target": str(world / "target"),
            "embedder": str(world / "embedder"),
            "extractor": "explicit",
            "num_rounds": 1,
            "output_dir": str(tmp_path / "not" / "there" / "yet"),
            "use_cpu": True,
            "bf16": False,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(settings | changes))
        code = main(["doctor", str(path), "--json"])
        out, err = capsys.readouterr()
        return code, {check["name"]: check for check in json.loads(out)}, out + err

    return run


def endpoint(url: str, **more: object) -> dict[str, object]:
    return {"extractor": "endpoint", "extractor_url": url, "extractor_max_new_tokens": 200, **more}


def test_all_is_well(doctor: Doctor, tgi: str, tmp_path: Path):
    code, checks, said = doctor(**endpoint(tgi, extractor_api_key=KEY), push_to_hub=True, hub_dataset_id="tester/new")
    assert code == 0 and KEY not in said and "hf_write" not in said
    assert re.match(r"equal-hf \S+, Python 3\.\d+\.\d+, \w", checks["packages"]["found"])
    assert set(checks) >= {"packages", "faiss", "accelerator", "disk", "hub", "W&B", "endpoint"}
    assert all(check.keys() == {"name", "status", "found", "remedy"} for check in checks.values())
    assert "token role: write" in checks["hub"]["found"]
    assert "`report_to` does not name it" in checks["W&B"]["found"]
    assert checks["target"]["found"][0].isdecimal()
    found = checks["endpoint"]["found"]
    assert f"{tgi} is tgi, model equal-hf/tiny-random (5c1f0e0d" in found and "schema heeded" in found
    assert "A short document took" in found and "up to 128 at once" in found
    assert not (tmp_path / "not").exists(), "it changes nothing"


def test_what_a_model_refuses_is_shown(doctor: Doctor):
    with StandIn("openai-reasoning") as server:
        settings = {"extractor_api_key": server.rules.key, "extractor_model": server.rules.model}
        code, checks, _ = doctor(**endpoint(server.url, **settings))
        assert code == 0
        asked = (
            "schema heeded (as json_schema), max_completion_tokens in place of max_tokens, without temperature, thinks"
        )
        assert asked in checks["endpoint"]["found"]
        server.rules = replace(server.rules, thinks={"default": 10_000})
        _, checks, _ = doctor(**endpoint(server.url, **settings))
    assert checks["endpoint"]["status"] == "note" and "`extractor_max_reasoning" in checks["endpoint"]["remedy"]


def test_a_server_that_ignores_the_schema_is_told_of(doctor: Doctor):
    prose = completion("Water boils at 100 degrees.")
    with FaultyServer(pages=MODELS, faults=[prose] * 9) as server:
        code, checks, _ = doctor(**endpoint(server.url))
    assert (code, checks["endpoint"]["status"]) == (0, "note")
    assert "openai" in checks["endpoint"]["found"] and "schema ignored" in checks["endpoint"]["found"]
    assert "no pair came of it" in checks["endpoint"]["remedy"]


def test_what_a_batch_a_round_means_is_told(doctor: Doctor, tmp_path: Path):
    rules = PROVIDERS["openai"]
    with BatchStandIn("openai", tmp_path / "server") as server:
        batches = {"extractor_batch": True, "extractor_api_key": rules.key, "extractor_model": rules.model}
        code, checks, _ = doctor(**endpoint(server.url, **batches))
        assert code == 0 and "It takes batches: a round is one, at 50% of the price" in checks["endpoint"]["found"]
        assert "settings" not in checks, "the next one is under way while the model is trained"
        _, checks, _ = doctor(**endpoint(server.url, **batches, closed_loop=True, feedback_lag=0))
        assert "leave `feedback_lag` out" in checks["settings"]["remedy"]
        assert server.batches() == [], "the short document is asked for by itself"


def test_headers_are_sent_and_not_shown(doctor: Doctor):
    with FaultyServer(pages=MODELS, faults=[completion()] * 9) as server:
        code, checks, said = doctor(**endpoint(server.url, extractor_headers={"X-Gateway": KEY}))
        assert {seen.headers["x-gateway"] for seen in server.chats} == {KEY}
    assert (code, checks["endpoint"]["status"]) == (0, "ok") and KEY not in said


@pytest.mark.parametrize("wrong", ["w" * 34, None])
def test_a_wrong_key_is_a_problem(doctor: Doctor, tgi: str, wrong: str | None):
    code, checks, said = doctor(**endpoint(tgi, extractor_api_key=wrong))
    assert (code, checks["endpoint"]["status"]) == (1, "problem")
    assert "answers 401" in checks["endpoint"]["found"] and "`extractor_api_key`" in checks["endpoint"]["found"]
    assert "Set EQUAL_API_KEY in the environment" in checks["endpoint"]["found"]
    assert wrong is None or wrong not in said


def test_a_wrong_url_is_a_problem(doctor: Doctor):
    code, checks, said = doctor(**endpoint(f"http://me:{KEY}@127.0.0.1:9/v1?key={KEY}"))
    assert (code, checks["endpoint"]["status"]) == (1, "problem")
    assert "nobody listens there" in checks["endpoint"]["found"] and "`extractor_url`" in checks["endpoint"]["found"]
    assert KEY not in said


@pytest.mark.parametrize(
    "token, repo_id, fact",
    [
        ("hf_read", "tester/new", "token role: read; it may not publish"),
        ("hf_unknown", "tester/new", "does not know the token"),
        ("hf_write", "stranger/new", "no member of stranger"),
    ],
)
def test_what_keeps_a_run_from_publishing_is_a_problem_if_it_publishes(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, token: str, repo_id: str, fact: str
):
    monkeypatch.setenv("HF_TOKEN", token)
    code, checks, _ = doctor(push_to_hub=True, hub_dataset_id=repo_id)
    assert (code, checks["hub"]["status"]) == (1, "problem") and fact in checks["hub"]["found"]
    code, checks, _ = doctor(push_to_hub=False, hub_dataset_id=repo_id)
    assert (code, checks["hub"]["status"]) == (0, "note") and fact in checks["hub"]["found"]


def test_a_repository_that_holds_something_else_is_a_problem(doctor: Doctor):
    api = HfApi()
    api.create_repo("tester/table", repo_type="dataset", exist_ok=True)
    api.upload_file(path_or_fileobj=b"a,b", path_in_repo="a.csv", repo_id="tester/table", repo_type="dataset")
    code, checks, _ = doctor(push_to_hub=True, hub_dataset_id="tester/table")
    assert (code, checks["hub"]["status"]) == (1, "problem")
    assert "no run of equal_hf published: set `hub_dataset_id`" in checks["hub"]["found"]


def test_a_hub_that_is_not_there_and_text_for_people(
    hub: HubServer, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "note     hub: " in out and "no answer from the Hub" in out and "ok       faiss: " in out
    assert main(["doctor", "--seed=1"]) == 1
    assert "name its YAML first" in capsys.readouterr().err


def test_what_a_run_would_not_find_is_a_problem_here_too(
    doctor: Doctor, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Doctor and a run's start look at one list."""
    monkeypatch.setitem(sys.modules, "pypdf", None)  # as if it were not installed
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers/paper.pdf").write_bytes(b"%PDF-1.4")
    code, checks, _ = doctor(target=str(tmp_path / "nowhere"), model_name_or_path=str(world / "embedder"))
    assert (code, checks["repositories"]["status"]) == (1, "problem")
    assert f"no access to `target` {tmp_path / 'nowhere'}" in checks["repositories"]["found"]
    code, checks, _ = doctor(corpus="nothere.parquet")
    assert code == 1 and checks["repositories"]["found"].endswith("nothere.parquet: no such file or folder here")
    code, checks, _ = doctor(corpus=str(tmp_path / "papers"))
    assert (code, checks["corpus"]["status"]) == (1, "problem")
    assert "paper.pdf takes pypdf to read" in checks["corpus"]["found"] and "[documents]" in checks["corpus"]["found"]
    code, checks, _ = doctor(model_name_or_path=None)
    assert (code, checks["model"]["status"]) == (0, "note") and "equal-hf collect" in checks["model"]["remedy"]
