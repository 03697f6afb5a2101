"""llama.cpp (`xllamacpp`) as an endpoint on this machine, in a process of its own that ends with whoever started it.

with serve(Path("SmolLM2-135M-Instruct.Q4_1.gguf"), log=Path("server.log")) as server:
    print(server.url)

The process reads its standard input, a pipe that nothing is written to, and ends where that ends: however its parent
ended, `kill -9` included, and on any system.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from equal_hf.errors import EndpointError, MissingDependencyError

# Replies are generated together, which keeps the processor busy while a prompt waits to be read.
SLOTS = 4
# Prompt and reply of one request. Documents that do not fit are extracted in parts.
SLOT_TOKENS = 2048
# So small a model gains nothing from more.
MAX_THREADS = 8
START_SECONDS = 120.0


@dataclass(frozen=True)
class Serving:
    """A server that answers.

    Args:
        url (`str`): Where.
        pid (`int`): Its process.
        slots (`int`): Requests that it works on at a time.
        threads (`int`): Threads that it computes with.
    """

    url: str
    pid: int
    slots: int
    threads: int


@contextmanager
def serve(gguf: Path, *, log: Path, port: int = 0) -> Iterator[Serving]:
    """Start a server, wait until it answers, and end it on leaving.

    Args:
        gguf (`Path`): The model, which is offered under the file's name up to its first dot.
        log (`Path`): Where the server's own messages go.
        port (`int`, *optional*, defaults to `0`): 0 takes a free one.

    Raises:
        `MissingDependencyError`: If `xllamacpp` is not installed.
        `EndpointError`: If the port is taken, or the server does not start.
    """
    if find_spec("xllamacpp") is None:
        raise MissingDependencyError("The endpoint of this quickstart is llama.cpp: pip install xllamacpp")
    if port and not _free(port):
        raise EndpointError(f"Port {port} is taken: end what listens there, or leave out --port for a free one.")
    threads = usable_threads()
    command = [sys.executable, __file__, "--model", str(gguf), "--port", str(port), "--threads", str(threads)]
    with log.open("a", encoding="utf-8") as messages:
        # A session of its own: Ctrl-C reaches the run alone, which then waits for the replies under way.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True, start_new_session=True
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield Serving(_address(process, log), process.pid, SLOTS, threads)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def usable_threads() -> int:
    """Threads to compute with: `OMP_NUM_THREADS` where set, as for torch, else the cores that this process may use."""
    import psutil

    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return min(int(asked), MAX_THREADS)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed, MAX_THREADS))


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """The URL of a server that was started, once it answers."""
    assert process.stdout is not None
    alarm = threading.Timer(START_SECONDS, process.kill)
    alarm.start()
    try:
        url = process.stdout.readline().strip()
        if url:
            with urllib.request.urlopen(f"{url}/health", timeout=START_SECONDS):
                return url
    except OSError:
        pass  # told below
    finally:
        alarm.cancel()
    raise EndpointError(f"The llama.cpp server did not start: read {log}, which holds its messages.")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, else a port rests for a minute
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# -- the server's own process ----------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a GGUF file until standard input ends.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    threading.Thread(target=_end_with_stdin, daemon=True).start()

    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(options.model)
    settings.model_alias = {options.model.name.split(".")[0]}
    settings.port = options.port
    settings.n_parallel = SLOTS
    settings.n_ctx = SLOTS * SLOT_TOKENS
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = options.threads
    settings.use_jinja = True  # the chat template that the file brings
    settings.warmup = False
    settings.ui = False
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on there
    threading.Event().wait()


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
