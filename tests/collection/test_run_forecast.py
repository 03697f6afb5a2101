"""A run knows what the rest of its budget buys, records it, and ends by itself where it is told to."""

import json
import logging

import pytest

from equal_hf import ClusteredCorpus, CollectorConfig
from equal_hf.cli.plan import useful_pairs
from equal_hf.collection.run_forecast import forecast_run
from equal_hf.errors import ConfigError, RecordError
from equal_hf.extraction.budget import Prices
from equal_hf.tracking.metrics import round_metrics
from equal_hf.tracking.progress_view import ProgressView
from equal_hf.types import Usage
from tests.collection.test_collector import make
from tests.processes import digests

SETTINGS = {"num_rounds": 20, "arms_per_round": 2, "documents_per_arm": 5, "pair_values": ["nearness"]}


@pytest.fixture(scope="module")
def corpus(world):
    return ClusteredCorpus.load(world / "corpus")


def collected(corpus, folder, **settings):
    collector = make(corpus, folder, **SETTINGS | settings)
    rounds = list(collector.rounds())
    collector.close()
    return collector, rounds


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return collected(corpus, tmp_path_factory.mktemp("whole") / "run")


def test_every_round_records_what_is_known(corpus, whole):
    collector, rounds = whole
    records = [collector.records.reward_record(round.index) for round in rounds]
    found = [record["useful_pairs"] for record in records]
    assert sum(found) >= 50
    assert all(count <= len(round.pairs) for count, round in zip(found, rounds, strict=True))
    known = [record.get("forecast") for record in records]
    assert known[:3] == [None] * 3 and all(known[3:-1]) and known[-1] is None  # nothing is left in the end
    middle = known[9]
    assert middle["useful"] == sum(found[:10]) and (middle["spent"], middle["left"]) == (100.0, 100.0)
    assert middle["unit"] == "documents" and middle["cost_per_useful_pair"] is None
    shares = [one["found_share"] for one in known[3:-1]]
    assert shares[-1] > 0.9 > shares[0]


def test_records_forecast_the_same_when_they_are_read(corpus, whole):
    collector, rounds = whole
    again = make(corpus, collector.args.output_dir, **SETTINGS)
    again.open()
    for round in rounds:
        now = again.forecast(round.index)
        recorded = again.records.reward_record(round.index).get("forecast")
        assert recorded == (None if now is None else json.loads(json.dumps(now.record())))
    again.close()


def test_a_run_ends_when_most_is_found_and_goes_on_when_told(corpus, whole, tmp_path, caplog):
    _, rounds = whole
    with caplog.at_level(logging.INFO):
        collector, stopped = collected(corpus, tmp_path, stop_when=0.9)
    assert 4 <= len(stopped) < len(rounds) and stopped[-1].last
    assert f"Round {len(stopped)} is the last" in caplog.text and "`stop_when` is 0.9" in caplog.text
    assert [round.pairs for round in stopped] == [round.pairs for round in rounds[: len(stopped)]]
    useful = sum(collector.selector.useful) / sum(whole[0].selector.useful)
    assert 0.75 < useful <= 1
    before = digests(tmp_path / "rounds")
    assert len(collected(corpus, tmp_path, stop_when=0.9)[1]) == len(stopped)
    assert digests(tmp_path / "rounds") == before
    more = collected(corpus, tmp_path)[1]
    assert [round.pairs for round in more] == [round.pairs for round in rounds]


def test_trackers_and_the_progress_line_have_it(whole):
    collector, rounds = whole
    record = collector.records.reward_record(9)
    metrics = round_metrics(rounds[9], record, collector.totals(9))
    half = record["forecast"]["ahead"][1]
    assert metrics["equal/forecast/next_50/useful"] == half["useful"]
    assert metrics["equal/useful_pairs_total"] == record["forecast"]["useful"]
    line = ProgressView(collector.args, "run").line(metrics)
    assert "useful" in line and "of the rest of the budget" in line


def test_a_plan_says_what_the_run_last_expected(corpus, tmp_path):
    collector, _ = collected(corpus, tmp_path, stop_when=0.5)
    told = useful_pairs(tmp_path)
    last = collector.records.reward_record(collector.history.rounds - 1)["forecast"]
    assert f"has {last['useful']} useful pairs" in told and f"{last['left']:g} documents" in told


@pytest.mark.parametrize("damage", [{"useful_pairs": "many"}, {"forecast": {"useful": 3}}, {"forecast": [1]}])
def test_a_damaged_forecast_is_told(corpus, tmp_path, damage):
    collector, _ = collected(corpus, tmp_path, num_rounds=5)
    path = tmp_path / "rounds" / "round-00004" / "rewards.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(RecordError, match=r"rewards\.json is damaged"):
        collector.records.reward_record(4)


USAGE = Usage(prompt_tokens=1_000, completion_tokens=100, requests=1)


FREE = Prices()


def forecast_of(useful, corpus=10_000, prices=FREE, **settings):
    args = CollectorConfig(**{"num_rounds": 100, "arms_per_round": 2, "documents_per_arm": 5} | settings)
    rounds = len(useful)
    known = forecast_run([10] * rounds, [USAGE] * rounds, useful, args, prices, corpus)
    return known, None if known is None else known.ends_run(args)


def test_the_budget_is_what_runs_out_first():
    useful = [20, 18, 17, 15, 14, 12, 11, 10]
    assert forecast_of(useful)[0].left == 920  # of 100 rounds
    assert forecast_of(useful, corpus=500)[0].left == 420
    assert forecast_of(useful, max_documents=180)[0].left == 100
    known, _ = forecast_of(useful, max_prompt_tokens=20_000, max_documents=900)
    assert (known.unit, known.spent, known.left) == ("prompt_tokens", 8_000, 12_000)
    known, _ = forecast_of(useful, prices=Prices(1.0, 5.0), max_cost=0.02, max_prompt_tokens=20_000)
    assert (known.unit, known.left) == ("cost", pytest.approx(0.008))
    assert known.cost_per_useful_pair == pytest.approx(0.1 * 0.008 / known.ahead[0].useful)
    assert forecast_of([0] * 8)[0].useful == 0


def test_a_run_ends_when_the_next_pair_costs_too_much():
    useful = [40, 36, 30, 20, 10, 5, 2, 1]
    prices = Prices(1.0, 5.0)
    known, reason = forecast_of(useful, prices=prices, max_cost_per_useful_pair=0.0002)
    assert known.cost_per_useful_pair > 0.0002 and "`max_cost_per_useful_pair` is 0.0002" in reason
    assert forecast_of(useful, prices=prices, max_cost_per_useful_pair=10.0)[1] is None


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"stop_when": 1.0}, "`stop_when` is 1.0"),
        ({"stop_when": 0.0}, "`stop_when` is 0.0"),
        ({"max_cost_per_useful_pair": 0.0}, "`max_cost_per_useful_pair` is 0.0"),
        ({"max_cost_per_useful_pair": 1.0}, "`max_cost_per_useful_pair` is set but nothing costs anything"),
    ],
)
def test_what_cannot_end_a_run_is_refused(corpus, tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        make(corpus, tmp_path, **settings)
