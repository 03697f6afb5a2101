"""Keep the questions that measure a model out of the data that trains it.

>>> from equal_hf.types import QAPair
>>> decontaminator = Decontaminator(["Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning."])
>>> decontaminator.shares_ngram("We know that Janet's ducks lay 16 eggs per day; she eats three for breakfast.")
True
>>> decontaminator.contaminated(QAPair("How many eggs do 3 ducks lay?", "48", document_id="d"))
False
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from equal_hf.errors import ConfigError
from equal_hf.filters.normalise import normalise, words
from equal_hf.records.earlier_schema import WITHHELD
from equal_hf.types import Document, QAPair, Rejection
from equal_hf.utils.hashing import content_hash, digest

Hashes = npt.NDArray[np.uint64]

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a hash is lost


class ContaminationFilter:
    """Rejects pairs that repeat a protected text, as [`Decontaminator`] tells, and withholds their text from records.

    Args:
        questions (`Sequence[str]`): Protected questions: of reference, validation and test.
        answers (`Sequence[str]`, *optional*): Protected answers.
        benchmarks (`Mapping[str, Sequence[str]]`, *optional*): Protected questions of named benchmarks.
        n (`int`, *optional*, defaults to `13`): Consecutive words that prove a copy.
    """

    name = "contaminated"

    def __init__(
        self,
        questions: Sequence[str],
        answers: Sequence[str] = (),
        benchmarks: Mapping[str, Sequence[str]] | None = None,
        *,
        n: int = 13,
    ) -> None:
        self._sources = {
            TARGET: (questions, answers),
            **{name: (texts, ()) for name, texts in (benchmarks or {}).items()},
        }
        self._n = n
        self._by_source: dict[str, Decontaminator] = {}
        questions = [question for texts, _ in self._sources.values() for question in texts]
        self._decontaminator = Decontaminator(questions, answers, n=n)
        protected = blake2b(digest_size=8)
        for text in (*questions, *answers):
            protected.update(blake2b(text.encode("utf-8", "surrogatepass")).digest())
        self._identity = {"name": self.name, "version": 2, "ngram": n, "protected": protected.hexdigest()}

    def identity(self) -> dict[str, Any]:
        """Name, version, settings and a digest of all that is protected."""
        return dict(self._identity)

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`contaminated`, or None."""
        return "contaminated" if self._decontaminator.contaminated(pair) else None

    def withhold(self, rejections: Sequence[Rejection]) -> list[Rejection]:
        """Rejections of one document with every protected text in them replaced by its source and a hash.

        Rejections are recorded and published, whatever their reason: a benchmark's item must not be among them.

        Args:
            rejections (`Sequence[Rejection]`): The rejections.
        """
        repeats = [self._decontaminator.contaminated(_pair(rejection)) for rejection in rejections]
        # A reply that held a protected pair may break its words by escapes; it goes as a whole.
        replies = {rejection.raw for rejection, repeated in zip(rejections, repeats, strict=True) if repeated}
        # Several pairs come of one reply, which may be long: each is looked at once.
        others = {rejection.raw for rejection in rejections} - replies
        replies |= {reply for reply in others if self._holds(reply)}
        withheld = []
        for rejection, repeated in zip(rejections, repeats, strict=True):
            question, answer, raw = rejection.question, rejection.answer, rejection.raw
            if repeated:
                mark = f"{WITHHELD}repeats an item of {self._source(_pair(rejection))}, sha256 {_sha256(question)}"
                question, answer = mark, mark if answer else ""
            if raw and raw in replies:
                raw = f"{WITHHELD}holds an item of a protected set, sha256 {_sha256(raw)}"
            withheld.append(replace(rejection, question=question, answer=answer, raw=raw))
        return withheld

    def _holds(self, reply: str) -> bool:
        # Mostly the two are the same text.
        return any(self._decontaminator.shares_ngram(text) for text in {reply, _unescape(reply)} if text)

    def _source(self, pair: QAPair) -> str:
        """Where an item that a pair repeats is from. Built only when one is found, which is seldom."""
        for name, (questions, answers) in self._sources.items():
            if name not in self._by_source:
                self._by_source[name] = Decontaminator(questions, answers, n=self._n)
            if self._by_source[name].contaminated(pair):
                return name
        return "a protected set"


def _pair(rejection: Rejection) -> QAPair:
    return QAPair(rejection.question, rejection.answer, rejection.document_id)


def _sha256(text: str) -> str:
    return content_hash(normalise(text))


def _unescape(text: str) -> str:
    """A reply in JSON as it reads, however broken the JSON is."""
    text = _UNICODE_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return _ESCAPE.sub(" ", text)


_UNICODE_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
_ESCAPE = re.compile(r"\\+[nrt]")
TARGET = "the target"


