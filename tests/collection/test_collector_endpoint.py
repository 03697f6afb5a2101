"""A collector that pays for its pairs: money, ledger and raw replies over real HTTP."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time

import pyarrow.parquet as pq
import pytest

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector
from equal_hf.errors import ConfigError, ExtractionError
from equal_hf.extraction.budget import NANO, Prices
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.publishing.dataset import export_dataset
from equal_hf.records.run_folder import RoundRecords
from equal_hf.report.write_report import write_report
from equal_hf.tracking.tracked_run import TrackedRun
from equal_hf.utils.hashing import content_hash
from tests.extraction.endpoints import MODELS, PAIRS, completion
from tests.servers.faults import Fault, FaultyServer
from tests.servers.providers.openai import CHAT
from tests.servers.standin import StandIn
from tests.tracking.wandb_file import wandb_rows
from tests.world import make_target

USAGE = {"prompt_tokens": 400, "completion_tokens": 100}
PRICES = Prices(1000.0, 2000.0)


@pytest.fixture
def server():
    with FaultyServer(pages=MODELS) as server:
        server.faults = [completion(usage=USAGE) for _ in range(300)]
        yield server


def make(world, folder, server, prices=PRICES, endpoint=None, **settings) -> EqualDataCollector:
    settings = {"num_rounds": 3, "arms_per_round": 2, "documents_per_arm": 4, "filters": ["duplicate"]} | settings
    options = {"url": server.url, "store": folder / "responses.sqlite"} | (endpoint or {})
    return EqualDataCollector(
        ClusteredCorpus.load(world / "corpus"),
        EndpointExtractor(max_new_tokens=200, prices=prices, **options),
        args=CollectorConfig(output_dir=str(folder), **settings),
        reference=make_target().reference,
    )


def test_what_is_paid_is_told_and_belongs_to_the_run(world, server, tmp_path) -> None:
    collector = make(world, tmp_path, server)
    rounds = list(collector.rounds())
    assert sum(round.documents for round in rounds) == 24
    assert collector.totals(2)["cost_paid"] == pytest.approx(24 * (0.4 + 0.2))
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["endpoints"]["endpoints"][0]["schema"] == "heeded"
    assert server.url in str(run["endpoints"])
    tracked = TrackedRun(collector, "wandb")
    for round in rounds:
        tracked.log(round)
    tracked.close()
    told = [row["equal/cost_paid_total"] for row in wandb_rows(tmp_path) if "equal/round" in row]
    assert told == pytest.approx([14.4] * 3), "all that was paid by then"
    card = (export_dataset(tmp_path) / "README.md").read_text()
    assert "| money paid, in the currency of the prices | 14.4 |" in card
    size = int(collector.corpus.sizes.sum())
    assert f"| share of the corpus that was not extracted | {1 - 24 / size:.1%} of {size:,} documents |" in card
    collector.close()
    again = make(world, tmp_path, server)
    assert [round.pairs for round in again.rounds()] == [round.pairs for round in rounds]
    assert again.totals(2) == collector.totals(2)
    assert len(server.chats) == 1 + 24 + 1, "two probes, every document once"


def test_an_endpoint_that_refuses_a_parameter_by_now_is_recorded_and_gone_on_with(world, tmp_path) -> None:
    words = "Unsupported parameter: 'temperature' is not supported with this model."
    refusal = Fault(400, body=json.dumps({"error": {"message": words, "param": "temperature"}}))
    endpoint = {"api_key": CHAT.key, "model": CHAT.model}
    with StandIn(CHAT) as server:
        refuses = False
        server.judge = lambda body, _: refusal if refuses and "temperature" in body else completion(usage=USAGE)
        collector = make(world, tmp_path, server, num_rounds=4, endpoint=endpoint)
        rounds = collector.rounds()
        next(rounds)
        refuses = True
        next(rounds)
        (told,) = json.loads((tmp_path / "run.json").read_text())["endpoints"]["endpoints"]
        assert told["left_out"] == ["temperature"]
        collector.close()
        again = make(world, tmp_path, server, num_rounds=4, endpoint=endpoint)
        assert len(list(again.rounds())) == 4
    changes = json.loads((tmp_path / "run.json").read_text())["changes"]
    assert changes == [{"from_round": 2, "changed": {"extractor.sampling.temperature": [0.0, None]}}]


def test_grades_are_recorded_with_what_pairs_are_worth(world, server, tmp_path) -> None:
    graded = json.dumps(
        {"pairs": [{"question": f"How many apples are {n} apples?", "answer": f"{n}.", "fit": n} for n in (3, 0)]}
    )
    server.faults = [completion(), *[completion(graded)] * 8]
    collector = make(world, tmp_path, server, num_rounds=1, filters=[], pair_values=["nearness", "grade"])
    items = tuple((item.question, item.answer) for item in collector.reference[:2])
    collector.extractor.prompt = PromptTemplate(grade=True, grade_items=items)
    (round,) = collector.rounds()
    assert [pair.grade for pair in round.pairs] == [3, 0] * 8
    rows = RoundRecords(tmp_path).pair_table(0).to_pylist()
    assert [(row["grade"], row["value_grade"]) for row in rows] == [(3, 1.0), (0, 0.0)] * 8
    near, graded = collector.selector.pair_values.weights
    for row in rows:
        assert row["value"] == pytest.approx(near * row["value_nearness"] + graded * row["value_grade"])
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["fingerprint"]["extractor"]["grade_items"] == [content_hash(question) for question, _ in items]
    assert run["fingerprint"]["pair_values"] == {"nearness": 1.0, "grade": 4.0}
    assert run["reliability"]["grade"]["documents"] == 8
    assert items[0][0] not in json.dumps(run)


def test_grades_that_say_nothing_are_told_of_once_and_in_the_report(world, server, tmp_path, caplog) -> None:
    server.faults = [completion(PAIRS.replace('"}]', '", "fit": 3}]'))] * 100
    collector = make(world, tmp_path, server, num_rounds=5, documents_per_arm=8, filters=[])
    items = tuple((item.question, item.answer) for item in collector.reference[:2])
    collector.extractor.prompt = PromptTemplate(grade=True, grade_items=items)
    assert len(list(collector.rounds())) == 5
    told = [record.message for record in caplog.records if "say little" in record.message]
    assert len(told) == 1 and "64 pairs of 64 documents say little: all are the same. They count 0 %" in told[0]
    assert "`extractor_grade: false`" in told[0]
    page = write_report(tmp_path).read_text()
    assert "reliability of grades (all are the same)" in page


def test_a_filter_that_rejects_keeps_the_reply(world, server, tmp_path) -> None:
    collector = make(world, tmp_path, server, num_rounds=1)
    list(collector.rounds())
    round = RoundRecords(tmp_path).load(0)
    assert len(round.pairs) == 1 and len(round.pairs[0].response_key) == 64
    assert len(round.rejected) == 7
    assert {(rejection.reason, rejection.raw) for rejection in round.rejected} == {("duplicate", PAIRS)}


def test_pairs_bear_what_their_replies_cost_when_these_were_asked_for(world, server, tmp_path) -> None:
    """Of each reply's three pairs one is a duplicate: the two that stay bear the money of all."""
    pairs = [[{"question": f"How many eggs lay {n} hens?", "answer": f"{n}{k}"} for k in (1, 2)] for n in range(9)]
    replies = [json.dumps({"pairs": [*two, two[0]]}) for two in pairs]
    server.faults = [completion(usage=USAGE), *(completion(reply, usage=USAGE) for reply in replies)]
    small = {"num_rounds": 1, "arms_per_round": 2, "documents_per_arm": 4}
    collector = make(world, tmp_path, server, **small)
    (round,) = collector.rounds()
    assert [pair.cost for pair in round.pairs] == pytest.approx([0.6 / 2] * 16)
    assert sum(pair.cost for pair in round.pairs) == pytest.approx(collector.totals(0)["cost_paid"])
    collector.close()
    table = pq.read_table(export_dataset(tmp_path) / "data/train/round-00000.parquet")
    assert table["cost_paid"].to_pylist() == [pair.cost for pair in round.pairs]
    # Another run that finds these replies in the store pays nothing for them, whatever its prices say.
    with sqlite3.connect(tmp_path / "responses.sqlite") as connection:
        connection.execute("UPDATE responses SET reasoning = 'Hens and ' || ?", (collector.reference[0].question,))
    connection.close()
    server.faults = [completion(usage=USAGE)]
    shared = {"store": tmp_path / "responses.sqlite", "record_reasoning": True}
    small["filters"] = ["contaminated", "duplicate"]
    again = make(world, tmp_path / "again", server, Prices(5.0, 5.0), shared, **small)
    (repeated,) = again.rounds()
    assert again.totals(0)["cost_paid"] == 0.0
    assert [pair.cost for pair in repeated.pairs] == [pair.cost for pair in round.pairs]
    assert {pair.reasoning[:9] for pair in repeated.pairs} == {"withheld:"}, "it quotes an item of the reference"


