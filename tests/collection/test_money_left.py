"""A run spends what it was given, and never more: what is left at its end is less than one document may cost."""

from __future__ import annotations

import json
import logging
import random

import pytest
from datasets import Dataset

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector
from equal_hf.collection.fill_round import fill_round
from equal_hf.collection.replay_records import recorded_documents, replay, rows_by_round
from equal_hf.extraction.budget import NANO, Prices
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.records.run_folder import RoundRecords
from tests.extraction.endpoints import SHORT, completion
from tests.servers.faults import Fault
from tests.servers.providers.openai import CHAT
from tests.servers.standin import StandIn
from tests.world import make_documents, make_target

PRICES = Prices(1000.0, 2000.0)
REPLY_TOKENS = 300


@pytest.fixture(scope="module")
def corpus(world, tmp_path_factory):
    """Sixty documents, of which a third is long: a prompt of 400 to 4,000 tokens."""
    rows = make_documents(12)
    for number, row in enumerate(rows):
        row["text"] += " and more of it" * (900 if number % 3 == 0 else number)
    folder = tmp_path_factory.mktemp("mixed")
    options = {"n_clusters": 6, "id_column": "id", "seed": 0, "threads": 1, "show_progress": False}
    ClusteredCorpus.build(Dataset.from_list(rows), folder, embedder=str(world / "embedder"), **options)
    return ClusteredCorpus.load(folder)


def make(corpus, folder, server, max_cost, **settings) -> EqualDataCollector:
    options = {"api_key": CHAT.key, "model": CHAT.model, "max_retries": 2, "prompt": SHORT}
    endpoint = {"store": folder / "responses.sqlite", "max_error_rate": 1.0, "prices": PRICES} | options
    settings = {"num_rounds": 20, "arms_per_round": 3, "documents_per_arm": 4, "filters": []} | settings
    return EqualDataCollector(
        corpus,
        EndpointExtractor(server.url, max_new_tokens=REPLY_TOKENS, **endpoint),
        args=CollectorConfig(output_dir=str(folder), max_cost=max_cost, **settings),
        reference=make_target().reference,
    )


def answer(body, _):
    tokens = sum(len(message["content"]) for message in body["messages"]) // 4
    return completion(usage={"prompt_tokens": tokens, "completion_tokens": 60})


def test_what_does_not_fit_gives_its_place_to_what_does(corpus, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    with StandIn(CHAT) as server:
        server.judge = answer
        collector = make(corpus, tmp_path / "run", server, 15.0)
        rounds = list(collector.rounds())
        paid = collector.extractor.paid().cost / NANO
        summary = collector.spending.summary(collector.history)
        collector.close()
        sent = len(server.chats)
        again = make(corpus, tmp_path / "run", server, 15.0)
        assert [round.decisions for round in again.rounds()] == [round.decisions for round in rounds]
        again.close()
        assert len(server.chats) <= sent + 2, "no more than the first contact"
    # A short document: its bytes and those of the prompt, and one reply.
    assert 15.0 - 2.0 <= paid <= 15.0 and rounds[-1].last
    drawn = [document for round in rounds for decision in round.decisions for document in decision.documents]
    assert len(drawn) == len(set(drawn)) and [round.documents for round in rounds[:-1]] == [12] * (len(rounds) - 1)
    assert summary["left_cost"] == pytest.approx(15.0 - paid)
    (told,) = {record.message for record in caplog.records if "The run ends" in record.message}
    assert f"after {len(rounds)} rounds: no document that was drawn is sure to fit" in told
    assert "of 15 money (`max_cost`)" in told
    ended = json.loads((tmp_path / "run" / "run.json").read_text())["ended"]
    assert ended == {"by": "max_cost", "left": {"max_cost": pytest.approx(15.0 - paid)}}
    records = RoundRecords(tmp_path / "run")
    played = replay(
        make(corpus, tmp_path / "again", server, 15.0).selector,
        recorded_documents([records]),
        rounds=len(rounds),
        arms_per_round=3,
        documents_per_arm=4,
        seed=42,
        extracted=rows_by_round(records),
    )
    assert [step.round.decisions for step in played] == [round.decisions for round in rounds]


@pytest.mark.parametrize("seed", [0, 1])
def test_lost_requests_end_no_run_and_the_bill_stays_within_the_limit(corpus, seed, tmp_path) -> None:
    """One connection in six is dropped after the server has the request: it may be billed at its worst."""
    rng = random.Random(seed)
    with StandIn(CHAT) as server:

        def judge(body, number):
            return (
                Fault(action="drop") if rng.random() < 1 / 6 and "Say hello" not in str(body) else answer(body, number)
            )

        server.judge = judge
        collector = make(corpus, tmp_path, server, 25.0)
        rounds = list(collector.rounds())
        paid = collector.extractor.paid()
    assert paid.unanswered and 25.0 - 2.0 <= paid.cost / NANO <= 25.0
    assert len(rounds) > 1


def test_rounds_that_end_a_run_say_what_is_left(corpus, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    with StandIn(CHAT) as server:
        server.judge = answer
        list(make(corpus, tmp_path, server, 60.0, num_rounds=1, documents_per_arm=1).rounds())
    assert "its 1 rounds are done (`num_rounds`). Left: " in caplog.text
    assert "of 60 money (`max_cost`). To spend it, raise `num_rounds` and start again" in caplog.text


def test_draws_of_one_cluster_are_one_decision(corpus, tmp_path) -> None:
    """Of each cluster but one half fits: what takes the place of the rest comes from clusters drawn from before."""
    with StandIn(CHAT) as server:
        selector = make(corpus, tmp_path, server, 1.0).selector
    asked: list[tuple[int, int]] = []

    def fits(draws):
        asked.extend((draw.arm, row) for draw in draws for row in draw.rows)
        return [[(draw.arm + row) % 2 == 0 for row in draw.rows] for draw in draws]

    draws, full = fill_round(selector, 3, 4, 0, 0, None, fits)
    assert full and sum(len(draw.rows) for draw in draws) == 12
    assert len(asked) == len(set(asked)) > 12
    assert len({draw.arm for draw in draws}) == len(draws)
    assert all((draw.arm + row) % 2 == 0 for draw in draws for row in draw.rows)
    assert all(len(draw.embeddings) == len(draw.rows) for draw in draws)
