"""Two views of a text that ignore how it was typeset: `normalise` for equality, `words` for n-grams.

Both fold Unicode forms (NFKC), case, whitespace and the punctuation of prose. Mathematics and code survive: numbers
keep their decimals, and every other symbol is a token of its own, so `2 + 2` and `2 - 2` differ. In scripts that are
written without spaces, each character is a word.

>>> normalise("What is  2+2 ?") == normalise("what is 2 + 2")
True
>>> normalise("2 + 2") == normalise("2 - 2")
False
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_TOKEN = re.compile(r"[^\W\d]\w*|\d+(?:[.,]\d+)*|[^\w\s.,;:?\"'`\u2018\u2019\u201c\u201d\u2026]")
_WORD = re.compile(r"[^\W\d]\w*|\d+(?:[.,]\d+)*")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")  # kana and Chinese characters


def _fold(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return folded if folded.isascii() else _UNSPACED.sub(r" \g<0> ", folded)


@lru_cache(maxsize=8)  # several filters ask for the same question and answer
def normalise(text: str) -> str:
    """A text's words, numbers and symbols, separated by single spaces.

    Args:
        text (`str`): Any text.

    Returns:
        `str`: The folded text. One that has nothing but punctuation is kept as it is, without outer whitespace.

    Example:

    ```python
    >>> normalise("Compute  f(x) = 1.50x;\\nshow your work!")
    'compute f ( x ) = 1.50 x show your work !'
    >>> normalise("''")
    "''"

    ```
    """
    folded = _fold(text)
    return " ".join(_TOKEN.findall(folded)) or folded.strip()


def words(text: str) -> list[str]:
    """A text's words and numbers, without symbols.

    Args:
        text (`str`): Any text.

    Returns:
        `list[str]`: Folded words, in order.

    Example:

    ```python
    >>> words("Simplify \\\\frac{1}{2} + x_1.")
    ['simplify', 'frac', '1', '2', 'x_1']

    ```
    """
    return _WORD.findall(_fold(text))
