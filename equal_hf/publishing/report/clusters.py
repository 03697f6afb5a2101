"""Where clusters lie, what they are about, and what their documents say: from the corpus, if it is at hand."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.errors import EqualError
from equal_hf.publishing.report.read import RunReport, ShownPair
from equal_hf.publishing.rounds import RoundRecords

if TYPE_CHECKING:
    from equal_hf.corpus.store import ClusteredCorpus

TERMS = 8
_WORD = re.compile(r"[^\W\d_]{3,}")
_FEW = 12  # clusters; t-SNE has nothing to arrange among fewer


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """Clusters on a plane, near each other where their documents are alike.

    Args:
        arms (`list[int]`): The clusters.
        places (`np.ndarray` of shape `(len(arms), 2)`): Where they lie; the axes mean nothing.
        sizes (`list[int | None]`): Documents each holds; `None` where the corpus is not at hand.
    """

    arms: list[int]
    places: np.ndarray
    sizes: list[int | None]


def find_corpus(
    report: RunReport, path: str | Path | None = None, *, ask_hub: bool = True
) -> tuple[ClusteredCorpus | None, str]:
    """The corpus a run drew from, and, where there is none, why.

    Args:
        report ([`RunReport`]): The run.
        path (`str` or `Path`, *optional*): Its folder, where it is not where the run's settings say.
        ask_hub (`bool`, *optional*, defaults to `True`): Whether to look on the Hub for one that is not here.
    """
    from equal_hf.corpus.store import ClusteredCorpus

    config: Mapping[str, Any] = report.run.get("config", {})
    places = [path] if path else [report.folder / "corpus", config.get("corpus_dir"), config.get("corpus")]
    for place in places:
        if place and (Path(place) / "corpus.json").is_file():
            return _checked(ClusteredCorpus.load(place), report)
    if path:
        return None, f"{path} holds no clustered corpus"
    if not isinstance(config.get("corpus"), str):
        return None, "the run does not say what its corpus is"
    if not ask_hub:
        return None, "it is not on this machine"
    from equal_hf.arguments import RunArguments
    from equal_hf.assemble import find_clustered

    known = {field.name for field in fields(RunArguments)}
    settings = {name: value for name, value in config.items() if name in known}
    try:
        corpus = find_clustered(RunArguments(**settings))
    except (EqualError, TypeError) as error:
        return None, str(error)
    return _checked(corpus, report) if corpus is not None else (None, "no clustered corpus was found")


def _checked(corpus: ClusteredCorpus, report: RunReport) -> tuple[ClusteredCorpus | None, str]:
    if corpus.fingerprint != report.run["fingerprint"].get("corpus"):
        return None, f"{corpus.source} is another corpus than the run drew from"
    return corpus, ""


def cluster_map(report: RunReport, corpus: ClusteredCorpus | None, seed: int = 0) -> ClusterMap:
    """Lay clusters out on a plane: t-SNE of their mean embeddings (van der Maaten and Hinton, 2008), or principal
    components where they are few.

    Args:
        report ([`RunReport`]): The run.
        corpus ([`ClusteredCorpus`], *optional*): All its clusters are shown; without it those that gave pairs, by the
            mean of their pairs' embeddings.
        seed (`int`, *optional*, defaults to `0`): Seeds t-SNE.
    """
    if corpus is not None:
        arms, vectors = list(range(corpus.n_clusters)), np.asarray(corpus.profiles.mean, dtype=np.float64)
        sizes: list[int | None] = [int(size) for size in corpus.sizes]
    else:
        arms, vectors = _mean_of_pairs(report)
        sizes = [None] * len(arms)
    return ClusterMap(arms, lay_out(vectors, seed), sizes)


def lay_out(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Places on a plane, shape `(n, 2)`, for vectors of shape `(n, d)`.

    >>> lay_out(np.eye(3)).shape
    (3, 2)
    """
    places = np.zeros((len(vectors), 2))
    if len(vectors) and np.ptp(vectors, axis=0).max() == 0:  # all in one place: there is nothing to arrange
        return places
    if len(vectors) > _FEW:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(vectors) - 1) / 3)
        return np.asarray(
            TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(
                vectors.astype(np.float32)
            ),
            dtype=np.float64,
        )
    if len(vectors) > 1:
        centred = vectors - vectors.mean(axis=0)
        left, scale, _ = np.linalg.svd(centred, full_matrices=False)
        found = (left * scale)[:, :2]
        places[:, : found.shape[1]] = found
    return places


def _mean_of_pairs(report: RunReport) -> tuple[list[int], np.ndarray]:
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


def top_terms(texts: Mapping[int, str], count: int = TERMS) -> dict[int, list[str]]:
    """What each class of texts says more often than the others: class-based TF-IDF (Grootendorst, 2022).

    Args:
        texts (`Mapping[int, str]`): Text by class.
        count (`int`, *optional*, defaults to `8`): Terms each.

    >>> top_terms({0: "oven dough oven the", 1: "mast tide mast the"}, 2)
    {0: ['oven', 'dough'], 1: ['mast', 'tide']}
    """
    words = {key: Counter(_WORD.findall(text.lower())) for key, text in texts.items()}
    everywhere = sum(words.values(), Counter())
    average = everywhere.total() / max(1, len(words))
    spread = Counter(word for counts in words.values() for word in counts)

    def weight(word: str, times: int) -> float:
        rarity = math.log(1 + average / everywhere[word])
        return times * rarity * (1 + math.log(len(words) / spread[word]))

    return {
        key: [word for word, _ in sorted(counts.items(), key=lambda item: (-weight(*item), item[0]))[:count]]
        for key, counts in words.items()
    }


def document_of(shown: ShownPair, corpus: ClusteredCorpus | None) -> str | None:
    """The text of the document that a pair came from; `None` where the corpus is not at hand."""
    if corpus is None or shown.row is None:
        return None
    (document,) = corpus.draw(shown.pair.cluster, 1, order=np.array([shown.row], dtype=np.int64))
    return document.text
