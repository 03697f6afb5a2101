"""Whatever the locale: texts of other scripts are read and shown, and what cannot be named says how it can be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.processes import REPOSITORY

# Python would turn to UTF-8 of its own accord in a C locale, if that were not turned off.
LOCALES = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
}


def call(locale: str, *argv: object) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    own = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY), **LOCALES[locale]}
    command = [sys.executable, "-m", "equal_hf", *map(str, argv)]
    return subprocess.run(command, env={**kept, **own}, capture_output=True, timeout=300)


@pytest.fixture
def config(world: Path, tmp_path: Path) -> Path:
    settings = {
        "corpus": str(world / "corpus"),
        "embedder": str(world / "embedder"),
        "target": str(world / "target"),
        "n_reference": 20,
        "extractor": "explicit",
        "reward_funcs": ["value"],
        "num_rounds": 1,
        "arms_per_round": 1,
        "documents_per_arm": 2,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "run_name": "数学 – Übung",
        "output_dir": str(tmp_path / "run"),
    }
    path = tmp_path / "run.yaml"
    path.write_text("# Größe, размер, 大小\n" + yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize("locale", LOCALES)
def test_what_the_terminal_lacks_is_escaped(locale: str):
    done = call(locale, "doctor")
    assert b"Traceback" not in done.stderr and b"\\u2192" in done.stdout, "an arrow, which neither has"


def test_a_run_reads_and_writes_any_script(config: Path):
    done = call("C", "collect", config)
    assert done.returncode == 0 and done.stdout, done.stderr


def test_a_name_that_the_locale_lacks_says_what_to_set(config: Path, tmp_path: Path):
    done = call("C", "collect", config, "--output_dir", tmp_path / "läufe")
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
    assert b"set PYTHONUTF8=1 in the environment" in done.stderr.splitlines()[-1]
