"""A round's documents: drawn, and others drawn in place of those that the budget has no room for.

A round is full when all that it drew was extracted. A document that is refused, since the most it may cost is more
than what is left, does not end the run: smaller ones may fit. The run ends with a round for which none is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import compress, count

import numpy as np

from equal_hf.selection.selector import Draw, Selector

# Draws in a row of which nothing fits, after which no more is looked for.
MOST_DRAWS = 10

Fits = Callable[[list[Draw]], list[list[bool]]]


def fill_round(
    selector: Selector, arms: int, documents: int, seed: int, index: int, budget: int | None, fits: Fits
) -> tuple[list[Draw], bool]:
    """Draw a round, and others in place of what does not fit, until it is full or none is found that does.

    The same state of the selector and the same documents that fit give the same round, also after a restart.

    Args:
        selector ([`Selector`]): Knows all rounds before.
        arms, documents (`int`): Clusters of a round, and documents of a cluster.
        seed, index (`int`): Seed of the run, and the round.
        budget (`int`, *optional*): Most documents.
        fits (`Callable`): Extracts what is drawn; tells of each row of each draw whether the budget had room for it.

    Returns:
        `tuple[list[Draw], bool]`: What was extracted, one draw a cluster; and whether the round is full.
    """
    kept: dict[int, Draw] = {}
    ahead, wanted, in_a_row = selector, budget, 0
    for attempt in count():
        # Each round has a generator of its own, so that there is no generator state to save or to lose.
        rng = np.random.default_rng([seed, index, attempt] if attempt else [seed, index])
        draws = ahead.draw(arms, documents, rng, wanted)
        told = fits(draws) if draws else []
        for draw, fitting in zip(draws, told, strict=True):
            if any(fitting):
                own = those(draw, fitting)
                kept[draw.arm] = _joined(kept[draw.arm], own) if draw.arm in kept else own
        drawn, refused = sum(map(len, told)), sum(fitting.count(False) for fitting in told)
        in_a_row = in_a_row + 1 if refused == drawn else 0
        if not refused or in_a_row == MOST_DRAWS:
            return list(kept.values()), bool(drawn) and not refused
        ahead, wanted = ahead.after(draws), refused
    raise AssertionError("unreachable")


def those(draw: Draw, fitting: list[bool]) -> Draw:
    """A draw, of those rows that fit.

    Args:
        draw ([`Draw`]): The draw.
        fitting (`list[bool]`): One for each row.
    """
    vectors = None if draw.embeddings is None else draw.embeddings[fitting]
    return replace(draw, rows=tuple(compress(draw.rows, fitting)), embeddings=vectors)


def _joined(first: Draw, then: Draw) -> Draw:
    """Two draws from one cluster as one, with what is expected of all its documents."""
    both, value = (first, then), None
    if first.expected_value is not None and then.expected_value is not None:
        weights = [len(draw.rows) for draw in both]
        value = float(np.average([first.expected_value, then.expected_value], weights=weights))
    vectors = None
    if first.embeddings is not None and then.embeddings is not None:
        vectors = np.concatenate([first.embeddings, then.embeddings])
    return replace(first, rows=first.rows + then.rows, expected_value=value, embeddings=vectors)
