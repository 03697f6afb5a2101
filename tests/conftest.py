"""Fixtures shared by all tests; nothing here leaves the machine."""

import os

# Read when they are imported, by libraries that would otherwise ask the network at every start.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "offline")
# Models this small gain nothing from a second thread, and threads that wait for each other are slow on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from tests.world import build_world


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """Documents, target, models and a clustered corpus, made once; read only."""
    return build_world(tmp_path_factory.mktemp("world"))
