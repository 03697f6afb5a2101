"""`hf equal`: installed by huggingface_hub's own code, from a GitHub that this process is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from equal_hf import __version__
from tests.processes import REPOSITORY

# Runs `hf` as it is, with answers of GitHub from a folder: what is asked for over HTTPS has no stand-in on loopback.
HF = """
import sys
from pathlib import Path
import httpx2
from huggingface_hub import set_client_factory

folder = Path(sys.argv.pop(1))
sha = "a" * 40

def answer(request):
    path = request.url.path
    if request.url.host == "github.com" and path.endswith("/info/refs"):
        return httpx2.Response(200, text=f"0000{sha} HEAD\\0")
    if request.url.host == "github.com" and path == "/you/hf-equal":
        return httpx2.Response(200)
    file = folder / path.removeprefix("/you/hf-equal/HEAD/")
    if request.url.host == "raw.githubusercontent.com" and file.is_file():
        return httpx2.Response(200, content=file.read_bytes())
    return httpx2.Response(404)

set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(answer)))
from huggingface_hub.cli.hf import main
sys.exit(main())
"""


def hf(home: Path, *words: str, path: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", HF, str(REPOSITORY / "hf-equal"), *words],
        env={**os.environ, "HOME": str(home), "PATH": path, "HF_HUB_DISABLE_UPDATE_CHECK": "1"},
        capture_output=True,
        text=True,
    )


def test_it_is_installed_and_runs_the_commands(tmp_path: Path):
    here = tmp_path / "bin"
    here.mkdir()
    (here / "equal-hf").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m equal_hf "$@"\n')
    (here / "equal-hf").chmod(0o755)
    path = f"{here}:/usr/bin:/bin"
    installed = hf(tmp_path, "extensions", "install", "you/hf-equal", path=path)
    assert installed.returncode == 0 and "hf equal" in installed.stdout + installed.stderr, installed
    done = hf(tmp_path, "equal", "--version", path=path)
    assert (done.returncode, done.stdout) == (0, f"equal-hf {__version__}\n"), done
    assert hf(tmp_path, "equal", "report", str(tmp_path), path=path).returncode == 1, (
        "its exit status is the command's"
    )
    assert "equal" in hf(tmp_path, "--help", path=path).stdout


def test_without_the_package_it_says_what_to_do(tmp_path: Path):
    done = subprocess.run(
        ["/bin/sh", str(REPOSITORY / "hf-equal/hf-equal"), "doctor"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 127 and "pip install 'equal-hf[cpu,report]'" in done.stderr
    (tmp_path / "uvx").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "uvx").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(REPOSITORY / "hf-equal/hf-equal"), "plan", "my file.yaml"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "--from equal-hf[cpu,report] equal-hf plan my file.yaml\n"
