"""Recipes are scripts beside each other: their folder is on the path, as it is when one of them is run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
sys.path.insert(0, str(RECIPES))


@pytest.fixture(scope="session")
def build_assets() -> Callable[..., str]:
    """Runs the assets' script, on little more than its target task needs, and returns what it printed."""

    def build(output_dir: Path, *, hash_seed: str = "0") -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed, "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, str(RECIPES / "quickstart_assets.py"), "--output_dir", str(output_dir)]
        small = ["--max_documents", "600", "--packages", "sympy", "mpmath", "networkx", "not-a-package"]
        done = subprocess.run(
            command + small, capture_output=True, text=True, timeout=300, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return build


@pytest.fixture(scope="session")
def assets(build_assets: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small build of the quickstart's assets; tests must not change it."""
    folder = tmp_path_factory.mktemp("quickstart_assets")
    build_assets(folder)
    return folder
