from __future__ import annotations

import sys

import numpy as np
import pytest

from equal_hf.corpus.kmeans import nearest_centroids, train_centroids
from equal_hf.errors import ConfigError, CorpusError, MissingDependencyError


def directions(per_group: int, groups: int = 4, dimension: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.eye(dimension)[:groups]
    vectors = np.concatenate([centre + 0.05 * rng.normal(size=(per_group, dimension)) for centre in centres])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def spherical_kmeans(vectors, n_clusters, **settings):
    """Train and assign, as a corpus does."""
    centroids = train_centroids(vectors, n_clusters, **settings)
    labels, _ = nearest_centroids(vectors, centroids.vectors, threads=centroids.threads)
    return centroids, labels


def test_groups_are_found_and_each_vector_is_with_its_nearest_centroid():
    vectors = directions(50)
    centroids, labels = spherical_kmeans(vectors, 4, seed=3, threads=1)
    assert all(len(set(labels[start : start + 50])) == 1 for start in range(0, 200, 50))
    assert labels.dtype == np.int32 and centroids.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(centroids.vectors, axis=1), 1, atol=1e-5)
    assert (labels == (vectors @ centroids.vectors.T).argmax(axis=1)).all()
    assert centroids.similarity == pytest.approx((vectors * centroids.vectors[labels]).sum(axis=1).mean(), abs=1e-5)


def test_the_same_seed_gives_the_same_clusters_and_another_another():
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, again, other = (spherical_kmeans(vectors, 10, seed=seed, threads=1) for seed in (1, 1, 2))
    assert (first[1] == again[1]).all() and (first[0].vectors == again[0].vectors).all()
    assert (first[1] != other[1]).any()
    settings = first[0].settings()
    assert 0 < settings.pop("training_similarity") < 1
    assert settings == {
        "method": "spherical_kmeans",
        "n_clusters_requested": 10,
        "seed": 1,
        "iterations": 25,
        "threads": 1,
        "device": "cpu",
        "max_points_per_centroid": 256,
        "training_points": 500,
        "giant_factor": 10.0,
        "giant_clusters_split": 0,
    }


def test_a_giant_cluster_is_split_where_its_points_differ():
    rng = np.random.default_rng(0)
    crowd = np.eye(8)[0] + 0.01 * rng.normal(size=(900, 8))
    others = rng.normal(size=(100, 8))
    vectors = np.concatenate([crowd, others])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    whole, labels = spherical_kmeans(vectors, 20, threads=1, giant_factor=1e9)
    largest = np.bincount(labels).max()
    factor = largest / 50 * 0.9  # the largest is just too large
    parts, labels = spherical_kmeans(vectors, 20, threads=1, giant_factor=factor)
    assert whole.split == 0 and len(whole.vectors) == 20
    assert parts.split >= 1 and len(parts.vectors) > 20
    assert np.bincount(labels).max() < largest
    same = np.repeat(np.eye(4, dtype=np.float32)[:2], [90, 10], axis=0)
    assert spherical_kmeans(same, 2, threads=1, giant_factor=1.5)[0].split == 0


def test_as_many_clusters_as_documents_is_the_most():
    assert len(set(spherical_kmeans(np.eye(5, dtype=np.float32), 5, threads=1)[1])) == 5
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
