"""What pairs are worth: nearness by its two measures, grades, their mixture, and what documents are worth by them."""

from dataclasses import replace

import numpy as np
import pytest

from equal_hf.errors import ConfigError
from equal_hf.selection.document_values import fresh_pairs
from equal_hf.selection.pair_value import late_values
from equal_hf.selection.round_values import PairValues
from equal_hf.types import Decision, QAPair, Rejection, Round
from tests.selection.planted import unit

NEAR = np.eye(8, dtype=np.float32)[0]
NOISE = np.random.default_rng(5)
AXES = np.eye(8, dtype=np.float32)[1:6]


def make(functions=("nearness", "grade"), weights=None, references=1):
    rng = np.random.default_rng(0)
    samples = [unit(rng.normal(size=(20, 8)) + 2 * np.eye(8)[i]) for i in range(6)]
    wanted = [unit(np.eye(8)[t] + 0.05 * rng.normal(size=(10, 8))) for t in range(references)]
    return PairValues(wanted, samples, np.full(6, 20), functions=functions, weights=weights)


def taken(by_document, grades=(), lost=(), index=0):
    """A round of these documents' pairs, with their embeddings."""
    ids = [str(place) for place in range(len(by_document))]
    grades = iter(grades)
    pairs = [
        QAPair("q", "a", i, 0, grade=next(grades, None)) for i, own in zip(ids, by_document, strict=True) for _ in own
    ]
    rejected = tuple(Rejection(ids[place], "transport_error") for place in lost)
    round = Round(index, (Decision(0, 1.0, tuple(ids)),), tuple(pairs), rejected=rejected)
    return round, np.concatenate([np.asarray(own).reshape(-1, 8) for own in by_document])


def worth(values, by_document, pool=None, **further):
    return values.mix(values.take(*taken(by_document, **further), pool).documents)[:, 0]


def test_pairs_count_by_how_near_they_are_and_only_so_many():
    apart = unit(NEAR + 0.4 * AXES)  # five pairs about the target, not copies of each other
    values = worth(make(), [apart[:1], apart[1:], -NEAR[None], []])
    assert values[0] == pytest.approx(1.0, abs=0.2)
    assert values[1] == pytest.approx(3 * values[0], rel=0.2)
    assert values[2] == values[3] == 0.0


def test_near_copies_count_once():
    pair = NEAR[None]
    alone, again = worth(make(), [pair]), worth(make(), [pair], pool=pair)
    assert alone[0] > 0
    assert worth(make(), [pair, pair]).tolist() == [alone[0], 0.0]
    assert again[0] == 0.0
    assert fresh_pairs(np.zeros((0, 8)), pair).tolist() == []


def test_a_document_that_was_lost_says_nothing():
    values = worth(make(), [[], [], NEAR[None]], lost=[0])
    assert np.isnan(values).tolist() == [True, False, False] and values[1] == 0


def test_the_nearest_references_see_a_target_of_several_kinds():
    """A pair like a tenth of the reference is far from its mean, and near to some of it."""
    rng = np.random.default_rng(1)
    reference = unit(np.eye(8)[[0] * 45 + [1] * 5] + 0.02 * rng.normal(size=(50, 8)))
    samples = [unit(rng.normal(size=(200, 8)) + np.eye(8)[0])]
    values = PairValues([reference], samples, np.array([200]), functions=["nearness", "nearest"])
    to_mean, to_nearest = values.take(*taken([np.eye(8)[1:2]])).pairs[0, :, 0]
    assert to_mean < 0.1 and to_nearest > 0.9


def graded(values, grade, index=0, count=40):
    """A round of documents of one pair each, half near the target and half far, graded by whether they are near."""
    rng = np.random.default_rng(index)
    signs = np.where(rng.random(count) > 0.5, 1.0, -1.0)
    pairs = unit(signs[:, None] * NEAR + 0.3 * rng.normal(size=(count, 8)))
    round, vectors = taken(list(pairs[:, None]), [grade(sign > 0) for sign in signs], index=index)
    ids = {str(place): f"{index}-{place}" for place in range(count)}
    decision = Decision(0, 1.0, tuple(ids.values()))
    renamed = tuple(replace(pair, document_id=ids[pair.document_id]) for pair in round.pairs)
    return values.take(Round(index, (decision,), renamed), vectors)


def test_reliable_grades_are_mixed_with_nearness_by_weights():
    values = make(weights=[1.0, 3.0])
    graded(values, lambda near: 3 if near else 0)
    np.testing.assert_allclose(values.weights, [0.25, 0.75])
    told = values.take(*taken([[NEAR, -NEAR], [-AXES[0]]], grades=[0, 3, None]))
    assert told.names == ("nearness", "grade")
    np.testing.assert_allclose(told.pairs[:, 1, 0], [0.0, 1.0, np.nan])
    near, far, ungraded = told.mixed[:, 0]
    assert (near, far) == (pytest.approx(0.25 * told.pairs[0, 0, 0]), pytest.approx(0.75))
    assert 0.3 < ungraded < 0.5  # the mean of the grades so far stands in for the one that is missing
    np.testing.assert_allclose(values.mix(told.documents)[:, 0], [near + far, ungraded])


