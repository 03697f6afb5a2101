"""Reject pairs that are in another language than their document.

Languages are identified by py3langid (BSD-3-Clause, 4.6 MB, 108 languages): offline, the same answer in every process,
some 2,000 texts a second, and a model that holds arrays only. Not used: lingua-language-detector takes 96 MB on disk,
900 MB of memory and ten times as long; langdetect draws random numbers and called 12 % of English pairs something
else, where py3langid called none so at the same confidence; eld (48 MB) gives no confidence to require; fastText's
models are downloads.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import regex

from equal_hf.filters.normalise import has_marks, visible
from equal_hf.filters.vocabulary import content, vocabulary
from equal_hf.types import Document, QAPair

MIN_CONFIDENCE = 0.8
MIN_BYTES = 60  # of prose in UTF-8, in which the denser scripts take more bytes a letter
_MAX_CHARACTERS = 300  # tell a language as well as more would, and cost less


class LanguageFilter:
    """Requires question and answer to be in a language of their document.

    Formulas, code and numbers speak no language and are left out. What is left of a question or an answer is
    undecided, and passes, where it is short or where half of its words are the document's own. A document has every
    language that its beginning, middle or end may be in; where none can be identified, all its pairs pass.

    Measured: none of 10,500 English pairs rejected, beside their own or another English document; in 74 languages
    of software translations 1 of 4,440 pairs in its document's language, and 85 % of those in another one.
    """

    name = "language"

    def identity(self) -> dict[str, Any]:
        """Name, version and settings."""
        from importlib.metadata import version

        settings = {"min_confidence": MIN_CONFIDENCE, "min_bytes": MIN_BYTES}
        return {"name": self.name, "version": 2, "py3langid": version("py3langid"), **settings}

    def check(self, pair: QAPair, document: Document) -> str | None:
        """`wrong_language`, or None."""
        for text in filter(_is_long, (visible(pair.question), visible(pair.answer))):
            written = prose(text[: 2 * _MAX_CHARACTERS])[:_MAX_CHARACTERS]
            if not _is_long(written) or _is_quoted(written, document.text):
                continue
            language, confidence = tell_language(written)
            if confidence >= MIN_CONFIDENCE and language not in (document_languages(document.text) or {language}):
                return "wrong_language"
        return None


def prose(text: str) -> str:
    r"""The words of a text that belong to a language: no formula, code, address or number.

    >>> prose("Compute $\\frac{1}{2}$ of `x` for 3 days.")
    'Compute of for days'
    """
    return " ".join((_MARKED_WORD if has_marks(text) else _WORD).findall(_NO_PROSE.sub(" ", text)))


def tell_language(text: str) -> tuple[str, float]:
    """The likeliest language of a text, as an ISO 639 code, and how sure that is, from 0 to 1.

    >>> tell_language("Wie viele Eier legen die Enten am Tag?")[0]
    'de'
    """
    return _identifier().classify(text)


@lru_cache(maxsize=4)
def document_languages(text: str) -> frozenset[str]:
    """Every language that a text's beginning, middle or end may well be in; none where that cannot be identified."""
    text = visible(text)
    last = max(0, len(text) - _PASSAGE)
    passages = (text[start : start + _PASSAGE] for start in sorted({0, last // 2, last}))
    languages: set[str] = set()
    for passage in passages:
        written = prose(passage)[: 2 * _MAX_CHARACTERS]
        if _is_long(written):
            languages |= {language for language, share in _identifier().rank(written)[:3] if share >= _MAY_BE}
    return frozenset(languages)


_PASSAGE = 4000
_MAY_BE = 0.1
_NO_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$[^$]*\$\$|\$[^$\n]*\$|\\[A-Za-z]+|https?://\S+|\b[^\W\d_]*+[\d_]\w*", re.DOTALL
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_MARKED_WORD = regex.compile(_WORD.pattern)


def _is_long(text: str) -> bool:
    return len(text.encode("utf-8", "surrogatepass")) >= MIN_BYTES


def _is_quoted(text: str, document: str) -> bool:
    stems = content(text)
    return bool(stems) and sum(stem in vocabulary(document) for stem in stems) >= len(stems) / 2


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
