"""What a practitioner would write instead: orders in which all documents of a corpus are bought, without clusters.

A baseline is `f(setting, budget) -> np.ndarray`: documents in the order it buys them, as many at least as the budget
(in the setting's costs) pays for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, sparse

if TYPE_CHECKING:
    from tests.benchmarks.selection_replay import Setting

Baseline = Callable[["Setting", float], np.ndarray]

CAL_FIRST, CAL_BATCH, CAL_PAIRS, CAL_LEAST = 45, 15, 3, 1e-3


def nearest_mean(setting: Setting, budget: float) -> np.ndarray:
    """Most similar to the mean of the reference first."""
    return _best_first(setting.embedded.documents @ setting.reference.mean(axis=0))


def nearest_five(setting: Setting, budget: float) -> np.ndarray:
    """By the mean similarity to the five nearest items of the reference."""
    similarity = setting.embedded.documents @ setting.reference.T
    count = min(5, similarity.shape[1])
    return _best_first(np.partition(similarity, -count, axis=1)[:, -count:].mean(axis=1))


def bm25(setting: Setting, budget: float) -> np.ndarray:
    """By BM25 with every reference item (question and answer) as a query, summed over the items."""
    return _best_first(setting.texts.bm25([item.text() for item in setting.items]))


def round_robin(setting: Setting, budget: float) -> np.ndarray:
    """Reference items in turn take the nearest document that none has taken (arXiv 2602.14696, greedy)."""
    order = np.argsort(-(setting.embedded.documents @ setting.reference.T), axis=0, kind="stable")
    left, places, taken = np.ones(len(order), dtype=bool), [0] * order.shape[1], []
    while len(taken) < len(order):
        for item in range(order.shape[1]):
            while places[item] < len(order) and not left[order[places[item], item]]:
                places[item] += 1
            if places[item] < len(order):
                taken.append(order[places[item], item])
                left[taken[-1]] = False
    return np.array(taken)


def classifier(setting: Setting, budget: float) -> np.ndarray:
    """By a logistic regression on embeddings, fitted once: the reference against as many documents at random."""
    from sklearn.linear_model import LogisticRegression

    documents, reference = setting.embedded.documents, setting.reference
    rng = np.random.default_rng([setting.seed, 1])
    others = documents[rng.choice(len(documents), min(len(reference), len(documents)), replace=False)]
    told = np.repeat([1, 0], [len(reference), len(others)])
    model = LogisticRegression(max_iter=1000).fit(np.concatenate([reference, others]), told)
    return _best_first(model.decision_function(documents))


def cal(setting: Setting, budget: float) -> np.ndarray:
    """Continuous active learning (AutoTAR, arXiv 1504.06868) on pairs that lie near the reference.

    The 45 documents nearest to the reference are bought, a ridge regression (α = 1) on their tf-idf learns how many
    pairs of a document lie nearer to the mean reference than 75 % of the documents do, three at most, and the 15
    documents of the highest prediction (0.001 at least) times nearness (its z-score + 1, 0 at least) are bought next;
    and so on.
    """
    mean = setting.reference.mean(axis=0)
    near_pairs = setting.embedded.pairs @ mean > np.quantile(setting.embedded.documents @ mean, 0.75)
    return _cal(setting, budget, near_pairs)


def cal_graded(setting: Setting, budget: float) -> np.ndarray:
    """The same, learning how many pairs of a document the grader found target-like."""
    assert setting.grader is not None
    return _cal(setting, budget, setting.grader.graded)


def cal_oracle(setting: Setting, budget: float) -> np.ndarray:
    """The same, learning how many pairs of a document are target-like."""
    assert setting.grader is not None
    return _cal(setting, budget, setting.grader.truth)


def _cal(setting: Setting, budget: float, useful_pairs: np.ndarray) -> np.ndarray:
    features, starts, costs = setting.texts.tfidf, setting.inputs.starts, setting.costs
    sums = np.concatenate([[0], np.cumsum(useful_pairs)])
    y = np.minimum(sums[starts[1:]] - sums[starts[:-1]], CAL_PAIRS).astype(np.float64)
    near = setting.embedded.documents @ setting.reference.mean(axis=0)
    nearness = np.clip((near - near.mean()) / max(float(near.std()), 1e-9) + 1, 0, None)
    taken = _best_first(near)[:CAL_FIRST]
    kernel = (features[taken] @ features[taken].T).toarray()
    while len(taken) < len(y) and costs[taken].sum() < budget:
        scores = np.maximum(_ridge(kernel, y[taken], features[taken], features), CAL_LEAST) * nearness
        scores[taken] = -np.inf
        new = _best_first(scores)[: min(CAL_BATCH, len(y) - len(taken))]
        across = (features[new] @ features[taken].T).toarray()
        kernel = np.block([[kernel, across.T], [across, (features[new] @ features[new].T).toarray()]])
        taken = np.concatenate([taken, new])
    return taken


def _ridge(kernel: np.ndarray, y: np.ndarray, rows: sparse.csr_matrix, every: sparse.csr_matrix) -> np.ndarray:
    """Predictions of a ridge regression with α = 1 and a free intercept, from the kernel of its rows."""
    means = kernel.mean(axis=0)
    centred = kernel - means - means[:, None] + means.mean()
    dual = linalg.solve(centred + np.eye(len(y)), y - y.mean(), assume_a="pos")
    weights = rows.T @ (dual - dual.mean())
    return every @ weights - (rows @ weights).mean() + y.mean()


def _best_first(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")
