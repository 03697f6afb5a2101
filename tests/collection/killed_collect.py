"""`equal-hf collect` in children of one process, which kills them with SIGKILL, breaks the Hub, and reads the result.

Importing what a run needs takes longer than a small run does, so it is done once and every start is a fork.

    python -m tests.collection.killed_collect --config C --folder D --hub URL --kills 5 --outage_s 4     # prints JSON
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import random
import signal
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path

PUSH_EVERY_S = 1.0
KILLED_PUSH_EVERY_S = 4.0  # so far apart that a run which forgets it in a restart makes several times as many commits
ROUND_S = 0.25
CONFIGS = ("default", "rejected", "decisions")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--hub", required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--outage_s", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    prepare()
    chance = random.Random(args.seed)

    def job(name: str, *flags: str, every_s: float = PUSH_EVERY_S, terminal: bool = False) -> Child:
        wanted = ["--output_dir", str(args.folder / name), "--push_to_hub", "--hub_dataset_id", f"tester/{name}"]
        wanted += ["--hub_push_every_s", str(every_s)]
        return Child(["collect", str(args.config), *wanted, *flags], args.folder / name, terminal)

    found: dict[str, object] = {}
    os.environ["HF_TOKEN"] = "hf_read"
    refused = job("refused")
    found["refused"] = [refused.wait(), refused.rounds(), refused.said()]
    os.environ["HF_TOKEN"] = "hf_write"

    whole = job("whole", terminal=True)
    found["whole"], found["whole_said"] = whole.wait(), whole.said()

    killed, began = 0, time.monotonic()
    for start in range(args.kills):
        child = job("killed", every_s=KILLED_PUSH_EVERY_S)
        child.until(lambda child=child, start=start: child.rounds() > start)
        time.sleep(chance.uniform(0, 3 * ROUND_S))
        killed += child.kill()
    found["killed"], found["kills"] = job("killed", every_s=KILLED_PUSH_EVERY_S).wait(), killed
    found["killed_s"] = time.monotonic() - began

    child = job("outage", "--report_to", "wandb")
    child.until(lambda: child.rounds() > 0)
    trouble = {"path": "tester/outage", "statuses": [412, 429, 500], "seconds": args.outage_s}
    request = urllib.request.Request(f"{args.hub}/_control/outage", json.dumps(trouble).encode())
    urllib.request.urlopen(request, timeout=10).close()
    began = time.monotonic()
    found["outage"], found["outage_s"], found["outage_said"] = child.wait(), time.monotonic() - began, child.said()

    found["rows"] = {name: rows(f"tester/{name}") for name in ("whole", "killed", "outage")}
    found["commits"] = {name: commits(f"tester/{name}") for name in ("whole", "killed", "outage")}
    print(json.dumps(found))


def prepare() -> None:
    """Import what a run imports; let it push more often than users may, and take as long as a server would."""
    import datasets  # noqa: F401
    import sentence_transformers  # noqa: F401
    import trl  # noqa: F401

    import equal_hf.cli.collect
    import equal_hf.publishing.hub
    import equal_hf.report.write_report
    import equal_hf.tracking.tracked_run
    import equal_hf.training.config
    from equal_hf.extraction.explicit.extractor import ExplicitExtractor
    from equal_hf.publishing import config

    config.MIN_PUSH_EVERY_S = PUSH_EVERY_S
    equal_hf.report.write_report.run_pictures = lambda run_dir: {}  # drawn for every push, and tested elsewhere
    extract = ExplicitExtractor.extract

    def slowly(self: ExplicitExtractor, documents, allowance=None):
        time.sleep(ROUND_S)
        return extract(self, documents, allowance)

    ExplicitExtractor.extract = slowly  # type: ignore[method-assign]


class Child:
    """One start of a run."""

    def __init__(self, argv: list[str], run_dir: Path, terminal: bool = False) -> None:
        self.run_dir, self.log = run_dir, run_dir.with_suffix(".log")
        self.pump: threading.Thread | None = None
        self.pid, self.shown = pty.fork() if terminal else (os.fork(), -1)
        if self.pid and terminal:
            self.pump = threading.Thread(target=self._pump)
            self.pump.start()
        if not self.pid:
            if not terminal:
                with self.log.open("ab", buffering=0) as log:
                    os.dup2(log.fileno(), 1)
                    os.dup2(log.fileno(), 2)
            code = 70
            try:
                from equal_hf.cli import main as command

                code = command(argv)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def rounds(self) -> int:
        return len(list(self.run_dir.glob("rounds/*/extracted")))

    def said(self) -> str:
        return self.log.read_text()

    def until(self, happened: Callable[[], bool], timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert time.monotonic() < deadline, self.said()[-3000:]
            time.sleep(0.005)

    def kill(self) -> bool:
        """SIGKILL; whether it was still running."""
        os.kill(self.pid, signal.SIGKILL)
        return os.WIFSIGNALED(os.waitpid(self.pid, 0)[1])

    def wait(self) -> int:
        if self.pump is not None:
            self.pump.join()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _pump(self) -> None:
        """What is shown on the child's terminal, into the log, until the child ends."""
        with self.log.open("wb") as log, contextlib.suppress(OSError):
            while chunk := os.read(self.shown, 65536):
                log.write(chunk)


def rows(repo_id: str) -> dict[str, list[object]]:
    """Every row of every configuration, opened in both ways; they must agree."""
    from datasets import load_dataset

    found = {}
    for name in CONFIGS:
        whole = load_dataset(repo_id, name, split="train").to_list()
        assert whole == list(load_dataset(repo_id, name, split="train", streaming=True)), name
        found[name] = whole
    return found


def commits(repo_id: str) -> list[float]:
    """When commits were made on top of the one that made the repository, in seconds, the first one first."""
    from huggingface_hub import HfApi

    found = HfApi().list_repo_commits(repo_id, repo_type="dataset")[:-1]
    return [commit.created_at.timestamp() for commit in reversed(found)]


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
