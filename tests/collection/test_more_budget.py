"""A run that ended goes on when its limits are raised."""

import json
import logging

import pytest

from equal_hf import ClusteredCorpus
from equal_hf.errors import ResumeError
from equal_hf.records.changes import limits_at_start
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from tests.collection.test_collector import make
from tests.processes import digests


@pytest.fixture(scope="module")
def corpus(world):
    return ClusteredCorpus.load(world / "corpus")


def collected(corpus, folder, **settings):
    collector = make(corpus, folder, **settings)
    rounds = list(collector.rounds())
    collector.close()
    return rounds


def essence(rounds):
    return [(round.decisions, round.pairs, round.rewards) for round in rounds]


@pytest.mark.parametrize("lag", [0, 1])
def test_more_rounds_are_those_of_a_run_that_had_them_from_the_start(corpus, tmp_path, lag, caplog):
    whole = collected(corpus, tmp_path / "whole", num_rounds=5, feedback_lag=lag)
    collected(corpus, tmp_path / "parts", num_rounds=2, feedback_lag=lag)
    before = digests(tmp_path / "parts" / "rounds")
    with caplog.at_level(logging.INFO):
        parts = collected(corpus, tmp_path / "parts", num_rounds=5, feedback_lag=lag)
    assert essence(parts) == essence(whole)
    after = digests(tmp_path / "parts" / "rounds")
    assert {name: after[name] for name in before} == before, "what was decided under the smaller budget stays"
    assert "From round 2 on `num_rounds` is 5; it was 2" in caplog.text
    assert essence(collected(corpus, tmp_path / "parts", num_rounds=5, feedback_lag=lag)) == essence(whole)


def test_more_documents_follow_a_round_that_was_cut_short(corpus, tmp_path):
    first = collected(corpus, tmp_path, num_rounds=9, max_documents=19)
    assert [round.documents for round in first] == [8, 8, 3]
    more = collected(corpus, tmp_path, num_rounds=9, max_documents=30)
    assert [round.documents for round in more] == [8, 8, 3, 8, 3]
    assert essence(more[:3]) == essence(first)
    last = collected(corpus, tmp_path, num_rounds=9)
    assert [round.documents for round in last] == [8, 8, 3, 8, 3, 8, 8, 8, 8]
    drawn = [document for round in last for decision in round.decisions for document in decision.documents]
    assert len(drawn) == len(set(drawn))
    changes = RunFile(tmp_path).read()["changes"]
    assert [(change["from_round"], change["changed"]["max_documents"]) for change in changes] == [
        (3, [19, 30]),
        (5, [30, None]),
    ]


def test_a_limit_of_another_unit_changes_no_draw(corpus, tmp_path):
    """What value is weighed against would be another for rounds on record too, and no replay would find them."""
    whole = collected(corpus, tmp_path / "whole", num_rounds=6, max_documents=48)
    collected(corpus, tmp_path / "parts", num_rounds=6, max_documents=16)
    parts = collected(corpus, tmp_path / "parts", num_rounds=6, max_documents=48, max_prompt_tokens=10**6)
    assert essence(parts) == essence(whole)
    assert limits_at_start(RunFile(tmp_path / "parts").read())["max_prompt_tokens"] is None


def test_a_start_that_was_killed_before_the_first_new_round_goes_on_too(corpus, tmp_path):
    collected(corpus, tmp_path, num_rounds=2)
    killed = make(corpus, tmp_path, num_rounds=3)
    killed.open()
    killed.close()
    assert len(collected(corpus, tmp_path, num_rounds=3)) == 3
    assert len(RunFile(tmp_path).read()["changes"]) == 1


def test_what_a_finished_run_measured_is_removed_when_it_goes_on_and_kept_when_it_cannot(corpus, tmp_path):
    collected(corpus, tmp_path, num_rounds=2, max_documents=99)
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / "pool").mkdir()
    collected(corpus, tmp_path, num_rounds=2, max_documents=100)  # the rounds end it as before
    assert (tmp_path / "result.json").exists() and (tmp_path / "pool").exists()
    collected(corpus, tmp_path, num_rounds=3, max_documents=100)
    assert not (tmp_path / "result.json").exists() and not (tmp_path / "pool").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_rounds": 1}, "`num_rounds` was 3 and is 1 now, but .* has spent 2 already: raise it to that at least"),
        ({"max_documents": 15}, "`max_documents` was not set and is 15 now, but .* has spent 16 already"),
        ({"num_rounds": 4, "seed": 1}, "seed: 42 → 1"),
        ({"num_rounds": 4, "bandit": None}, "bandit.policy"),
    ],
)
def test_below_what_is_spent_and_anything_else_is_refused_and_nothing_changes(corpus, tmp_path, settings, message):
    from equal_hf import Uniform

    if "bandit" in settings:
        settings = settings | {"bandit": Uniform()}
    collector = make(corpus, tmp_path, num_rounds=3)
    for index in range(2):
        collector.record_rewards(collector.collect(index))
    collector.close()
    before = digests(tmp_path)
    with pytest.raises(ResumeError, match=message):
        make(corpus, tmp_path, **settings).open()
    assert digests(tmp_path) == before
    lowered = collected(corpus, tmp_path, num_rounds=3, max_documents=16)  # to just what is spent
    assert len(lowered) == 2


def test_a_replay_knows_which_limit_held_in_which_round(corpus, tmp_path):
    from equal_hf.collection.replay_records import recorded_documents, replay

    collected(corpus, tmp_path / "run", num_rounds=9, max_documents=19)
    rounds = collected(corpus, tmp_path / "run", num_rounds=9, max_documents=30)
    sizes = {"rounds": 5, "arms_per_round": 2, "documents_per_arm": 4, "seed": 42}
    selector = make(corpus, tmp_path / "again").selector
    recorded = recorded_documents([RoundRecords(tmp_path / "run")])
    played = list(replay(selector, recorded, max_documents=[19, 19, 19, 30, 30], **sizes))
    assert [step.round.decisions for step in played] == [round.decisions for round in rounds]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["fingerprint"]["max_documents"] == 30
