"""What value is weighed against, and how documents are drawn, through a collector."""

import numpy as np
import pytest

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector, ExplicitExtractor
from equal_hf.collection.fingerprint import drawing
from equal_hf.collection.spending import document_costs
from equal_hf.errors import ConfigError, ResumeError
from equal_hf.extraction.budget import Prices
from equal_hf.selection.document_costs import DocumentCosts
from equal_hf.types import Decision, QAPair, Round, Usage
from tests.world import make_target

PRICES = Prices(prompt=1.0, completion=4.0)
MONEY, TOKENS, DOCUMENTS = DocumentCosts(0.0, 1.0, 4.0), DocumentCosts(0.0, 1.0, 1.0), DocumentCosts()


@pytest.mark.parametrize(
    ("budget_in", "limits", "costs"),
    [
        ("auto", {}, DOCUMENTS),
        ("auto", {"max_prompt_tokens": 9, "max_cost": None}, TOKENS),
        ("auto", {"max_prompt_tokens": 9, "max_cost": 0.5}, MONEY),
        ("documents", {"max_cost": 0.5}, DOCUMENTS),
        ("tokens", {}, TOKENS),
        ("money", {}, MONEY),
    ],
)
def test_value_is_weighed_against_what_is_limited(budget_in, limits, costs):
    assert document_costs(budget_in, limits, PRICES) == costs


def test_money_needs_prices():
    with pytest.raises(ConfigError, match="`budget_in` is money"):
        document_costs("money", {}, Prices())


def test_documents_share_what_their_cluster_used():
    pairs = (QAPair("q" * 300, "a", "one", 0), QAPair("q", "a", "two", 0))
    round = Round(0, (Decision(0, 1.0, ("one", "two")), Decision(1, 1.0, ("three",))), pairs)
    used = [Usage(1_000, 100), Usage(300, 0)]
    costs = MONEY.of_documents(round, used)
    assert costs.sum() == pytest.approx(1_000 + 300 + 400) and costs[0] > costs[1] > 500
    assert DOCUMENTS.of_documents(round, used).tolist() == [1.0, 1.0, 1.0]
    assert (MONEY.of_documents(round, [Usage(), Usage()]) > 0).all()


def collect(corpus, folder, **settings):
    args = CollectorConfig(
        output_dir=str(folder), **{"num_rounds": 3, "arms_per_round": 2, "documents_per_arm": 4} | settings
    )
    return EqualDataCollector(corpus, ExplicitExtractor(), args=args, reference=make_target().reference)


def test_a_run_says_how_it_draws_and_goes_on_only_so(world, tmp_path):
    corpus = ClusteredCorpus.load(world / "corpus")
    first = collect(corpus, tmp_path, draw_by="cluster", budget_in="documents")
    assert drawing(first.args) == {}  # as before it could be set, so runs of then are taken up
    rounds = list(first.rounds())
    assert [len(decision.rows) for decision in rounds[0].decisions] == [4, 4]
    first.close()
    with pytest.raises(ResumeError, match="draw_by"):
        collect(corpus, tmp_path).open()


def test_documents_of_all_clusters_are_drawn_in_the_order_of_their_value(world, tmp_path):
    corpus = ClusteredCorpus.load(world / "corpus")
    collector = collect(corpus, tmp_path, explore=0.0)
    list(collector.rounds())
    model = collector.selector.value_model
    model.frozen()  # a copy leaves it as it is
    draws = collector.selector.draw(2, 4, np.random.default_rng(0))
    assert sum(len(draw.rows) for draw in draws) == 8
    assert draws[0].embeddings.shape[1] == corpus.embeddings(0).shape[1] + corpus.terms(0).shape[1]
    assert [draw.score for draw in draws] == sorted((draw.score for draw in draws), reverse=True)


@pytest.mark.parametrize("settings", [{"draw_by": "cloud"}, {"explore": 1.5}, {"budget_in": "gold"}])
def test_settings_are_checked(settings):
    with pytest.raises(ConfigError, match=f"`{next(iter(settings))}` is"):
        CollectorConfig(num_rounds=1, **settings)
