"""Starting, watching and killing real processes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def start(arguments: Sequence[str], log: Path, **environment: str) -> subprocess.Popen:
    """Start `python …` in the repository, in a process group of its own, its output in `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment},
        )


def run(arguments: Sequence[str], log: Path, timeout_s: float = 300, **environment: str) -> str:
    """Run `python …` to its end; what it printed, or a failed assertion with it."""
    process = start(arguments, log, **environment)
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        kill(process)
        raise
    output = log.read_text(errors="replace")
    assert code == 0, f"exit {code}:\n{output[-4000:]}"
    return output


def kill_when(process: subprocess.Popen, happened: Callable[[], bool], timeout_s: float = 200) -> bool:
    """Kill a process and its children with SIGKILL once something happened; `False` where it ended before."""
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if happened():
            kill(process)
            return True
        if time.monotonic() > deadline:
            kill(process)
            raise AssertionError("what the test waits for never happened")
        time.sleep(0.002)
    return False


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the whole process group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def digests(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
