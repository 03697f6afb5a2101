"""A run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.publishing.runs import make_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Three rounds, all with rewards."""
    return make_run(tmp_path / "run")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards without pictures, which take most of a push's time and are tested elsewhere."""
    monkeypatch.setattr("equal_hf.report.write_report.run_pictures", lambda run_dir: {})
