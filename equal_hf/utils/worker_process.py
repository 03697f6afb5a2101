"""Processes that work on what other people wrote, apart from this one: they may be killed, and know no secret."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

_KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TMPDIR")  # no secret is among them


def start_worker(module: str) -> subprocess.Popen[bytes]:
    """Start `python -m module`, with pipes to its standard input and output.

    Args:
        module (`str`): A module of what this process can import.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    # Each thread of these libraries reserves memory, and none is used.
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def end_worker(process: subprocess.Popen[bytes]) -> int:
    """End a process, if it still is there; its exit status."""
    process.kill()
    status = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was still to be written to it
                pipe.close()
    return status
