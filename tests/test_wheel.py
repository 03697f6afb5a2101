"""The wheel has all that the package needs, and works without the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from equal_hf import __version__
from tests.processes import REPOSITORY

pytest.importorskip("build", reason="needs the extra `dev`")
pytest.importorskip("hatchling", reason="needs hatchling")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from the sdist, which is made of what git tracks, as a release is."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if names.returncode:
        pytest.skip("not a git repository")
    for name in names.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / "tree" / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(folder / "tree")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((folder / "dist").glob("*.tar.gz"))) == 1
    (path,) = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel as pip lays it, without what it depends on, which is in this environment."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def elsewhere(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the installed package from a folder that is not the repository's."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**env, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )


def test_it_holds_every_file_of_the_package_and_no_other(wheel):
    tracked = subprocess.run(["git", "ls-files", "equal_hf"], cwd=REPOSITORY, capture_output=True, text=True).stdout
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {name for name in names if "/_recipes/" not in name}
    assert package == {name for name in tracked.splitlines() if (REPOSITORY / name).is_file()}
    assert {name.split("/")[2] for name in names - package} == {"recipes", "accelerate_configs"}
    assert {Path(name).suffix for name in names - package} <= {".py", ".yaml", ".md", ".jinja"}


def test_it_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = archive.read(path).decode()
    assert f"\nVersion: {__version__}\n" in metadata and "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "Turn a corpus of documents into instruction-tuning data" in metadata.partition("\n\n")[2], "the README"


def test_it_runs_from_anywhere(installed, tmp_path, world):
    code = "import equal_hf; print(equal_hf.__file__)"
    assert elsewhere(installed, tmp_path, "-c", code).stdout.strip() == str(installed / "equal_hf/__init__.py")
    assert elsewhere(installed, tmp_path, "-m", "equal_hf", "--version").stdout == f"equal-hf {__version__}\n"
    done = elsewhere(installed, tmp_path, "-m", "equal_hf", "recipes")
    assert done.returncode == 0 and "recipes/quickstart.yaml" in done.stdout, done.stderr
    settings = {
        "--corpus": world / "corpus",
        "--embedder": world / "embedder",
        "--target": world / "target",
        "--n_reference": 20,
        "--num_rounds": 1,
        "--arms_per_round": 2,
        "--documents_per_arm": 2,
        "--output_dir": "run",
    }
    flags = [str(word) for pair in settings.items() for word in pair]
    done = elsewhere(installed, tmp_path, "-m", "equal_hf", "collect", "recipes/quickstart.yaml", *flags)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run/hub/dataset/data/train").glob("*.parquet"))
    done = elsewhere(installed, tmp_path, "-m", "equal_hf", "report", "run", "--no-pictures")
    assert done.returncode == 0 and (tmp_path / "run/report/report.html").exists(), done.stderr
