"""`equal-hf plan`: numbers before money."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.cli import main
from equal_hf.cli.estimate import Extracted, Load, estimate
from equal_hf.extraction.budget import NANO, Prices, nano
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.responses.store_stats import ledger_lines
from equal_hf.extraction.survey import SampledDocument
from equal_hf.types import Allowance, Usage
from tests.extraction.endpoints import MODELS
from tests.servers import ROOT, spawn
from tests.servers.faults import FaultyServer
from tests.servers.marked import marked_document
from tests.servers.providers import PROVIDERS
from tests.servers.standin import StandIn

sampled = st.builds(SampledDocument, st.integers(50, 5000), st.integers(1, 4000), st.integers(1, 5))


@given(
    st.lists(sampled, min_size=1, max_size=20),
    st.integers(1, 10_000),
    st.integers(1, 10**7) | st.none(),
    st.integers(1, 10**7) | st.none(),
    st.floats(0.001, 100) | st.none(),
    st.integers(0, 2),
)
def test_an_estimate_stays_inside_every_budget(sample, documents, prompt, completion, cost, second) -> None:
    load = Load(Prices(0.5, 1.5), EndpointConfig(refine=second > 0, judge=second > 1))
    plan = estimate(sample, documents, Allowance(prompt, completion, cost and nano(cost)), load)
    assert 0 <= plan.documents <= documents
    assert prompt is None or plan.prompt_tokens <= prompt + 1
    assert completion is None or plan.completion_tokens <= completion + 1
    assert cost is None or plan.cost <= cost * (1 + 1e-9)
    assert (plan.ends_by == "max_documents") == (plan.documents == documents) or plan.documents == 0
    free = estimate(sample, documents, Allowance(), load)
    assert free.documents == documents and free.calls >= documents


def test_caps_per_minute_and_slow_requests_set_the_time() -> None:
    sample = [SampledDocument(1000, 800, 1)]
    quick = Load(concurrency=10, request_s=2.0, reply_tokens=100)
    assert estimate(sample, 600, Allowance(), quick).seconds == 120.0
    capped = Load(concurrency=10, request_s=2.0, reply_tokens=100, endpoint=EndpointConfig(requests_per_minute=60))
    assert estimate(sample, 600, Allowance(), capped).seconds == 600.0


def asked(tier: str) -> EndpointConfig:
    return EndpointConfig(refine=True, batch=tier == "batch", service_tier="flex" if tier == "flex" else None)


def test_rounds_in_batches_cost_half_and_each_takes_as_long_as_one() -> None:
    sample, prices = [SampledDocument(1000, 800, 1)], Prices(1.0, 2.0, batch=0.4)
    usual, batch, flex = (
        estimate(sample, 100, Allowance(), Load(prices, asked(tier), a_round=30)) for tier in ("", "batch", "flex")
    )
    assert batch.cost == pytest.approx(0.4 * usual.cost) and flex.cost == pytest.approx(0.5 * usual.cost)
    assert batch.seconds == 4 * 2 * 3600 and any("24 hours" in line for line in batch.assumptions)
    capped = estimate(sample, 100, Allowance(cost=nano(usual.cost / 2)), Load(prices, asked("batch")))
    assert capped.documents == 100, "the cap is one at the price of batches"


def test_grades_are_part_of_replies_that_nobody_has_seen_yet() -> None:
    sample = [SampledDocument(1000, 800, 1)]
    plain, graded = (estimate(sample, 100, Allowance(), Load(grades=grades)) for grades in (False, True))
    assert graded.completion_tokens == pytest.approx(1.05 * plain.completion_tokens)
    seen = (estimate(sample, 100, Allowance(), Load(grades=grades, reply_tokens=50)) for grades in (False, True))
    assert len({plan.completion_tokens for plan in seen}) == 1


def test_what_was_extracted_tells_what_the_rest_takes() -> None:
    """Of two documents of 500 tokens, one reply each, the first found nothing cached; the others are twice as long."""
    sample = [SampledDocument(500, 100, 1), SampledDocument(500, 100, 1), SampledDocument(1500, 1100, 2)]
    extracted = Extracted(sample[:2], Usage(800, 200, 2, cached_tokens=256, reasoning_tokens=120))
    load = Load(Prices(1.0, 4.0, cached=0.5), reply_tokens=9, extracted=extracted)
    found = estimate(sample, 300, Allowance(), load)
    calls, prompt, completion = 400, 300 * 400 * 2500 / 1500, 400 * 100
    assert (found.calls, found.prompt_tokens, found.completion_tokens) == (calls, prompt, pytest.approx(completion))
    assert found.cost == pytest.approx((prompt - 0.5 * calls * 256 + 4 * completion) / 1e6)
    assert any("256 of them cached" in line or "60 of them thoughts" in line for line in found.assumptions)


@pytest.fixture(scope="module")
def almanac(tmp_path_factory) -> Path:
    """Documents of many lengths, whose pairs the stand-ins find."""
    path = tmp_path_factory.mktemp("almanac") / "documents.parquet"
    rng = random.Random(7)
    texts = [marked_document(n, pairs=rng.randint(1, 5), words=rng.randint(50, 900)) for n in range(160)]
    pd.DataFrame({"id": [f"d{n}" for n in range(160)], "text": texts}).to_parquet(path)
    return path


CACHING = replace(PROVIDERS["openai"], caches_from=256)


@pytest.mark.parametrize("rules", [PROVIDERS["openai"], PROVIDERS["openai-reasoning"], CACHING], ids=range(3))
def test_a_run_costs_what_its_plan_said_to_within_a_tenth(rules, almanac, world, tmp_path, capsys) -> None:
    """At list price, with a model that thinks, and with a cached prefix; nobody counts tokens before."""
    settings = {
        "corpus": str(almanac),
        "id_column": "id",
        "n_clusters": 4,
        "embedder": str(world / "embedder"),
        "target": str(world / "target"),
        "n_reference": 20,
        "reward_funcs": ["value"],
        "num_rounds": 4,
        "arms_per_round": 4,  # most of the documents: few would differ from the sample by chance
        "documents_per_arm": 8,
        "extractor_api_key": rules.key,
        "extractor_model": rules.model,
        "extractor_max_new_tokens": 1500,
        "price_per_million_prompt_tokens": rules.rates.prompt,
        "price_per_million_completion_tokens": rules.rates.completion,
        "price_per_million_cached_tokens": rules.rates.cached,
    }
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(settings))
    with StandIn(rules) as server:
        told = ["--json", "--extractor_url", server.url, "--output_dir"]
        assert main(["plan", str(config), "--timed", "12", *told, str(tmp_path / "plan")]) == 0
        planned = json.loads(capsys.readouterr().out)
        before = server.bill.total.cost
        assert main(["collect", str(config), *told, str(tmp_path / "run")]) == 0
        ran = json.loads(capsys.readouterr().out)
        billed = server.bill.total.cost - before
    assert planned["documents"] == ran["documents"] == 128
    assert planned["embedding_s"] > 0 and planned["embedding"].startswith("embedding 160 documents: about ")
    assert planned["cost"] == pytest.approx(ran["cost_paid"], rel=0.1)
    lines = ledger_lines(tmp_path / "run/responses.sqlite")
    assert sum(line.cost for line in lines) == billed, "with what the first contacts cost"
    assert ran["cost_paid"] == sum(line.cost for line in lines if line.run != "probes") / NANO
    kind = {"openai-reasoning": "thoughts"}.get(rules.name, "cached" if rules is CACHING else "")
    assert any(kind in line for line in planned["assumptions"])
    assert any("the filters keep" in line for line in planned["assumptions"])


def plan(*flags: str) -> dict:
    command = [sys.executable, "-m", "equal_hf", "plan", "recipes/quickstart.yaml", "--json", "--sample", "20"]
    done = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def flags(world) -> list[str]:
    return ["--corpus", str(world / "documents.parquet"), "--target", str(world / "target"), "--extractor", "endpoint"]


def test_a_plan_asks_the_endpoint_to_count_and_never_to_generate(flags) -> None:
    with spawn("tests.servers.tgi") as url, FaultyServer(url) as server:
        found = plan(
            *flags, "--extractor_url", server.url, "--extractor_max_new_tokens", "300", "--max_documents", "40"
        )
        assert not server.chats
        assert [seen for seen in server.seen if seen.path == "/chat_tokenize"]
    assert found["documents"] == 40 and found["ends_by"] == "max_documents"
    assert found["embedding_s"] is None and "could not be timed: `embedder`" in found["embedding"]
    assert found["calls"] == 40 and found["prompt_tokens"] > 40 * 300
    assert any("counted the tokens" in assumption for assumption in found["assumptions"])
    assert "cannot be said before documents are extracted" in found["assumptions"][-1]


def test_without_an_endpoint_it_says_what_it_took_instead(flags) -> None:
    prices = ["--price_per_million_prompt_tokens", "1000", "--max_cost", "1"]
    found = plan(*flags, "--extractor_url", "http://127.0.0.1:9", *prices)
    assert found["ends_by"] == "max_cost" and found["cost"] <= 1.0
    assert any("could not be asked" in assumption for assumption in found["assumptions"])
    with FaultyServer(pages=MODELS) as server:
        found = plan(*flags, "--extractor_url", server.url)
    assert any(re.search("counts no tokens", assumption) for assumption in found["assumptions"])