def test_money_is_told_by_endpoint_and_day_with_what_was_lost(world, server, tmp_path) -> None:
    with FaultyServer(pages=MODELS) as other:
        for one in (server, other):
            one.faults = [completion(usage=USAGE), Fault(action="drop"), *[completion(usage=USAGE)] * 40]
        collector = make(world, tmp_path, server, num_rounds=1, endpoint={"url": [server.url, other.url]})
        assert len(list(collector.rounds())) == 1
        summary = collector.spending.summary(collector.history)
    worst = 2 * (200 * 2e-3 + collector.spending.lost()["lost_prompt_tokens"] / 2 * 1e-3)
    assert summary["lost_requests"] == 2 and summary["lost_completion_tokens"] == 400
    assert summary["cost_paid"] == pytest.approx(8 * 0.6 + worst)
    assert summary[f"cost_paid/{server.url}"] + summary[f"cost_paid/{other.url}"] == pytest.approx(
        summary["cost_paid"]
    )
    card = (export_dataset(tmp_path) / "README.md").read_text()
    assert f"| `money paid to {server.url}` |" in card
    assert f"| `money paid on {time.strftime('%Y-%m-%d', time.gmtime())}` |" in card
    assert "| `of it for requests without a reply, at most` |" in card
    page = write_report(tmp_path, pictures=False).read_text()
    assert f"money paid to {server.url}" in page


