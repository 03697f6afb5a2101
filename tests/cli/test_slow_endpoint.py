"""What doctor, plan and a run say while a slow endpoint lets them wait, and how slow it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
import yaml

from equal_hf.cli import endpoint_checks, main
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.survey import survey
from equal_hf.types import Document
from equal_hf.utils import waiting as module
from tests.extraction.endpoints import extractor
from tests.servers import spawn


@pytest.fixture(scope="module")
def slow() -> Iterator[str]:
    with spawn("tests.servers.load", "--latency-s", "0.6", "--slots", "2") as url:
        yield url


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AFTER_S", 0.2)
    monkeypatch.setattr(module, "_TICK_S", 0.05)
    monkeypatch.setattr(module._TELLER, "_said_s", {})


def test_doctor_says_what_it_waits_for_and_what_the_speed_means(slow, world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(endpoint_checks, "SLOW_S", 0.5)
    path = tmp_path / "recipe.yaml"
    settings = {
        "corpus": str(world / "documents.parquet"),
        "target": str(world / "target"),
        "embedder": str(world / "embedder"),
        "extractor": "endpoint",
        "extractor_url": slow,
        "arms_per_round": 4,
        "documents_per_arm": 3,
        "max_documents": 36,
        "output_dir": str(tmp_path / "run"),
        "use_cpu": True,
        "bf16": False,
    }
    path.write_text(yaml.safe_dump(settings))
    assert main(["doctor", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    endpoint = next(check for check in json.loads(out) if check["name"] == "endpoint")
    assert f"waiting for the first reply of {slow} (" in err
    assert f"waiting for {slow} (1 under way, the first for " in err and "0 of 1 documents in " in err
    assert "36 documents at this speed: " in endpoint["found"] and "if 12 at a time" in endpoint["found"]
    assert endpoint["status"] == "note" and "it is slow" in endpoint["remedy"]
    # Where the run has a store already, too: what was answered before is asked again.
    ResponseStore(tmp_path / "run" / "responses.sqlite").close()
    for _ in range(2):
        assert main(["doctor", str(path), "--json"]) == 0
        (endpoint,) = (check for check in json.loads(capsys.readouterr().out) if check["name"] == "endpoint")
        assert float(endpoint["found"].split("A short document took ")[1].split()[0]) > 0.4


def test_a_plan_can_time_some_documents_which_the_run_has_then(slow, world, tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    settings = {
        "corpus": str(world / "documents.parquet"),
        "target": str(world / "target"),
        "embedder": str(world / "embedder"),
        "extractor": "endpoint",
        "extractor_url": slow,
        "max_documents": 40,
        "output_dir": str(tmp_path / "run"),
    }
    path.write_text(yaml.safe_dump(settings))
    for count in (2, 2):  # paid once
        assert main(["plan", str(path), "--timed", str(count), "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        (said,) = (line for line in plan["assumptions"] if line.startswith("a request takes"))
        assert float(said.split()[3]) == pytest.approx(0.7, abs=0.3) and "tokens a second for each" in said
        assert any(line.startswith("2 replies of ") for line in plan["assumptions"])
    with ResponseStore(tmp_path / "run" / "responses.sqlite") as store:
        assert len(store) == 2 and store.paid("plan").usage.requests == 2


def test_a_plan_says_what_it_waits_for(caplog, monkeypatch):
    monkeypatch.setattr(module, "AFTER_S", 0.01)
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    caplog.set_level("INFO", "equal_hf")
    with spawn("tests.servers.llama") as url:
        texts = [f"Note {number} holds {number}." for number in range(60)]
        assert survey(texts, EndpointConfig(url=[url]), PromptTemplate()).counted
    assert any(
        line.startswith(f"{url} counts tokens: ") and " of 60 documents in " in line for line in caplog.messages
    )


@pytest.mark.parametrize("view", [False, True])
def test_on_a_terminal_there_is_a_bar_or_a_view_and_not_both(slow, view, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(module._TELLER, "views", int(view))
    with closing(extractor(slow)) as endpoint:
        endpoint.extract([Document("d", "Note 1 holds 1.")])
    assert ("extract:" in capsys.readouterr().err) is not view


def test_a_run_says_how_far_it_is_and_how_long_the_rest_takes(slow, caplog, monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.3)
    caplog.set_level("INFO", "equal_hf")
    documents = [Document(f"d{number}", f"Note {number} holds {number}.") for number in range(8)]
    with closing(extractor(slow, concurrency=2)) as endpoint:
        endpoint.extract(documents)
    told = [line for line in caplog.messages if line.startswith(f"waiting for {slow} (2 under way, the first for")]
    assert told and any("of 8 documents in " in line and "; the rest at this speed: " in line for line in told)