class Decontaminator:
    """Recognises texts that repeat a protected one, by runs of words as in GPT-3 (arXiv 2005.14165, appendix C).

    A text is contaminated when it shares

    - `n` consecutive words with a protected question or answer, or
    - all words, in order, of a protected question that has fewer than `n` but at least `min_words`; or when
    - it is a pair whose question equals a protected one after [`normalise`], however short that is.

    Words are compared as [`words`] gives them: without case, punctuation, symbols and invisible characters. A short
    answer ("42", "True") is everybody's answer and protects nothing. `min_words` consecutive words that more than
    `max_shared` protected texts have in common are boilerplate, such as a prompt's template or usual imports: a run of
    words that holds them protects nothing either.

    Runs are kept as 64-bit hashes, some 40 bytes a protected word. Comparing a million protected words with ten
    billion others gives less than one false alarm in a thousand such comparisons.

    Args:
        questions (`Iterable[str]`): Protected questions: of the reference, validation and test split.
        answers (`Iterable[str]`, *optional*): Protected answers.
        n (`int`, *optional*, defaults to `13`): Consecutive words that prove a copy.
        min_words (`int`, *optional*, defaults to `8`): Words that a question shorter than `n` needs to be found inside
            another text; `n` where that is less.
        max_shared (`int`, *optional*, defaults to `10`): Protected texts that may share `min_words` words.

    Raises:
        `ConfigError`: If `n` or `min_words` is less than 1.
    """

    def __init__(
        self,
        questions: Iterable[str],
        answers: Iterable[str] = (),
        *,
        n: int = 13,
        min_words: int = 8,
        max_shared: int = 10,
    ) -> None:
        if n < 1 or min_words < 1:
            raise ConfigError(f"`n` is {n} and `min_words` {min_words}: a run of words has at least 1.")
        min_words = min(min_words, n)
        self._ids: dict[str, int] = {}
        self._questions: set[str] = set()
        texts: list[Hashes] = []
        for question in questions:
            if folded := normalise(question, points=False):
                self._questions.add(folded)
            tokens = words(question)
            if len(tokens) >= min_words:
                texts.append(self._identify(tokens))
        for answer in answers:
            tokens = words(answer)
            if len(tokens) >= n:
                texts.append(self._identify(tokens))
        parts = [_hash_runs(text, min_words) for text in texts]
        boilerplate = _HashSet(_shared(parts, max_shared))
        runs: dict[int, list[Hashes]] = defaultdict(list)
        for text, part in zip(texts, parts, strict=True):
            length = min(n, len(text))
            hashes = _hash_runs(text, length)
            held = np.lib.stride_tricks.sliding_window_view(boilerplate.find(part), length - min_words + 1)
            runs[length].append(hashes[~held.any(axis=1)])
        self._runs = {length: _HashSet(np.unique(np.concatenate(parts))) for length, parts in runs.items()}

    def contaminated(self, pair: QAPair) -> bool:
        """Whether a pair repeats a protected text.

        Args:
            pair (`QAPair`): The pair; question and answer are read as one text.

        Returns:
            `bool`: Whether it does.
        """
        return normalise(pair.question, points=False) in self._questions or self.shares_ngram(pair.text())

    def shares_ngram(self, text: str) -> bool:
        """Whether a text of any length shares a run of words with a protected text.

        Args:
            text (`str`): A document, a question, an answer.

        Returns:
            `bool`: Whether it does.
        """
        tokens = words(text)
        ids = np.fromiter(map(self._ids.get, tokens, repeat(0)), np.uint64, len(tokens))
        hashes = np.zeros(len(ids), np.uint64)
        for end in range(min(len(ids), max(self._runs, default=0))):  # runs of all lengths, each from the one before
            hashes = hashes[: len(ids) - end] * _FACTOR + ids[end:]
            protected = self._runs.get(end + 1)
            if protected is not None and protected.find(hashes).any():
                return True
        return False

    def _identify(self, tokens: list[str]) -> Hashes:
        """A number for each word; the same in every process, which Python's own hash is not."""
        for token in tokens:
            if token not in self._ids:
                self._ids[token] = int.from_bytes(digest(token, 8), "little")
        return np.array([self._ids[token] for token in tokens], np.uint64)


class _HashSet:
    """A set of hashes, given sorted, that many others are looked up in at once."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        bits = max(16, (len(hashes) * 16).bit_length())
        self._shift = np.uint64(64 - bits)
        # Nearly all look-ups fail: one byte read tells, where a binary search reads memory twenty times.
        self._leading_bits = np.zeros(2**bits, bool)
        self._leading_bits[hashes >> self._shift] = True

    def find(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the hashes are in the set."""
        present = self._leading_bits[hashes >> self._shift]
        candidates = np.flatnonzero(present)
        if len(candidates):
            positions = np.searchsorted(self._hashes, hashes[candidates])
            positions[positions == len(self._hashes)] = 0
            present[candidates] = self._hashes[positions] == hashes[candidates]
        return present


def _hash_runs(ids: Hashes, length: int) -> Hashes:
    """Hashes of all runs of `length` words."""
    count = max(0, len(ids) - length + 1)
    hashes = np.zeros(count, np.uint64)
    for offset in range(length):
        hashes = hashes * _FACTOR + ids[offset : offset + count]
    return hashes


def _shared(parts: list[Hashes], max_shared: int) -> Hashes:
    """Sorted hashes that more than `max_shared` texts have."""
    if not parts:
        return np.zeros(0, np.uint64)
    hashes, texts = np.unique(np.concatenate([np.unique(part) for part in parts]), return_counts=True)
    return hashes[texts > max_shared]
