"""Documents for load: made when they are asked for, so that a benchmark may have any number of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from equal_hf.types import Document

_WORDS = (
    "the a of and in is that with from by as level river stone number measure height weight part line angle winter "
    "summer water light table window garden engine signal island harbour valley mountain market letter story reason"
).split()


class Notes(Sequence[Document]):
    """Numbered documents of plain words, each different.

    Args:
        count (`int`): How many.
        characters (`tuple[int, int]`): Length of the shortest and the longest.
        start (`int`, *optional*, defaults to `0`): Number of the first.
    """

    def __init__(self, count: int, characters: tuple[int, int] = (500, 2000), start: int = 0) -> None:
        self._count, self._characters, self._start = count, characters, start

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place):
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(self._count))]
        if not 0 <= place < self._count:
            raise IndexError(place)
        number = self._start + place
        rng = random.Random(number)
        length = rng.randint(*self._characters)
        # A handful of words repeated: making documents must not take the time that is measured.
        words = " ".join(rng.choices(_WORDS, k=24))
        text = f"Note {number}.\n\n" + f"{words}. " * (1 + length // len(words))
        return Document(f"note-{number}", text[:length])
