"""The cluster map is projected once for the same clusters, and in another process where that takes long."""

from __future__ import annotations

import os

import numpy as np
import pytest

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector, ExplicitExtractor
from equal_hf.publishing.dataset import export_dataset
from equal_hf.report import projection
from equal_hf.report.corpus_map import project
from equal_hf.report.projection import cluster_points
from equal_hf.tracking.tables import RoundTables
from tests.world import make_target

MEANS = np.random.default_rng(0).normal(size=(40, 8))


def test_the_same_clusters_are_projected_once(tmp_path, monkeypatch):
    points = cluster_points(MEANS, tmp_path)
    np.testing.assert_array_equal(points, project(MEANS))
    monkeypatch.setattr(projection, "project", lambda means: pytest.fail("projected again"))
    np.testing.assert_array_equal(cluster_points(MEANS, tmp_path), points)


def test_other_clusters_take_their_place_and_damage_is_mended(tmp_path):
    first, second = cluster_points(MEANS, tmp_path), cluster_points(MEANS + 1e-3 * MEANS**2, tmp_path)
    assert not np.array_equal(first, second)
    (kept,) = tmp_path.glob(".cluster_map-*.npy")
    kept.write_bytes(kept.read_bytes()[:50])
    np.testing.assert_array_equal(cluster_points(MEANS + 1e-3 * MEANS**2, tmp_path), second)


def test_many_clusters_are_projected_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(projection, "MIN_FOR_PROCESS", 1)
    monkeypatch.setattr(projection, "project", lambda means: pytest.fail("in this process"))
    np.testing.assert_array_equal(cluster_points(MEANS, tmp_path), project(MEANS))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_costs_nothing(tmp_path):
    tmp_path.chmod(0o500)
    np.testing.assert_array_equal(cluster_points(MEANS, tmp_path / "report"), project(MEANS))


def test_a_push_does_not_project_again(world, tmp_path, monkeypatch):
    config = CollectorConfig(output_dir=str(tmp_path), num_rounds=2, arms_per_round=2, documents_per_arm=4)
    corpus = ClusteredCorpus.load(world / "corpus")
    collector = EqualDataCollector(corpus, ExplicitExtractor(), args=config, reference=make_target().reference)
    collector.config = {"corpus": str(world / "corpus")}
    rounds = collector.rounds()
    next(rounds)
    picture = export_dataset(tmp_path) / "pictures/clusters.png"
    before = picture.read_bytes()
    monkeypatch.setattr(projection, "project", lambda means: pytest.fail("projected again"))
    next(rounds)
    export_dataset(tmp_path)
    assert picture.read_bytes() != before, "rewards of the second round"


def test_a_tracker_does_not_wait_for_the_map_of_many_clusters(world, tmp_path, monkeypatch):
    monkeypatch.setattr("equal_hf.tracking.tables.MIN_FOR_PROCESS", 1)
    config = CollectorConfig(output_dir=str(tmp_path), num_rounds=1, arms_per_round=2, documents_per_arm=4)
    corpus = ClusteredCorpus.load(world / "corpus")
    collector = EqualDataCollector(corpus, ExplicitExtractor(), args=config, reference=make_target().reference)
    list(collector.rounds())
    tables = RoundTables(collector.records, corpus)
    tables.update(0)
    assert tables.picture() is None
    tables._projecting.join(60)
    assert tables.picture().startswith(b"\x89PNG") and list(tmp_path.glob(".cluster_map-*.npy"))
