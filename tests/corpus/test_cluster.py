from __future__ import annotations

import sys

import numpy as np
import pytest

from equal_hf.corpus.cluster import spherical_kmeans
from equal_hf.errors import ConfigError, CorpusError, MissingDependencyError


def directions(per_group: int, groups: int = 4, dimension: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.eye(dimension)[:groups]
    vectors = np.concatenate([centre + 0.05 * rng.normal(size=(per_group, dimension)) for centre in centres])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_groups_are_found_and_each_vector_is_with_its_nearest_centroid():
    vectors = directions(50)
    clustering = spherical_kmeans(vectors, 4, seed=3, threads=1)
    assert all(len(set(clustering.labels[start : start + 50])) == 1 for start in range(0, 200, 50))
    assert clustering.labels.dtype == np.int32 and clustering.centroids.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(clustering.centroids, axis=1), 1, atol=1e-5)
    assert (clustering.labels == (vectors @ clustering.centroids.T).argmax(axis=1)).all()


def test_the_same_seed_gives_the_same_clusters_and_another_another():
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, again, other = (spherical_kmeans(vectors, 10, seed=seed, threads=1) for seed in (1, 1, 2))
    assert (first.labels == again.labels).all() and (first.centroids == again.centroids).all()
    assert (first.labels != other.labels).any()
    assert first.settings() == {
        "method": "spherical_kmeans",
        "n_clusters_requested": 10,
        "seed": 1,
        "iterations": 25,
        "threads": 1,
        "device": "cpu",
        "max_points_per_centroid": 256,
    }


def test_clusters_that_stay_empty_are_left_out(caplog):
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 1, 1]]
    clustering = spherical_kmeans(vectors, 5, threads=1)
    assert clustering.requested == 5
    assert sorted(set(clustering.labels)) == list(range(len(clustering.centroids)))
    assert len(clustering.centroids) < 5
    assert "stayed empty" in caplog.text and "`n_clusters`" in caplog.text


def test_as_many_clusters_as_documents_is_the_most():
    assert len(set(spherical_kmeans(np.eye(5, dtype=np.float32), 5, threads=1).labels)) == 5
    with pytest.raises(CorpusError, match="`n_clusters` is 6, but only 5 documents"):
        spherical_kmeans(np.eye(5, dtype=np.float32), 6)


@pytest.mark.parametrize(
    ("setting", "value"), [("n_clusters", 0), ("n_clusters", 2.0), ("seed", -1), ("threads", 0), ("iterations", True)]
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(ConfigError, match=f"`{setting}` is {value!r}"):
        spherical_kmeans(np.eye(5, dtype=np.float32), **{"n_clusters": 2, setting: value})


def test_a_gpu_that_faiss_does_not_see_is_refused():
    import faiss

    if hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus():
        pytest.skip("FAISS sees a GPU here")
    with pytest.raises(ConfigError, match=r"`gpu` is true.*equal-hf\[gpu\]"):
        spherical_kmeans(np.eye(5, dtype=np.float32), 2, gpu=True)


def test_a_missing_faiss_names_both_extras(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r'"equal-hf\[cpu\]".*"equal-hf\[gpu\]"'):
        spherical_kmeans(np.eye(5, dtype=np.float32), 2)


def test_the_number_of_threads_is_put_back():
    import faiss

    before = faiss.omp_get_max_threads()
    spherical_kmeans(np.eye(5, dtype=np.float32), 2, threads=before + 1)
    assert faiss.omp_get_max_threads() == before
