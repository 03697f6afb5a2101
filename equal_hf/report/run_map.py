"""Where clusters lie, what they are about, and what their documents say: from the corpus, if it is at hand."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import regex

from equal_hf.corpus.keywords import ClusterWords, top_terms
from equal_hf.errors import EqualError
from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.statistics import RunStatistics
from equal_hf.report.projection import cluster_points
from equal_hf.report.sample_pairs import RewardedPair

if TYPE_CHECKING:
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus

logger = logging.getLogger(__name__)

_WORD = regex.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """Clusters on a plane, near each other where their documents are alike.

    Args:
        arms (`list[int]`): The clusters.
        points (`np.ndarray` of shape `(len(arms), 2)`): Where they lie; the axes mean nothing.
        sizes (`list[int | None]`): Documents each holds; `None` where the corpus is not at hand.
    """

    arms: list[int]
    points: np.ndarray
    sizes: list[int | None]


def find_corpus(
    report: RunStatistics, path: str | Path | None = None, *, ask_hub: bool = True
) -> tuple[ClusteredCorpus | None, str]:
    """The corpus a run drew from, and, where there is none, why.

    Args:
        report ([`RunStatistics`]): The run.
        path (`str` or `Path`, *optional*): Its folder, where it is not where the run's settings say.
        ask_hub (`bool`, *optional*, defaults to `True`): Whether to look on the Hub for one that is not here.
    """
    from equal_hf.corpus.clustered_corpus import ClusteredCorpus, find_clustered

    config: Mapping[str, Any] = report.run.get("config", {})
    folders = [path] if path else [report.folder / "corpus", config.get("corpus_dir"), config.get("corpus")]
    for folder in folders:
        if folder and (Path(folder) / "corpus.json").is_file():
            return _checked(ClusteredCorpus.load(folder), report)
    if path:
        return None, f"{path} holds no clustered corpus"
    if not isinstance(config.get("corpus"), str):
        return None, "the run does not say what its corpus is"
    if not ask_hub:
        return None, "it is not on this machine"
    try:
        corpus = find_clustered(config["corpus"], config.get("corpus_revision"))
    except EqualError as error:
        return None, str(error)
    return _checked(corpus, report) if corpus is not None else (None, "no clustered corpus was found")


def _checked(corpus: ClusteredCorpus, report: RunStatistics) -> tuple[ClusteredCorpus | None, str]:
    if corpus.fingerprint != report.run["fingerprint"].get("corpus"):
        return None, f"{corpus.source} is another corpus than the run drew from"
    return corpus, ""


def cluster_map(report: RunStatistics, corpus: ClusteredCorpus | None) -> ClusterMap:
    """Where clusters lie, as on the corpus map.

    Args:
        report ([`RunStatistics`]): The run.
        corpus ([`ClusteredCorpus`], *optional*): All its clusters are shown; without it those that gave pairs, by the
            mean of their pairs' embeddings.
    """
    if corpus is not None:
        arms, vectors = list(range(corpus.n_clusters)), np.asarray(corpus.profiles.mean, dtype=np.float64)
        sizes: list[int | None] = [int(size) for size in corpus.sizes]
    else:
        arms, vectors = _mean_of_pairs(report)
        sizes = [None] * len(arms)
    points = cluster_points(vectors, report.folder) if arms else np.zeros((0, 2))
    return ClusterMap(arms, points, sizes)


def _mean_of_pairs(report: RunStatistics) -> tuple[list[int], np.ndarray]:
    records = RoundRecords(report.folder)
    sums: dict[int, np.ndarray] = {}
    for round in report.rounds:
        if round.pairs:
            vectors = records.embeddings(round.index).astype(np.float64)
            for pair, vector in zip(records.load(round.index).pairs, vectors, strict=True):
                sums[pair.cluster] = sums.get(pair.cluster, 0.0) + vector
    arms = sorted(sums)
    if not arms:
        return [], np.zeros((0, 2))
    return arms, np.stack([sums[arm] / report.arms[arm].pairs for arm in arms])


def arm_terms(report: RunStatistics) -> dict[int, list[str]]:
    """What the pairs of each cluster say more often than those of the others, best first."""
    counts = {number: Counter(_WORD.findall(arm.text.lower())) for number, arm in report.arms.items()}
    words = [
        ClusterWords(number, report.arms[number].documents, counter, counter.total(), [])
        for number, counter in counts.items()
    ]
    return dict(zip(counts, top_terms(words), strict=True))


def document_of(shown: RewardedPair, corpus: ClusteredCorpus | None) -> str | None:
    """The text of the document that a pair came from; `None` where it is not at hand."""
    if corpus is None or shown.row is None:
        return None
    try:
        (document,) = corpus.draw(shown.pair.cluster, 1, order=np.array([shown.row], dtype=np.int64))
    except EqualError as error:
        logger.warning("The document of a pair is not shown: %s", error)
        return None
    return document.text
