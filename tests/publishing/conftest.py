"""A run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.publishing.runs import make_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Three rounds, all credited."""
    return make_run(tmp_path / "run")
