"""Judges of pairs that say something, and such that do not, told apart without labels."""

import numpy as np
import pytest

from equal_hf.selection.reliability import MAX_DOCUMENTS, Evidence, association, reliability


def pairs(documents=120, per=3, d=16, seed=0):
    """Embeddings of pairs, alike within a document; which are useful, near and of which document."""
    rng = np.random.default_rng(seed)
    about = np.repeat(rng.normal(size=(documents, d)), per, axis=0) + 0.5 * rng.normal(size=(documents * per, d))
    useful = about[:, 0] + 0.5 * rng.normal(size=len(about)) > 1
    near = 0.8 * about[:, 0] + about[:, 1]
    return about / np.sqrt(d), useful, near, np.repeat(np.arange(documents), per)


def grade(useful, recall, false_alarm, seed):
    chance = np.random.default_rng([seed, 1]).random(len(useful))
    return (chance < np.where(useful, recall, false_alarm)).astype(float)


def weights(recall, false_alarm, documents=120, n=20):
    told = []
    for seed in range(n):
        about, useful, near, which = pairs(documents, seed=seed)
        told.append(reliability(grade(useful, recall, false_alarm, seed), about, which, near).weight)
    return np.array(told)


def test_a_good_grader_counts_in_full_and_soon():
    assert weights(0.8, 0.05).min() > 0.95
    assert weights(0.8, 0.05, documents=40).mean() > 0.7
    assert weights(0.6, 0.2).mean() > 0.6


def test_noise_counts_next_to_nothing():
    """A standard normal gets a weight of 0.042 on average; of sixty of them the mean has an error of 0.015."""
    assert weights(0.5, 0.5, n=60).mean() < 0.085
    assert weights(0.5, 0.5, documents=30, n=60).mean() < 0.085


def test_noise_that_is_the_same_within_a_document_is_noise():
    """Its pairs are no independent evidence."""
    told = []
    for seed in range(40):
        about, _, near, which = pairs(40, per=8, seed=seed)
        told.append(reliability(np.random.default_rng(seed).random(40).round()[which], about, which, near).weight)
    assert np.mean(told) < 0.1


def test_a_wrong_grader_is_told_by_nearness():
    """However well it is predicted: this one grades what is useful low, and nearness has something to do with use."""
    told = weights(0.05, 0.9)
    assert told.mean() < 0.1 and np.median(told) == 0.0
    about, useful, near, which = pairs()
    known = reliability(grade(useful, 0.05, 0.9, 0), about, which, near)
    assert known.nearness < -2 < 3 < known.predicted and known.reason == "they go against nearness to the target"


def test_grades_that_are_all_the_same_say_nothing():
    about, _, near, which = pairs()
    known = reliability(np.full(len(near), 3.0), about, which, near)
    assert (known.weight, known.spread, known.reason) == (0.0, 0.0, "all are the same")


def test_of_few_documents_nothing_is_said():
    about, useful, near, which = pairs(documents=7)
    assert reliability(useful.astype(float), about, which, near).weight == 0.0
    assert Evidence().judge().weight == 0.0


def test_evidence_is_a_sample_that_no_order_changes():
    about, useful, near, which = pairs(MAX_DOCUMENTS + 50, per=1)
    rows = [
        (f"d{place}", useful[place : place + 1].astype(float), about[place : place + 1], near[place : place + 1])
        for place in which
    ]
    forward, backward = Evidence(), Evidence()
    for row in rows:
        forward.add(*row)
    for row in rows[::-1]:
        backward.add(*row)
    assert forward.judge() == backward.judge() and forward.judge().documents == MAX_DOCUMENTS


def test_association_is_in_standard_errors():
    rng = np.random.default_rng(0)
    told = [association(rng.normal(size=90), rng.normal(size=90), np.repeat(np.arange(30), 3)) for _ in range(500)]
    assert np.mean(told) == pytest.approx(0.0, abs=0.15) and np.std(told) == pytest.approx(1.0, abs=0.1)
