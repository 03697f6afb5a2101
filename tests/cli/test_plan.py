"""`equal-hf plan`: numbers before money."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.cli.estimate import Load, estimate
from equal_hf.extraction.budget import Prices, nano
from equal_hf.extraction.survey import SampledDocument
from equal_hf.types import Allowance
from tests.extraction.endpoints import MODELS
from tests.servers import ROOT, spawn
from tests.servers.faults import FaultyServer

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
    load = Load(Prices(0.5, 1.5), second_passes=second)
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
    capped = Load(concurrency=10, request_s=2.0, reply_tokens=100, requests_per_minute=60)
    assert estimate(sample, 600, Allowance(), capped).seconds == 600.0


def test_rounds_in_batches_cost_half_and_each_takes_as_long_as_one() -> None:
    sample, prices = [SampledDocument(1000, 800, 1)], Prices(1.0, 2.0, batch=0.4)
    usual, batch, flex = (
        estimate(sample, 100, Allowance(), Load(prices, second_passes=1, tier=tier, a_round=30))
        for tier in ("", "batch", "flex")
    )
    assert batch.cost == pytest.approx(0.4 * usual.cost) and flex.cost == pytest.approx(0.5 * usual.cost)
    assert batch.seconds == 4 * 2 * 3600 and any("24 hours" in line for line in batch.assumptions)
    capped = estimate(sample, 100, Allowance(cost=nano(usual.cost / 2)), Load(prices, second_passes=1, tier="batch"))
    assert capped.documents == 100, "the cap is one at the price of batches"


def test_grades_are_part_of_replies_that_nobody_has_seen_yet() -> None:
    sample = [SampledDocument(1000, 800, 1)]
    plain, graded = (estimate(sample, 100, Allowance(), Load(grades=grades)) for grades in (False, True))
    assert graded.completion_tokens == pytest.approx(1.05 * plain.completion_tokens)
    seen = (estimate(sample, 100, Allowance(), Load(grades=grades, reply_tokens=50)) for grades in (False, True))
    assert len({plan.completion_tokens for plan in seen}) == 1


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
