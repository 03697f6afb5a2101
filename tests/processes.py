"""Starting, watching and killing real processes."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Timer

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
            env={**os.environ, "PET_MASTER_PORT": str(free_port()), **environment},
        )


def free_port() -> int:
    """A port for `torchrun`, which takes the same one every time if nobody says, also where tests run side by side."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


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


def run_on_terminal(arguments: Sequence[str], timeout_s: float = 300, **environment: str) -> str:
    """Run `python …` on a terminal to its end; what it showed there, without the terminal's own codes."""
    ours, theirs = pty.openpty()
    terminal = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, **terminal, **environment},
    )
    os.close(theirs)
    shown, alarm = b"", Timer(timeout_s, process.kill)
    alarm.start()
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # what Linux says when nobody is at the other end any more
        pass
    finally:
        alarm.cancel()
        os.close(ours)
    code, text = process.wait(), shown.decode(errors="replace")
    assert code == 0, f"exit {code}:\n{text[-4000:]}"
    return without_codes(text)


def without_codes(text: str) -> str:
    """What was shown on a terminal, without the codes that moved and coloured it."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def kill_when(
    process: subprocess.Popen,
    happened: Callable[[], bool],
    timeout_s: float = 200,
    number: signal.Signals = signal.SIGKILL,
) -> bool:
    """Kill a process and its children once something happened; `False` where it ended before."""
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if happened():
            kill(process, number)
            return True
        if time.monotonic() > deadline:
            kill(process)
            raise AssertionError("what the test waits for never happened")
        time.sleep(0.002)
    return False


def kill(process: subprocess.Popen, number: signal.Signals = signal.SIGKILL) -> None:
    """A signal to the whole process group, and wait for its end."""
    os.killpg(process.pid, number)
    process.wait()


def digests(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
