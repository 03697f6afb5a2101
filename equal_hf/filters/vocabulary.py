"""The words of a document, cut to stems so that an inflected form is found: what grounding and language look up.

>>> sorted(vocabulary("Multiplying 16 eggs."))
['16', 'eggs', 'multip']
>>> content("He multiplies the 16 by 2.")
['multip', '16', '2']
"""

from __future__ import annotations

from functools import lru_cache

from equal_hf.filters.normalise import is_dense, words

_STEM = 6  # characters: "multiply" and "multiplies" agree, "multiply" and "multitude" do not


@lru_cache(maxsize=4)
def vocabulary(text: str) -> frozenset[str]:
    """Stems of all words and numbers of a text. Cached for the latest texts, since pairs come document by document."""
    return frozenset(word[:_STEM] if word[0].isalpha() else word for word in set(words(text)))


def content(text: str) -> list[str]:
    """Stems of a text's numbers and of its words of four letters and more; the words that say something.

    Shorter words ("the", "is") occur in any text of the same language. In scripts in which a character or two make a
    word, every word counts.
    """
    return [
        word if not word[0].isalpha() else word[:_STEM]
        for word in words(text)
        if len(word) >= 4 or not word[0].isalpha() or is_dense(word)
    ]