def test_what_a_round_collected_ahead_costs_is_not_told_of_the_round_before(world, server, tmp_path) -> None:
    collector = make(world, tmp_path, server, feedback_lag=1)
    collector.collect(0)
    told = collector.totals(0)
    collector.collect(1)
    assert collector.totals(0) == told and told["cost_paid"] == pytest.approx(8 * 0.6)
    assert collector.totals(1)["cost_paid"] == pytest.approx(16 * 0.6)
    collector.close()


def test_what_was_paid_by_a_round_stays_as_it_was_told(world, server, tmp_path) -> None:
    collector = make(world, tmp_path, server)
    told = [collector.totals(round.index)["cost_paid"] for round in collector.rounds()]
    assert told == pytest.approx([4.8, 9.6, 14.4])
    assert [collector.totals(index)["cost_paid"] for index in range(3)] == told
    collector.close()
    with contextlib.closing(make(world, tmp_path, server, num_rounds=4)) as again:
        told = [again.totals(round.index)["cost_paid"] for round in again.rounds()]
    assert told == pytest.approx([14.4, 14.4, 14.4, 19.2]), "before this start, and by the end of what it collected"


def test_the_money_cap_ends_the_run_in_order(world, server, tmp_path) -> None:
    collector = make(world, tmp_path, server, max_cost=9.0, num_rounds=10)
    rounds = list(collector.rounds())
    assert rounds and rounds[-1].last and sum(round.documents for round in rounds) < 80
    assert 0 < collector.extractor.paid().cost <= 9 * NANO
    collector.close()
    resumed = make(world, tmp_path, server, max_cost=9.0, num_rounds=10)
    assert len(list(resumed.rounds())) == len(rounds)


def test_a_money_cap_without_prices_is_told_of(world, server, tmp_path) -> None:
    with pytest.raises(ConfigError, match="`price_per_million_prompt_tokens`"):
        list(make(world, tmp_path, server, prices=Prices(), max_cost=9.0).rounds())


def test_a_money_cap_holds_by_the_prices_that_an_endpoint_lists(world, tmp_path) -> None:
    with StandIn("router") as router:
        endpoint = {"url": router.url, "api_key": router.rules.key, "model": router.rules.model}
        collector = make(world, tmp_path, router, Prices(), endpoint, max_cost=0.003, num_rounds=10)
        rounds = list(collector.rounds())
        assert rounds[-1].last and 0.0005 * NANO < router.bill.total.cost <= 0.003 * NANO
    told = json.loads((tmp_path / "run.json").read_text())["endpoints"]["endpoints"][0]["listed_prices"]
    assert told == {"prompt": 0.075, "completion": 0.3}


def test_a_round_of_which_nothing_came_is_not_recorded_and_drawn_again(world, server, tmp_path) -> None:
    small = {"arms_per_round": 1, "documents_per_arm": 2, "num_rounds": 2}
    server.faults = [completion(usage=USAGE), *[Fault(400, body="flaky") for _ in range(40)]]
    collector = make(world, tmp_path, server, **small)
    with pytest.raises(ExtractionError, match=r"nothing came of the 2 documents of this round: HTTP 400 flaky"):
        list(collector.rounds())
    collector.close()
    assert not RoundRecords(tmp_path).indices()
    asked = {str(seen.body["messages"]) for seen in server.chats[1:]}
    server.faults = [completion(usage=USAGE) for _ in range(20)]
    sent = len(server.chats)
    again = make(world, tmp_path, server, **small)
    assert [round.documents for round in again.rounds()] == [2, 2]
    assert {str(seen.body["messages"]) for seen in server.chats[sent + 1 : sent + 3]} == asked


def test_tokens_that_brought_nothing_count_after_a_restart_too(world, server, tmp_path) -> None:
    settings = {"arms_per_round": 1, "documents_per_arm": 2, "num_rounds": 9, "max_completion_tokens": 2000}
    server.faults = [completion(usage=USAGE), *[Fault(action="drop") for _ in range(300)]]
    for _ in range(3):
        collector = make(world, tmp_path, server, **settings)
        with contextlib.suppress(ExtractionError):
            assert list(collector.rounds()) == []
        collector.close()
        server.faults = [completion(usage=USAGE), *server.faults]
    probes = sum("Say hello" in str(seen.body["messages"]) for seen in server.chats)
    assert probes == 3
    assert 5 <= len(server.chats) - probes <= 10, "10 replies of 200 tokens can have been generated, and no more"
