"""How fast selection is: a round's bookkeeping over many arms, and transport against the paper's solver.

    python -m tests.benchmarks.selection_speed

Times are medians, in milliseconds, and mean little on another machine; ratios mean more. The last line is JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from equal_hf.corpus.profiles import ClusterProfiles
from equal_hf.selection.bandits import UCB, Bandit, Thompson
from equal_hf.selection.experimental.exp3 import EXP3
from equal_hf.selection.experimental.linucb import LinUCB
from equal_hf.selection.optimal_transport import distances, marginal_gains, transport_cost
from equal_hf.selection.rewards import value_reward
from equal_hf.selection.selector import Selector
from equal_hf.selection.value_model import ValueModel
from equal_hf.types import Decision, QAPair, Round

ARMS, PULLED, DOCUMENTS = 100_000, 50, 10
PAIRS, REFERENCE, DIMENSION = 100, 300, 384


def median_ms(run: Callable[[], object], times: int = 15) -> float:
    spent = []
    for _ in range(times + 1):
        began = time.perf_counter()
        run()
        spent.append(1000 * (time.perf_counter() - began))
    return float(np.median(spent[1:]))  # the first one warms up


def ipot(cost: np.ndarray, beta: float = 1.0, outer: int = 500, inner: int = 10) -> float:
    """Transport cost by inexact proximal point steps, as the paper solves it (Xie et al. 2018, arXiv 1802.04307)."""
    n, m = cost.shape
    plan, kernel, column = np.ones((n, m)), np.exp(-cost / beta), np.full(m, 1.0 / m)
    for _ in range(outer):
        weighted = kernel * plan
        for _ in range(inner):
            row = 1.0 / (n * (weighted @ column))
            column = 1.0 / (m * (weighted.T @ row))
        plan = row[:, None] * weighted * column
    return float((plan * cost).sum())


def round_ms(bandit: Bandit, arms: int = ARMS) -> float:
    """A selection and the update that follows it."""
    rng = np.random.default_rng(0)
    bandit.start(arms, rng.normal(size=arms), None, rng.normal(size=(arms, 32)))
    remaining = rng.integers(1, 2000, size=arms)
    expected = rng.normal(size=arms)

    def run() -> None:
        pulls = bandit.select(PULLED, DOCUMENTS, remaining, rng, expected)
        bandit.update([pull.arm for pull in pulls], rng.normal(size=len(pulls)).tolist())

    return median_ms(run)


def value_model_ms(clusters: int = 1_000, samples: int = 32, dimension: int = 768) -> float:
    """Learning from a round's documents and judging every cluster anew."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(clusters * samples, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sizes = np.full(clusters, 1_500)
    model = ValueModel([vectors[:100]], np.split(vectors, clusters), sizes)
    drawn = vectors[rng.choice(len(vectors), PULLED * DOCUMENTS, replace=False)]

    def run() -> None:
        model.update(drawn, rng.random((len(drawn), 1)))
        model.expected_by_arm(sizes, DOCUMENTS)

    return median_ms(run, times=3)


def million_documents(documents: int = 1_000_000, clusters: int = 1_000, dimension: int = 384) -> dict[str, float]:
    """A round over a million documents by default: choose 500, learn from them; and the most memory that it took."""
    import resource

    rng = np.random.default_rng(0)
    size = documents // clusters
    # Vectors as they are read from a file, cluster by cluster: made from few, so that the benchmark needs no gigabyte.
    stored = rng.normal(size=(size, dimension)).astype(np.float16)
    centres = rng.normal(size=(clusters, dimension)).astype(np.float32)
    sketches = rng.normal(size=(size, 129)).astype(np.float16)

    def embeddings(arm: int) -> np.ndarray:
        vectors = stored.astype(np.float32) + centres[arm]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    samples = [embeddings(arm)[:32] for arm in range(clusters)]
    profiles = ClusterProfiles(
        count=np.full(clusters, size),
        mean=centres,
        covariance=np.zeros((clusters, 1, 1), np.float32),
        components=np.eye(dimension, 1, dtype=np.float32),
        samples=tuple(samples),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    selector = Selector(
        UCB(),
        [value_reward],
        profiles,
        {"target": samples[0]},
        embeddings,
        documents_per_arm=DOCUMENTS,
        terms=lambda arm: sketches.astype(np.float32),
        sample_terms=[sketches[:32].astype(np.float32)] * clusters,
    )
    drawing, learning = [], []
    for index in range(4):
        began = time.perf_counter()
        draws = selector.draw(PULLED, DOCUMENTS, rng)
        drawing.append(time.perf_counter() - began)
        ids = [[f"{draw.arm}-{row}" for row in draw.rows] for draw in draws]
        decisions = [Decision(draw.arm, 0.0, tuple(i), draw.rows) for draw, i in zip(draws, ids, strict=True)]
        pairs = [
            QAPair("q", "a", i, draw.arm) for draw, own in zip(draws, ids, strict=True) for i in own for _ in "ab"
        ]
        vectors = np.concatenate([draw.embeddings for draw in draws if draw.embeddings is not None])
        round = Round(index, tuple(decisions), tuple(pairs))
        began = time.perf_counter()
        context = selector.take(round, np.repeat(vectors[:, :dimension], 2, axis=0), vectors)
        selector.record_rewards(round, selector.rewards("extracted", round, **context))
        selector.advance(index)
        learning.append(time.perf_counter() - began)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "million_documents_draw_s": float(np.median(drawing)),
        "million_documents_learn_s": float(np.median(learning)),
        "million_documents_memory_mb": (after - before) / 1024,
    }


def main() -> dict[str, float]:
    numbers = {
        f"{name}_round_100k_arms": round_ms(bandit)
        for name, bandit in {"ucb": UCB(), "thompson": Thompson(), "linucb": LinUCB(), "exp3": EXP3()}.items()
    }
    numbers["value_model_round_1000_clusters_768d"] = value_model_ms()
    numbers |= million_documents()
    rng = np.random.default_rng(0)
    unit = [rng.normal(size=(n, DIMENSION)) for n in (PAIRS, REFERENCE, 2_000)]
    pairs, reference, pool = (points / np.linalg.norm(points, axis=1, keepdims=True) for points in unit)
    numbers["transport_100x300_384d"] = median_ms(lambda: transport_cost(pairs, reference))
    numbers["marginal_gains_pool_2000x300"] = median_ms(lambda: marginal_gains(pairs, pool, reference), times=3)
    cost = distances(pairs, reference)
    numbers["ipot_100x300_384d"] = median_ms(lambda: ipot(cost), times=3)
    numbers["ipot_over_exact_time"] = numbers["ipot_100x300_384d"] / numbers["transport_100x300_384d"]
    numbers["ipot_error"] = ipot(cost) - transport_cost(pairs, reference)
    for name, value in numbers.items():
        print(f"{name:40}{value:12.4f}")
    print(json.dumps({name: round(value, 6) for name, value in numbers.items()}))
    return numbers


if __name__ == "__main__":
    main()
