"""Where clusters lie on a plane."""

from __future__ import annotations

import numpy as np
import pytest

from equal_hf.corpus.map import project


@pytest.mark.parametrize("count", [1, 2, 9, 13, 40])
def test_any_number_of_clusters_has_places(count: int):
    places = project(np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32))
    assert places.shape == (count, 2) and (places >= 0).all() and (places <= 1).all()


@pytest.mark.parametrize("count", [1, 9, 40])
def test_clusters_that_are_all_alike_have_places(count: int):
    assert np.isfinite(project(np.ones((count, 5), dtype=np.float32))).all()
