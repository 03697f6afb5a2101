"""What a cluster is about, in words: titles of some of its documents and the terms that set it apart.

Terms are weighted by class-based TF-IDF (Grootendorst 2022, arXiv 2203.05794): `tf · ln(1 + A / f)`, where `tf` is a
term's share of the cluster's words, `f` how often it stands in all clusters and `A` the mean number of words of one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_DOCUMENTS = 32
SAMPLE_CHARACTERS = 20_000
KEPT_TERMS = 100
TITLES = 5
TITLE_CHARACTERS = 100
_WORD = regex.compile(r"[^\W\d_]{3,30}")  # unlike those of `re`, its words keep combining marks


@dataclass(frozen=True, slots=True)
class ClusterWords:
    """Words of a cluster's first documents in stored order, which are a random sample of it.

    Args:
        cluster (`int`): Its number in the corpus.
        documents (`int`): Documents it has.
        counts (`dict[str, int]`): Its most frequent words, lower-case, by how often they stand in the sample.
        words (`int`): Words of the sample.
        titles (`list[str]`): Titles of some of its documents: a `title` where there is one, else a first line.
    """

    cluster: int
    documents: int
    counts: dict[str, int]
    words: int
    titles: list[str]


def cluster_words(cluster: int, documents: int, table: pa.Table) -> ClusterWords:
    """Words and titles of a cluster.

    Args:
        cluster (`int`): Its number.
        documents (`int`): Documents it has.
        table (`pa.Table`): Those documents, `text` and maybe `title`, in stored order.
    """
    rows = table.slice(0, SAMPLE_DOCUMENTS)
    texts = [text[:SAMPLE_CHARACTERS] for text in rows["text"].to_pylist()]
    counts = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    # By count, then alphabet: ties must not hang on the order in which words were met.
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:KEPT_TERMS]
    named = rows["title"].to_pylist() if "title" in table.column_names else [None] * len(texts)
    titles = [title_of(text, name) for text, name in zip(texts, named, strict=True)][:TITLES]
    return ClusterWords(cluster, documents, dict(top), sum(counts.values()), titles)


def title_of(text: str, title: object = None) -> str:
    """A document's title: the one it has, else the first line that says something.

    >>> title_of("# Adding fractions\\nFirst find …")
    'Adding fractions'
    """
    if not (isinstance(title, str) and title.strip()):
        lines = (line.strip(" \t#*-=_>|") for line in text.splitlines())
        title = next((line for line in lines if len(line) > 2), text.strip())
    plain = " ".join(title.split())
    return plain if len(plain) <= TITLE_CHARACTERS else plain[: TITLE_CHARACTERS - 1] + "…"


def top_terms(clusters: Sequence[ClusterWords], count: int = 8) -> list[list[str]]:
    """The terms that set each cluster apart, best first.

    >>> clusters = [ClusterWords(0, 1, {"the": 5, "sum": 3}, 8, []), ClusterWords(1, 1, {"the": 5, "sail": 3}, 8, [])]
    >>> top_terms(clusters, 1)
    [['sum'], ['sail']]
    """
    everywhere: Counter[str] = Counter()
    present: Counter[str] = Counter()
    for cluster in clusters:
        everywhere.update(cluster.counts)
        present.update(cluster.counts.keys())
    mean = sum(cluster.words for cluster in clusters) / max(len(clusters), 1)
    terms = []
    for cluster in clusters:
        weights = {
            word: n / max(cluster.words, 1) * math.log1p(mean / everywhere[word])
            for word, n in cluster.counts.items()
            # A word that most clusters have tells nothing, however often one of them repeats it.
            if len(clusters) < 3 or present[word] <= len(clusters) / 2
        }
        terms.append(sorted(weights, key=lambda word: (-weights[word], word))[:count])
    return terms
