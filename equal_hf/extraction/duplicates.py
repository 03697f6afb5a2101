"""Recognise pairs that were seen before, in this round or an earlier one.

>>> from equal_hf.types import QAPair
>>> deduplicator = Deduplicator()
>>> deduplicator.add(QAPair("What is 2 + 2?", "4", document_id="a"))
True
>>> deduplicator.add(QAPair("what is 2+2", "4.", document_id="b"))
False
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from equal_hf.extraction.normalise import normalise
from equal_hf.types import QAPair


class Deduplicator:
    """Remembers pairs by a 16-byte hash of their normalised question and answer.

    Two pairs are the same when [`normalise`] makes their questions equal and their answers equal; exact copies are a
    case of that. The same question with another answer is another pair.

    Args:
        pairs (`Iterable[QAPair]`, *optional*): Pairs of earlier rounds.

    Example:

    ```python
    >>> earlier = [QAPair("What is 2 + 2?", "4", document_id="a")]
    >>> Deduplicator(earlier).add(QAPair("What is 2 - 2?", "0", document_id="b"))
    True

    ```
    """

    def __init__(self, pairs: Iterable[QAPair] = ()) -> None:
        self._seen = {_digest(pair) for pair in pairs}

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, pair: QAPair) -> bool:
        """Remember a pair.

        Args:
            pair (`QAPair`): The pair.

        Returns:
            `bool`: Whether it is new.
        """
        before = len(self._seen)
        self._seen.add(_digest(pair))
        return len(self._seen) > before


def _digest(pair: QAPair) -> bytes:
    # A normalised text holds no newline, so the two parts cannot run into each other.
    text = f"{normalise(pair.question)}\n{normalise(pair.answer)}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
