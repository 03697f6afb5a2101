"""The collector alone: rounds, budgets, resuming, and what it tells the bandit."""

import dataclasses

import numpy as np
import pytest

from equal_hf import (
    UCB,
    ClusteredCorpus,
    CollectorConfig,
    EqualDataCollector,
    ExplicitExtractor,
    QAPair,
    TargetItem,
    Uniform,
    known_at,
    loss_drop_reward,
    transport_reward,
)
from equal_hf.errors import ConfigError, ResumeError
from tests.world import make_target


@pytest.fixture(scope="module")
def corpus(world):
    return ClusteredCorpus.load(world / "corpus")


def make(corpus, folder, *, extractor=None, bandit=None, rewards=None, reference=None, protected=(), **settings):
    settings = {"num_rounds": 3, "arms_per_round": 2, "documents_per_arm": 4} | settings
    return EqualDataCollector(
        corpus,
        extractor or ExplicitExtractor(),
        bandit,
        rewards,
        CollectorConfig(output_dir=str(folder), **settings),
        reference=make_target().reference if reference is None else reference,
        protected=protected,
    )


def topics(corpus, collector, round):
    ids = {document for decision in round.decisions for document in decision.documents}
    drawn = [d for arm in range(corpus.n_clusters) for d in corpus.draw(arm, int(corpus.sizes[arm])) if d.id in ids]
    return [document.metadata["source"] for document in drawn]


def test_rounds_draw_documents_like_the_target(corpus, tmp_path):
    collector = make(corpus, tmp_path)
    rounds = list(collector.rounds())
    assert [round.index for round in rounds] == [0, 1, 2]
    assert all(round.documents == 8 for round in rounds)
    found = [topic for round in rounds for topic in topics(corpus, collector, round)]
    assert found.count("arithmetic") >= 0.5 * len(found)  # a fifth of the corpus
    assert [pair.document_id for pair in rounds[0].pairs]


