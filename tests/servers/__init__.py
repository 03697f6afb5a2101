"""Stand-ins for the servers that the library talks to: real processes on loopback, started by tests and benchmarks.

`spawn` starts any of them in a process of its own:

    with spawn("tests.servers.tgi", "--max-total-tokens", "2048") as url:
        ...
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def spawn(module: str, *arguments: str) -> Iterator[str]:
    """Run `python -m module --port 0 …` and give the URL that it prints first.

    The server ends with the block, and also if this process is killed: it watches its standard input.
    """
    command = [sys.executable, "-m", module, "--port", "0", "--exit-with-stdin", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"{module} ended with {process.wait()} before it printed its URL")
        yield url
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
