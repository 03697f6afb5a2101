"""Expected value of documents: nearness, what their kind gave, and what an arm's next ones would give."""

import numpy as np
import pytest

from equal_hf.errors import ConfigError
from equal_hf.selection.ridge_regression import Ridge
from equal_hf.selection.value_model import ValueModel
from tests.selection.planted import unit


def make(k=6, per=20, d=8, seed=0, references=1, **settings):
    rng = np.random.default_rng(seed)
    samples = [unit(rng.normal(size=(per, d)) + 2 * np.eye(d)[i % d]) for i in range(k)]
    wanted = [unit(np.eye(d)[t] + 0.05 * rng.normal(size=(10, d))) for t in range(references)]
    return ValueModel(wanted, samples, np.full(k, per), **settings), samples


def test_before_any_pair_it_is_nearness():
    model, samples = make()
    documents = np.concatenate(samples)
    order = np.argsort(model.expected(documents))
    np.testing.assert_array_equal(order[20:], np.argsort(documents @ model._directions[:, 0])[20:])
    assert model.nearness(documents).mean() == pytest.approx(1.0)


def test_it_learns_which_kinds_give_pairs_across_clusters():
    model, samples = make()
    barren, fruitful = samples[0], samples[1]
    model.update(barren[:10], np.zeros((10, 1)))
    model.update(fruitful[:10], np.full((10, 1), 2.0))
    before = make()[0]
    lost = model.expected(barren[10:]).mean() / before.expected(barren[10:]).mean()
    won = model.expected(fruitful[10:]).mean() / before.expected(fruitful[10:]).mean()
    assert lost < 0.4 * won


def test_an_arm_is_expected_to_give_what_would_be_drawn_next():
    model, samples = make(k=3, per=20)
    every = model.expected_by_arm(np.full(3, 20), 20)[:, 0]
    np.testing.assert_allclose(every, [model.expected(sample).mean() for sample in samples], rtol=1e-5)
    best = model.expected_by_arm(np.full(3, 20), 1)[:, 0]
    np.testing.assert_allclose(best, [model.expected(sample).max() for sample in samples], rtol=1e-5)
    order = np.argsort(-model.expected(samples[0]))
    model.draw(0, order[:19])
    assert model.expected_by_arm(np.array([1, 20, 20]), 1)[0, 0] == pytest.approx(model.expected(samples[0]).min())
    model.draw(0, order[19:])  # its sample is gone, its other documents are not
    assert model.expected_by_arm(np.array([5, 20, 20]), 1)[0, 0] == pytest.approx(model.expected(samples[0]).min())


def test_targets_count_by_their_weights():
    both, samples = make(references=2, weights=[3.0, 1.0])
    documents = np.concatenate(samples)
    np.testing.assert_allclose(both.expected(documents), both.expected_by_target(documents) @ [0.75, 0.25])
    for weights in ([1.0], [-1.0, 2.0], [0.0, 0.0]):
        with pytest.raises(ConfigError, match="2 targets"):
            make(references=2, weights=weights)


def test_nothing_depends_on_the_scale_of_similarities():
    """An embedder whose vectors all lie in one narrow cone orders documents as one whose vectors do not."""
    rng = np.random.default_rng(2)
    documents = unit(rng.normal(size=(200, 6)))
    cone = np.concatenate([np.full((200, 1), 3.0), documents], axis=1) / np.sqrt(10.0)
    flat = ValueModel([documents[:5]], [documents], np.array([200]))
    narrow = ValueModel([cone[:5]], [cone], np.array([200]))
    np.testing.assert_allclose(flat.expected(documents), narrow.expected(cone), rtol=1e-3, atol=1e-4)


def test_a_few_noisy_rows_predict_little_more_than_their_mean():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 40))
    ridge = Ridge(40)
    ridge.update(x, rng.normal(size=(12, 1)))
    told = ridge.predict(rng.normal(size=(200, 40)))
    assert told.std() < 0.5


def test_regression_is_the_same_in_any_batches_and_forgets_by_discount():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    whole, parts, recent = Ridge(5, 2), Ridge(5, 2), Ridge(5, 2, discount=0.01)
    whole.update(x, y)
    for start in range(0, 60, 20):
        parts.update(x[start : start + 20], y[start : start + 20])
    np.testing.assert_allclose(whole.predict(x), parts.predict(x), atol=1e-9)
    recent.update(x, 0 * y + 5.0)
    recent.update(x, 0 * y - 5.0)
    assert recent.predict(x).max() < -4.5


def test_value_is_learned_per_unit_of_cost():
    """Documents that give three times as much at ten times the price are worth less."""
    model, samples = make()
    rich, modest = samples[0], samples[1]
    model.update(rich[:10], np.full((10, 1), 3.0), np.full(10, 1_000.0))
    model.update(modest[:10], np.full((10, 1), 1.0), np.full(10, 100.0))
    told = [(model.expected(own[10:]) / model.nearness(own[10:])[:, 0]).mean() for own in (rich, modest)]
    assert told[1] > 1.5 * told[0]
    assert model.mean_cost == pytest.approx(550.0)


def test_what_rows_gave_may_be_told_anew():
    rng = np.random.default_rng(1)
    x, y, costs = rng.normal(size=(60, 5)), rng.normal(size=(60, 2)), rng.uniform(1, 3, size=60)
    once, twice = Ridge(5, 2, discount=0.9), Ridge(5, 2, discount=0.9)
    for start in range(0, 60, 20):
        once.update(x[start : start + 20], y[start : start + 20], costs[start : start + 20])
        twice.update(x[start : start + 20], 0 * y[start : start + 20], costs[start : start + 20])
    twice.relearn(y)
    np.testing.assert_allclose(once.predict(x), twice.predict(x), atol=1e-9)


def test_intervals_hold_what_they_say():
    """Of documents drawn together, four times in five what they give lies in the interval of 80 %."""
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        documents = unit(rng.normal(size=(400, 12)))
        model = ValueModel([documents[:5]], [documents], np.array([400]))
        rate = np.clip(1.0 + documents @ rng.normal(size=12), 0.1, None)
        costs = rng.uniform(0.5, 2.0, size=400)
        given = rng.normal(rate * costs, 0.7 * np.sqrt(costs))
        model.update(documents[:150], given[:150, None], costs[:150])
        for start in range(150, 400, 25):
            own = slice(start, start + 25)
            low, high = model.interval(documents[own], float(costs[own].sum()))
            held.append(low <= given[own].sum() <= high)
    assert 0.72 <= np.mean(held) <= 0.9
