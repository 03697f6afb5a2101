"""Build sdist and wheel, install the wheel into an environment of its own, and run the quickstart's recipe elsewhere.

    make wheel                                   # dist/; downloads or takes from pip's cache what a user would

It takes minutes, since that environment gets PyTorch. The suite's own test (tests/test_wheel.py) takes what
it depends on from the environment of the suite.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DIST = REPOSITORY / "dist"


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; its output and the end of this script, if it fails."""
    began = time.perf_counter()
    print("+", *(str(word) for word in command), flush=True)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\n{command[0]} ended with {done.returncode}")
    print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="Test the wheel as a user would meet it.")
    parser.add_argument("--constraint", type=Path, default=REPOSITORY / "constraints.txt")
    args = parser.parse_args()
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, cwd=REPOSITORY)
    (wheel,) = DIST.glob("*.whl")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        venv.create(home / "venv", with_pip=True)
        python = home / "venv/bin/python"
        install = [python, "-m", "pip", "install", "--quiet", "--constraint", args.constraint]
        run(*install, f"{wheel}[cpu]", cwd=home)
        run(python, "-m", "pip", "check", cwd=home)
        work = home / "work"
        work.mkdir()
        equal_hf = home / "venv/bin/equal-hf"
        print(run(equal_hf, "--version", cwd=work), end="")
        run(equal_hf, "recipes", cwd=work)
        run(python, "recipes/quickstart_assets.py", "--max_documents", "1200", cwd=work)
        few = ["--num_rounds", "2", "--max_documents", "60", "--arms_per_round", "5", "--documents_per_arm", "6"]
        few += ["--n_clusters", "12", "--rows_per_round", "32"]
        print(run(equal_hf, "train", "recipes/quickstart.yaml", *few, cwd=work))
        for made in ("hub/dataset/README.md", "hub/model/model.safetensors", "summary.json"):
            assert (work / "runs/quickstart" / made).is_file(), made
    print(f"{wheel.name} works")


if __name__ == "__main__":
    main()
