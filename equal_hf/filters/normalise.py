r"""The one normalisation that every filter matches texts by, so that how a text was typed or typeset hides nothing.

- [`visible`]: without characters that cannot be seen (Unicode's default-ignorable ones: soft hyphen, zero-width space
  and joiners, direction marks, variation selectors, tags, …; control characters; the Arabic elongation), in Unicode
  form NFKC. What reads like the text, for patterns and lengths.
- [`normalise`]: for equality. Case is folded; whitespace and the punctuation of prose are dropped. Mathematics and
  code survive: numbers keep their decimals, and every other symbol is a token of its own, so `2 + 2` and `2 - 2`
  differ.
- [`words`]: for n-grams and look-ups, without symbols and without the optional vowel points of Arabic, Hebrew and
  Syriac, so that a vocalised text matches its plain form.

Combining marks stay with their letters (the vowels of Hindi, the tones of Vietnamese). In scripts that are written
without spaces the units are small: a character in Chinese and Japanese, a cluster in Khmer and Burmese, and in Thai
and Lao about a syllable, cut at vowels that begin or end one, which needs no dictionary and cuts a copied passage
alike.

Letters that merely look alike (a Cyrillic "а" for a Latin one) are different letters: replacing them on purpose is not
detected.

>>> normalise("What is  2+2 ?") == normalise("what is 2 + 2")
True
>>> normalise("2 + 2") == normalise("2 - 2")
False
>>> normalise("Ca\u00adfe\u0301") == normalise("CAFÉ") == "café"
True
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import regex  # `re` knows no Unicode properties, and its \w breaks a word at every combining mark

# Characters without an image of their own. Spaces and line ends among the control characters stay.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]+")
_INVISIBLE = regex.compile(
    r"[\p{Default_Ignorable_Code_Point}\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u0640\ufff9-\ufffb]+"
)
_MARK = regex.compile(r"\p{M}")
_POINTS = regex.compile(
    r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    r"\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0730-\u074a]+"
)
# Malayalam's final consonants are a character each, or a consonant, a virama and an invisible joiner.
_CHILLU = re.compile(r"[\u0d7a-\u0d7f]")
_CHILLU_LETTERS = dict(
    zip("\u0d7a\u0d7b\u0d7c\u0d7d\u0d7e\u0d7f", "\u0d23\u0d28\u0d30\u0d32\u0d33\u0d15", strict=True)
)

# Thai and Lao: vowels that stand before their consonant, vowels that end a syllable, and all other letters and marks.
_BEFORE, _AFTER = r"[\u0e40-\u0e44\u0ec0-\u0ec4]", r"[\u0e30\u0e32\u0eb0\u0eb2]"
_OTHER = (
    r"[\u0e01-\u0e2f\u0e31\u0e33-\u0e3a\u0e45-\u0e4e\u0e81-\u0eaf\u0eb1\u0eb3-\u0ebd\u0ec6\u0ec8-\u0ece\u0edc-\u0edf]"
)
_UNSPACED = regex.compile(
    rf"[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}\p{{Bopomofo}}\p{{Yi}}\u30fc]\p{{M}}*"
    # A consonant that is stacked below another one belongs to it.
    r"|(?=[\p{Khmer}\p{Myanmar}\p{Tai_Tham}\p{New_Tai_Lue}\p{Tai_Le}\p{Javanese}\p{Balinese}])"
    r"\p{L}\p{M}*(?:(?<=[\u17d2\u1039\u1a60\ua9c0\u1b44])\p{L}\p{M}*)*"
    rf"|(?:{_BEFORE}+{_OTHER}*|{_OTHER}+){_AFTER}?|{_AFTER}"
)
_DENSE = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\U0010ffff]"
)

_WORD_PATTERN = r"[^\W\d]\w*|\d+(?:[.,\u066b\u066c]\d+)*"
# The punctuation of prose in any script; primes, middle dot, per mille and the like are symbols.
_PROSE = (
    r".,;:?\"'`\u2018-\u201f\u2039\u203a\u00ab\u00bb\u2026\u00a1\u00bf\u037e\u0387\u055a-\u055f\u0589\u05be\u05c0\u05c3\u05f3\u05f4"
    r"\u060c\u061b\u061d-\u061f\u066b-\u066d\u06d4\u0964\u0965\u0970\u0df4\u0e4f\u0e5a\u0e5b\u0f04-\u0f14\u104a-\u104f\u10fb"
    r"\u1360-\u1368\u166e\u17d4-\u17da\u1800-\u180a\u3001-\u3003\u3008-\u3011\u3014-\u301f\u30fb"
)
_TOKEN_PATTERN = rf"{_WORD_PATTERN}|[^\w\s{_PROSE}]"
# Where a text has no combining mark `re` finds the same tokens, twice as fast.
_PLAIN_WORD, _PLAIN_TOKEN = re.compile(_WORD_PATTERN), re.compile(_TOKEN_PATTERN)
_MARKED_WORD, _MARKED_TOKEN = regex.compile(_WORD_PATTERN), regex.compile(_TOKEN_PATTERN)


@lru_cache(maxsize=8)  # several filters ask for the same question, answer and document
def visible(text: str) -> str:
    r"""A text without characters that cannot be seen, in Unicode form NFKC.

    Args:
        text (`str`): Any text.

    >>> visible("\u202eｅｌｅ\u200bｖｅｎ\ufeff")
    'eleven'
    """
    if text.isascii():
        return _CONTROL.sub("", text)
    # Braille without dots and the mark of a lost object are as good as a space.
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text).replace("\u2800", " ").replace("\ufffc", " "))
    if _INVISIBLE.search(text):  # a presentation form may decompose into an elongation
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return text


def is_blank(text: str) -> bool:
    r"""Whether there is nothing to be seen in a text.

    >>> is_blank(" \u200b\u3164\n"), is_blank("0")
    (True, False)
    """
    return not visible(text).strip()


@lru_cache(maxsize=8)
def normalise(text: str, points: bool = True) -> str:
    r"""A text's words, numbers and symbols, separated by single spaces.

    Args:
        text (`str`): Any text.
        points (`bool`, *optional*, defaults to `True`): `False` leaves out optional vowel points, as [`words`] does.

    Returns:
        `str`: The folded text. One that has only punctuation is returned as it is, without outer whitespace.

    Example:

    ```python
    >>> normalise("Compute  f(x) = 1.50x;\nshow your work!")
    'compute f ( x ) = 1.50 x show your work !'
    >>> normalise("''")
    "''"

    ```
    """
    folded = _fold(text, points)
    token = _MARKED_TOKEN if has_marks(folded) else _PLAIN_TOKEN
    return " ".join(token.findall(folded)) or folded.strip()


def words(text: str) -> list[str]:
    r"""A text's words and numbers, without symbols and without optional vowel points.

    Args:
        text (`str`): Any text.

    Returns:
        `list[str]`: Folded words, in order.

    Example:

    ```python
    >>> words("Simplify \\\\frac{1}{2} + x_1.")
    ['simplify', 'frac', '1', '2', 'x_1']
    >>> words("किताबें") == ["किताबें"] and words("שָׁלוֹם") == ["שלום"]
    True

    ```
    """
    folded = _fold(text, points=False)
    return (_MARKED_WORD if has_marks(folded) else _PLAIN_WORD).findall(folded)


def is_dense(word: str) -> bool:
    """Whether a word is of a script in which a character or two make a word, such as Chinese, Korean or Thai."""
    return _DENSE.match(word) is not None


def has_marks(text: str) -> bool:
    """Whether a text has combining marks, at which `re`, unlike `regex`, would break a word."""
    return not text.isascii() and _MARK.search(text) is not None


def _fold(text: str, points: bool) -> str:
    folded = visible(text).casefold()
    if folded.isascii():
        return folded
    # Folding may leave a form that is not composed; the dot of a Turkish capital I is no letter of its own.
    folded = unicodedata.normalize("NFKC", folded).replace("i\u0307", "i")
    folded = _CHILLU.sub(lambda match: f"{_CHILLU_LETTERS[match[0]]}\u0d4d", folded)
    if not points:
        folded = _POINTS.sub("", folded)
    # Most texts hold none of these scripts, which a look tells ten times as fast.
    return _UNSPACED.sub(r" \g<0> ", folded) if _DENSE.search(folded) else folded
