r"""Reject pairs that say what another pair of this round or an earlier one says in nearly the same words.

>>> filter, document = NearDuplicateFilter(), Document("d", "")
>>> question = "A farmer keeps hens in three barns. In the first there are twelve hens, in the second twice as many"
>>> filter.keep(QAPair(f"{question}. How many hens are there in both?", "36 hens are in both.", "d"))
>>> filter.check(QAPair(f"{question}. How many hens are there in total?", "36 hens are in both.", "d"), document)
'near_duplicate'
>>> filter.check(QAPair(f"{question}. How many hens are there in total?", "24 hens are in both.", "d"), document)
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import regex

from equal_hf.errors import ConfigError
from equal_hf.filters.normalise import has_marks, normalise, visible
from equal_hf.types import Document, QAPair
from equal_hf.utils.hashing import digest

if TYPE_CHECKING:
    from rensa import RMinHash

NUM_PERM = 60
NUM_BANDS = 10
SHINGLE = 3  # words


class NearDuplicateFilter:
    """Compares runs of three words by MinHash, with locality-sensitive hashing to find whom to compare with.

    Two exercises that differ in a number, a sign, a variable or a line of code are two exercises, however alike their
    words. So only pairs are compared whose numbers, symbols, single letters, LaTeX commands and fenced code are the
    same, in the same order, and whose answers, where one has six words or fewer, are the same too; among those, the
    estimated Jaccard similarity (A. Broder, "On the resemblance and containment of documents", 1997) decides, of the
    questions and of question and answer together, so that the same paragraph may answer two questions.

    60 hashes in 10 bands find a pair of similarity s with probability 1 - (1 - s^6)^10: 95 % at 0.8, 99.9 % at 0.9;
    the estimate has a standard error of 0.05 at 0.8. Hashes are seeded, and the same in every process. A kept pair
    takes some 2 kB of memory.

    Args:
        similarity (`float`, *optional*, defaults to `0.8`): Estimated similarity from which a pair is rejected.

    Raises:
        [`ConfigError`]: If the similarity is not between 0.7, under which the bands miss too much, and 1.
    """

    name = "near_duplicate"

    def __init__(self, similarity: float = 0.8) -> None:
        if not 0.7 <= similarity <= 1:
            raise ConfigError(f"`near_duplicate_similarity` is {similarity}: set it between 0.7 and 1")
        self._similarity = similarity
        self._kept: list[_Sketch] = []
        self._last: tuple[QAPair, _Sketch] | None = None

    def identity(self) -> dict[str, Any]:
        """Name, version and settings."""
        from rensa import RMinHash

        settings = {"num_perm": NUM_PERM, "num_bands": NUM_BANDS, "shingle": SHINGLE, "similarity": self._similarity}
        return {"name": self.name, "version": 2, "minhash": RMinHash.ALGORITHM_VERSION, **settings}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`near_duplicate`, or None."""
        sketch = self._sketch(pair)
        candidates = (self._kept[key] for key in self._index.query(sketch.pair))
        return "near_duplicate" if any(self._are_similar(sketch, other) for other in candidates) else None

    def _are_similar(self, one: _Sketch, other: _Sketch) -> bool:
        return (
            one.pair.jaccard(other.pair) >= self._similarity
            and one.question.jaccard(other.question) >= self._similarity
        )

    def keep(self, pair: QAPair) -> None:
        """Remember a kept pair."""
        sketch = self._sketch(pair)
        self._index.insert(len(self._kept), sketch.pair)
        self._kept.append(sketch)

    @cached_property
    def _index(self) -> Any:
        from rensa import RMinHashLSH

        return RMinHashLSH(threshold=self._similarity, num_perm=NUM_PERM, num_bands=NUM_BANDS)

    def _sketch(self, pair: QAPair) -> _Sketch:
        from rensa import RMinHash

        if self._last is None or self._last[0] is not pair:  # a pair is checked, then kept
            sketch = _Sketch(RMinHash(num_perm=NUM_PERM, seed=0), RMinHash(num_perm=NUM_PERM, seed=0))
            sketch.question.update(runs(normalise(pair.question)))
            sketch.pair.update(shingles(pair))
            self._last = pair, sketch
        return self._last[1]


class _Sketch(NamedTuple):
    question: RMinHash
    pair: RMinHash


def shingles(pair: QAPair) -> list[str]:
    r"""Runs of words, each headed by all that has to be the same, so that pairs differing there share none.

    >>> [shingle.partition("|")[2] for shingle in shingles(QAPair("Add 2 and x.", "Two", "d"))]
    ['add 2 and', '2 and x', 'and x two']
    >>> set(shingles(QAPair("Add 2 and x.", "Two", "d"))) & set(shingles(QAPair("Add 2 and y.", "Two", "d")))
    set()
    """
    answer = normalise(pair.answer)
    texts = (visible(pair.question), visible(pair.answer))
    code = [" ".join(block.split()) for text in texts for block in _CODE.findall(text)]
    tokens = normalise(_CODE.sub(" ", "\n".join(texts))) if code else f"{normalise(pair.question)} {answer}"
    fixed = [
        *(_FIXED_MARKED if has_marks(tokens) else _FIXED).findall(tokens),
        *code,
        *([answer] if answer.count(" ") < _SHORT_ANSWER else ()),
    ]
    head = digest(" ".join(fixed), 8).hex()
    return [f"{head}|{run}" for run in runs(tokens)]


def runs(tokens: str) -> list[str]:
    """Runs of `SHINGLE` words of a normalised text; a shorter text is one run.

    >>> runs("what is the sum")
    ['what is the', 'is the sum']
    """
    words = tokens.split()
    return [" ".join(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))]


_SHORT_ANSWER = 6  # words up to which an answer is a name or a verdict, where one word is all the difference
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
# Of normalised text: a LaTeX command, a number, a single letter that is no English word, a symbol.
_FIXED = re.compile(r"\\ [a-z]+|\d\S*|(?<!\S)[b-hj-z](?!\S)|[^\w\s]")
_FIXED_MARKED = regex.compile(_FIXED.pattern)
