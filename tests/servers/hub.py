"""A stand-in for the Hugging Face Hub, for the real `huggingface_hub`, `datasets` and `peft` to talk to over loopback.

It keeps repositories in memory and speaks the Hub's wire format: accounts, repositories, commits, LFS, ranged reads.
LFS content is served from another origin (`localhost` beside `127.0.0.1`), which refuses an `Authorization` header as
S3 does.
    python -m tests.servers.hub --port 0        # prints its URL on the first line of stdout

    with HubServer() as hub:
        hub.python("from datasets import load_dataset; print(load_dataset('tester/qa'))", home=tmp_path)

`huggingface_hub` and `datasets` read the endpoint, the token and the cache folder when they are imported, so client
code that goes through them runs in a process of its own, with `hub.env(…)`.

Tokens: `hf_write` and `hf_read` belong to `tester` (also a writer of the organisation `lab`); any other is refused.

Control, for tests:
- `POST /_control/fail {"status", "method", "path", "count", "after", "headers"}`: the next `count` requests of that
  method whose path holds `path` get that status; with `after`, only once the request has taken effect (a lost reply).
- `POST /_control/outage {"path", "statuses", "seconds"}`: for so long every request with that in its path gets one of
  the statuses, in turn.
- `POST /_control/fault {"at", "kind"}`: the request with that number since the last reset, from 0, goes wrong: a
  status (403 says that a signed address expired), `short` (half a body), `flip` (one byte of it is another), `close`
  (no answer), `lost` (no answer, though it has taken effect) or `slow`.
- `GET /_control/stats`: `{"requests": [[method, path, status], …], "bytes": {path in repository: bytes sent}}`;
  `POST /_control/reset` forgets both, and the failures still due.
- `GET /_control/sent/{kind}/{repo_id}`: by file of the last commit, the bytes that Xet would have sent for it, in
  chunks that the commit before did not hold, and its size.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]


class HubServer:
    """The stand-in in a process of its own.

    Args:
        python_timeout_s (`float`, *optional*, defaults to `120.0`): How long client code may run.
    """

    def __init__(self, python_timeout_s: float = 120.0) -> None:
        self.python_timeout_s = python_timeout_s

    def __enter__(self) -> HubServer:
        command = [sys.executable, "-m", "tests.servers.hub", "--port", "0"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the Hub stand-in ended with {self._process.wait()} before it printed its URL")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()

    def control(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """`stats` (no body), `reset` and `fail` (a body): see `tests.servers.hub`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_control/{what}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def reset(self) -> None:
        """Forgets requests, bytes and failures still due; repositories stay."""
        self.control("reset", {})

    def fail(self, status: int, method: str = "", path: str = "", count: int = 1, after: bool = False, **headers: str):
        """The next `count` such requests get `status`; with `after`, once they have taken effect."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        wanted = {"status": status, "method": method, "path": path, "count": count, "after": after}
        self.control("fail", {**wanted, "headers": headers})

    def fault(self, at: int, kind: str) -> None:
        """The request of that number, from 0, goes wrong, and no other; forgets requests so far."""
        self.reset()
        self.control("fault", {"at": at, "kind": kind})

    def requests(self, method: str = "", path: str = "") -> list[tuple[str, str, int]]:
        """The requests so far, of that method and with that in their path."""
        return [tuple(row) for row in self.control("stats")["requests"] if method in ("", row[0]) and path in row[1]]

    def bytes(self) -> dict[str, int]:
        """Bytes sent so far, by path in the repository."""
        return self.control("stats")["bytes"]

    def sent(self, repo_id: str, kind: str = "dataset") -> dict[str, tuple[int, int]]:
        """Of each file of the last commit: bytes in chunks that the commit before did not hold, and its size."""
        return {path: tuple(row) for path, row in self.control(f"sent/{kind}/{repo_id}").items()}

    def env(self, home: str | Path, token: str | None = "hf_write") -> dict[str, str]:
        """The environment a client process needs, with caches under `home`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE_"))}
        ours = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": str(ROOT),
        }
        return {**kept, **ours, **({"HF_TOKEN": token} if token else {})}

    def python(self, code: str, *args: str | Path, home: str | Path, token: str | None = "hf_write") -> str:
        """Runs `code` as a client, with `args` in `sys.argv[1:]`; gives its stdout, or fails with its stderr."""
        command = [sys.executable, "-c", code, *map(str, args)]
        done = subprocess.run(
            command, env=self.env(home, token), capture_output=True, text=True, timeout=self.python_timeout_s
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def main() -> None:
    import uvicorn

    from tests.servers.hub_app import make_app
    from tests.servers.hub_state import Hub

    parser = argparse.ArgumentParser(description="A stand-in for the Hugging Face Hub.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port))
    port = listener.getsockname()[1]
    hub = Hub(f"http://127.0.0.1:{port}", f"http://localhost:{port}")
    print(hub.origin, flush=True)
    config = uvicorn.Config(make_app(hub), lifespan="off", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