def test_weights_of_later_rounds_count_for_what_is_there():
    """Documents keep each function's values, so the mixture of all is by the weights of now."""
    values = make(["grade"])
    early = graded(values, lambda near: 3 if near else 0, count=6)
    assert values.weights.tolist() == [1.0, 0.0]
    before = values.mix(early.documents)
    graded(values, lambda near: 3 if near else 0, index=1)
    assert values.weights.tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(values.mix(early.documents), early.documents[:, 1])
    assert (values.mix(early.documents) != before).any()


@pytest.mark.parametrize(
    ("grade", "why"),
    [
        (lambda near: 2, "all are the same"),
        (lambda near: 0 if near else 3, "they go against nearness to the target"),
        (lambda near: int(NOISE.integers(0, 4)), "neither what pairs are about nor"),
        (lambda near: None, None),
    ],
)
def test_grades_that_say_nothing_count_nothing_and_nearness_stands_in(grade, why):
    values = make(["grade"])
    for index in range(3):
        graded(values, grade, index)
    assert values.weights[0] > 0.9
    told = values.told_of_judges()
    assert not told if why is None else told["grade"]["why"].startswith(why)


def test_without_grades_nearness_stands_in():
    np.testing.assert_array_equal(worth(make(), [[NEAR], [AXES[0]]]), worth(make(["nearness"]), [[NEAR], [AXES[0]]]))
    np.testing.assert_array_equal(worth(make(["grade"]), [[NEAR]]), worth(make(["nearness"]), [[NEAR]]))


def test_every_target_has_its_own_values():
    told = make(references=2).take(*taken([[NEAR], [AXES[0]]], grades=[3, 0]))
    assert told.mixed.shape == (2, 2) and told.documents.shape == (2, 2, 2)
    assert told.pairs[0, 0, 0] > 0.9 > told.pairs[0, 0, 1]
    assert told.pairs[0, 1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "functions, weights, told",
    [
        (["nearnes"], None, "`pair_values` names nearnes: choose from nearness"),
        (["grade", "grade"], None, "`pair_values`"),
        ([], None, "`pair_values`"),
        (["grade"], [1.0, 2.0], "`pair_value_weights` has 2 values for 1 functions"),
        (["grade"], [0.0], "`pair_value_weights`"),
        (["nearness", "grade"], [float("nan"), 1.0], "`pair_value_weights`"),
    ],
)
def test_what_cannot_be_used_is_refused(functions, weights, told):
    with pytest.raises(ConfigError, match=told):
        make(functions, weights)


def test_the_form_of_questions_tells_what_nearness_does_not():
    rng = np.random.default_rng(0)
    samples = [unit(rng.normal(size=(20, 8)))]
    items = [f"Tom has {n} apples and buys {n + 2} more at the market. How many does he have now?" for n in range(20)]
    values = PairValues(
        [unit(np.eye(8)[:1] + 0.1 * rng.normal(size=(20, 8)))], samples, np.array([20]), questions=[items]
    )
    ids = tuple(map(str, range(20)))

    def round_of(index, alike):
        texts = [
            f"Ann had {n} pears and gave {n - 1} of them to Bob. How many are left?"
            if n < alike
            else f"Factor {n}x^2."
            for n in range(20)
        ]
        pairs = tuple(QAPair(text, "a", i, 0) for text, i in zip(texts, ids, strict=True))
        return Round(index, (Decision(0, 1.0, ids),), pairs), unit(NEAR + 0.5 * rng.normal(size=(20, 8)))

    told = values.take(*round_of(0, 2)).pairs[:, values.names.index("likeness"), 0]
    assert told[:2].min() > 3 * told[2:].max()
    # What is learned later counts for what was there before.
    first = values.learned(1).mixed[:, 0]
    values.take(*round_of(1, 10))
    assert not np.allclose(values.learned(2).mixed[:20, 0], first)
    np.testing.assert_allclose(values.learned(1).mixed[:, 0], first)  # as it was known after the first round


def test_learned_values_are_those_of_the_round_where_no_form_is_learned():
    values = make(weights=[1.0, 2.0])
    one = values.take(*taken([[NEAR, -NEAR], [NEAR]], grades=[1, 2, 3]))
    np.testing.assert_allclose(values.learned(1).mixed, values.mix(one.documents))


def test_what_is_known_once_a_round_was_trained_on_counts_from_then_on():
    values = make(["influence"])
    round, vectors = taken([[NEAR], [-NEAR]])
    told = values.take(round, vectors)
    assert np.isnan(told.pairs[:, 1]).all() and values.learned(1).weights.tolist() == [1.0, 0.0]
    late = late_values(round, {"pair_influence": {1: 0.5}})
    assert late == {"influence": [None, 0.5]} and late_values(round, {}) == {}
    assert late_values(round, {"pair_influence": {0: -0.5, 1: float("nan")}}) == {"influence": [0.0, None]}
    values.learn(0, late)
    learned = values.learned(1)
    assert learned.weights.tolist() == [0.0, 1.0]
    np.testing.assert_allclose(learned.mixed[:, 0], [0.5, 0.5])  # the mean of what is known stands in
    values.take(*taken([[AXES[0]]], index=1))
    assert values.weights.tolist() == [1.0, 0.0]  # of this round nothing is known yet