def test_no_document_is_drawn_twice_and_all_can_be(corpus, tmp_path):
    total = int(corpus.sizes.sum())
    collector = make(corpus, tmp_path, num_rounds=99, arms_per_round=4, documents_per_arm=9)
    rounds = list(collector.rounds())
    drawn = [document for round in rounds for decision in round.decisions for document in decision.documents]
    assert len(drawn) == len(set(drawn)) == total
    assert rounds[-1].last and len(rounds) == -(-total // 36)


def test_the_control_draws_like_the_corpus(corpus, tmp_path):
    collector = make(corpus, tmp_path, bandit=Uniform(), num_rounds=2, arms_per_round=5, documents_per_arm=10)
    found = [topic for round in collector.rounds() for topic in topics(corpus, collector, round)]
    assert len(found) == 100
    assert 8 <= found.count("arithmetic") <= 33


@pytest.mark.parametrize("bandit", [UCB(), Uniform()], ids=["ucb", "uniform"])
def test_the_document_budget_is_spent_and_never_passed(corpus, tmp_path, bandit):
    rounds = list(make(corpus, tmp_path, bandit=bandit, num_rounds=9, max_documents=19).rounds())
    assert [round.documents for round in rounds] == [8, 8, 3]
    assert [round.last for round in rounds] == [False, False, True]


@pytest.mark.parametrize("cap", ["max_prompt_tokens", "max_completion_tokens"])
def test_a_token_budget_is_never_passed(corpus, tmp_path, cap):
    spent = list(make(corpus, tmp_path / "free", budget_in="tokens").rounds())
    name = cap.removeprefix("max_")
    limit = int(0.6 * sum(getattr(round.usage, name) for round in spent))
    rounds = list(make(corpus, tmp_path / "capped", num_rounds=9, **{cap: limit}).rounds())
    used = sum(getattr(round.usage, name) for round in rounds)
    assert 0.5 * limit < used <= limit
    assert rounds[-1].last
    assert rounds[0] == spent[0]


@pytest.mark.parametrize("lag", [0, 1])
def test_a_round_is_selected_from_the_rewards_its_lag_allows(corpus, tmp_path, lag):
    rounds = list(make(corpus, tmp_path, num_rounds=4, feedback_lag=lag).rounds())
    assert [round.rewards_through for round in rounds] == [max(-1, index - 1 - lag) for index in range(4)]


def test_a_stopped_run_goes_on_where_it_was(corpus, tmp_path):
    whole = list(make(corpus, tmp_path / "whole", num_rounds=4).rounds())
    first = make(corpus, tmp_path / "parts", num_rounds=4)
    stream = first.rounds()
    next(stream), next(stream)
    first.collect(2)  # extracted, without rewards
    first.close()
    assert list(make(corpus, tmp_path / "parts", num_rounds=4).rounds()) == whole


def test_other_settings_are_refused_on_resume(corpus, tmp_path):
    collector = make(corpus, tmp_path)
    collector.open()
    collector.close()
    with pytest.raises(ResumeError, match=r"bandit\.alpha: 0\.1 → 0\.5.*seed: 42 → 43"):
        make(corpus, tmp_path, bandit=UCB(alpha=0.5), seed=43).open()
    make(corpus, tmp_path).open()


def test_rewards_are_recorded_in_order(corpus, tmp_path):
    collector = make(corpus, tmp_path)
    collector.collect(0)
    with pytest.raises(ResumeError, match="round 0 has no recorded rewards"):
        collector.collect(1)


def test_a_checkpoint_newer_than_the_records_is_named(corpus, tmp_path):
    with pytest.raises(ResumeError, match=r"round 2 is next but .*0 rounds only"):
        make(corpus, tmp_path).collect(2)


def test_recorded_rewards_stay_as_they_are(corpus, tmp_path):
    collector = make(corpus, tmp_path, rewards=[loss_drop_reward, transport_reward])
    round = collector.collect(0)
    first = collector.record_rewards(
        round, eval_loss=1.0, previous_eval_loss=2.0, trained_rows=[1] * len(round.decisions)
    )
    again = collector.record_rewards(
        round, eval_loss=9.0, previous_eval_loss=2.0, trained_rows=[1] * len(round.decisions)
    )
    assert first == again
    assert first["rewards"]["loss_drop"] == [0.5] * len(round.decisions)


def test_arms_without_pairs_are_told_and_the_run_goes_on(corpus, tmp_path):
    settings = {"num_rounds": 6, "arms_per_round": 1, "documents_per_arm": 2}
    barren = list(make(corpus, tmp_path / "0", extractor=ExplicitExtractor(kinds=("doctest",)), **settings).rounds())
    assert [len(round.pairs) for round in barren] == [0] * 6
    assert all(value == 0 for round in barren for value in round.rewards["value"])
    fruitful = list(make(corpus, tmp_path / "1", **settings).rounds())
    best = [round.decisions[0].score for round in barren]
    assert max(best[1:]) < best[0]  # the most promising arm falls with what gave nothing
    assert best[-1] < 0.5 * fruitful[-1].decisions[0].score


def test_repeats_and_target_items_do_not_become_pairs(corpus, tmp_path):
    class Stubborn:
        def identity(self):
            return {"kind": "stubborn"}

        def extract(self, documents, allowance=None):
            from equal_hf.types import Extraction, Usage

            target = make_target()
            pairs = [
                ("What is the meaning of all this?", "None."),
                (target.test[0].question, target.test[0].answer),
                ("", "An answer to nothing."),
            ]
            return [
                Extraction(d.id, tuple(QAPair(q, a, d.id, d.cluster) for q, a in pairs), Usage(1, 1, 1))
                for d in documents
            ]

    collector = make(corpus, tmp_path, extractor=Stubborn(), protected=make_target().test, num_rounds=2)
    first, second = collector.rounds()
    assert [pair.answer for pair in first.pairs] == ["None."]
    assert second.pairs == ()
    assert first.dropped == {"contaminated": 8, "empty_question": 8, "duplicate": 7}


def test_a_reward_that_gives_too_few_values_is_named(corpus, tmp_path):
    @known_at("extracted")
    def lazy_reward(round, **context):
        return [1.0]

    with pytest.raises(ConfigError, match="'lazy' gave 1 values for 2 arms"):
        make(corpus, tmp_path, rewards=[lazy_reward]).collect(0)


def test_a_reward_that_is_no_number_rewards_nobody(corpus, tmp_path):
    @known_at("extracted")
    def broken_reward(round, **context):
        return [float("nan"), 1.0]

    round = make(corpus, tmp_path, rewards=[broken_reward]).collect(0)
    assert round.rewards == {"broken": [None, 1.0]}


def test_settings_that_do_not_fit_are_named(corpus, tmp_path):
    with pytest.raises(ConfigError, match="`reward_weights` has 2 values for 1"):
        make(corpus, tmp_path, rewards=[transport_reward], reward_weights=[1.0, 1.0])
    with pytest.raises(ConfigError, match="reference is empty"):
        make(corpus, tmp_path, reference=[])
    with pytest.raises(ConfigError, match="only a trainer makes"):
        next(make(corpus, tmp_path, rewards=[loss_drop_reward]).rounds())
    with pytest.raises(ConfigError, match="same name"):
        make(corpus, tmp_path, rewards=[transport_reward, transport_reward])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "`seed` is -1"),
        ({"seed": 2**32}, "`seed` is 4294967296"),
        ({"output_dir": ""}, "`output_dir` is empty"),
        ({"reward_weights": [1.0, float("inf")]}, "`reward_weights` is"),
    ],
)
def test_values_that_no_run_can_have_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        CollectorConfig(num_rounds=1, **settings)


def test_the_prior_prefers_clusters_like_the_target(corpus, tmp_path):
    collector = make(corpus, tmp_path)
    share = [
        np.mean([document.metadata["source"] == "arithmetic" for document in corpus.draw(arm, 99)])
        for arm in range(corpus.n_clusters)
    ]
    assert np.corrcoef(collector.selector.scaler.prior(), share)[0, 1] > 0.8


def test_a_reference_of_another_kind_changes_what_is_drawn(corpus, tmp_path):
    reference = [TargetItem("Where is the anchor?", "The anchor stands beside the mast in the harbour at tide.")]
    collector = make(corpus, tmp_path, reference=reference, num_rounds=1, explore=0.0)
    assert set(topics(corpus, collector, next(collector.rounds()))) == {"sailing"}


def test_rounds_are_plain_frozen_data(corpus, tmp_path):
    round = make(corpus, tmp_path).collect(0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        round.index = 5
