"""Batches of rows of like length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.training.length_batches import ByLength, batches_by_length


@given(st.lists(st.integers(1, 2048), max_size=300), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_every_row_is_there_once_and_no_batch_is_wider_than_it_must(lengths, rows, seed):
    order = batches_by_length(lengths, rows, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(lengths)))
    rest = len(lengths) % rows
    ranked = sorted(lengths)
    whole = [sorted(lengths[i] for i in order[at : at + rows]) for at in range(0, len(lengths) - rest, rows)]
    assert sorted(whole) == sorted(ranked[at : at + rows] for at in range(rest, len(lengths), rows))
    assert sorted(lengths[i] for i in order[len(lengths) - rest :]) == ranked[:rest]


def test_order_follows_the_seed_and_not_the_length():
    lengths = list(range(256))
    one, same, other = (batches_by_length(lengths, 8, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other
    starts = [
        lengths[order[0]] for order in (batches_by_length(lengths, 8, np.random.default_rng(s)) for s in range(9))
    ]
    assert len(set(starts)) > 4


def test_of_real_shares_little_is_padding():
    """Lengths as web pairs have them: most are short, some are very long."""
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(4.2, 1.0, 512)), 8, 1024).astype(int)

    def useful(order, rows, processes, accumulation):
        """Of the token slots of the slowest process, in the time of all."""
        slots = lengths[order].reshape(-1, accumulation, processes, rows).max(axis=-1) * rows
        return lengths.sum() / (slots.sum(axis=1).max(axis=-1).sum() * processes)

    for rows, processes, accumulation, least in ((4, 1, 1, 0.9), (4, 8, 2, 0.7)):
        grouped = useful(batches_by_length(lengths, rows * processes, rng), rows, processes, accumulation)
        assert grouped > least
        assert grouped > 2 * useful(rng.permutation(512), rows, processes, accumulation)


def test_each_epoch_has_an_order_of_its_own_that_comes_again():
    sampler = ByLength([length % 50 for length in range(200)], 8, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(200)) and len(sampler) == 200
