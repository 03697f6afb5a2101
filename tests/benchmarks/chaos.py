"""A run against a server that does everything wrong, killed and resumed, against the same run on a good day.

    python -m tests.benchmarks.chaos --documents 2000
    python -m tests.benchmarks.chaos --part batches

The client is a whole collector run in a process of its own: rounds over a clustered corpus, a response store, round
records. `tests.servers.chaos` puts faults before its deterministic replies. While the run goes on the server is
restarted twice and the client is killed with SIGKILL three times and started again. A second, smaller run has a token
budget that ends it, and one kill.

- **lost**: documents that end with neither a pair nor a reason.
- **double_paid**: answers that the server gave whole more than once, except those in flight at a kill: answered in
  the last two seconds, and not in the store when the client was dead and the server had nothing more under way.
  Answers that came after the client's timeout (the machine stalled) are no answers to it; they are told apart.
- **over_budget**: tokens beyond a cap, by the run's records and ledger together, and by the server's log.

All three are to be 0, and the records of the first run, pairs included, equal to those of the run on a good day. Under
a cap a bad day costs documents: what was generated and did not arrive counts as used.

The second part (`tests.benchmarks.chaos_batches`) does the same to runs whose rounds are provider batches.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import chaos_batches
from tests.benchmarks.chaos_books import Excuses, RunBooks, ServerBooks, stored_digests
from tests.benchmarks.chaos_client import CONCURRENCY, MARK, PRELOAD, TIMEOUT_S, build, collect, in_process
from tests.benchmarks.report import conclude, progress
from tests.processes import digests
from tests.servers import ROOT

# What happens when which share of the answers that a good day takes has been given.
EVENTS = ((0.12, "kill"), (0.3, "restart"), (0.45, "kill"), (0.6, "restart"), (0.8, "kill"))
EVENTS_UNDER_A_CAP = ((0.5, "kill"),)
CAPPED_SHARE = 0.25
OUTAGE_S = 1.0
FAULTS = ("429", "5xx", "drop", "hang", "malformed", "truncated")


class Server:
    """`tests.servers.chaos` on one port, which may be restarted.

    Args:
        state (`Path`): Its log.
        seed (`int`): Decides its faults.
        faults (`bool`): Whether it makes any.
    """

    def __init__(self, state: Path, seed: int, faults: bool) -> None:
        self.state = state
        self._options = ["--state", str(state), "--seed", str(seed), "--mark", MARK]
        self._options += ["--hang-s", str(2.5 * TIMEOUT_S), *([] if faults else ["--no-faults"])]
        self._port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.servers.chaos", "--exit-with-stdin", "--port", str(self._port)]
        self._process = subprocess.Popen(
            [*command, *self._options], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the server ended with {self._process.wait()} before it printed its URL")
        self._port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it between two answers; what it had not answered is cut."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def stats(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as reply:
            return json.load(reply)

    def drain(self) -> None:
        """Wait until nothing is under way, twice in a row: what had just arrived is under way at the second look."""
        quiet = 0
        while quiet < 2:
            quiet = 0 if self.stats()["in_flight"] else quiet + 1
            time.sleep(0.1)


@dataclass
class Result:
    """One run.

    Args:
        run (`RunBooks`): Its records.
        server (`ServerBooks`): The server's log of it.
        excuses (`Excuses`): What kills made it pay twice.
        records (`dict[str, str]`): Digests of all record files.
        kills (`int`): How often the client was killed.
        restarts (`int`): How often the server was restarted.
        wall_s (`float`): How long it took.
    """

    run: RunBooks
    server: ServerBooks
    excuses: Excuses
    records: dict[str, str]
    kills: int
    restarts: int
    wall_s: float


class Processes:
    """Starts functions in processes of their own, their output in a file of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A fork of a process that has imported everything and run nothing: it can be killed like any other.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)

    def __call__(self, name: str, function: Any, *arguments: Any) -> Any:
        log = self.folder / f"{name}.log"
        process = self.context.Process(target=in_process, args=(log, function, *arguments), daemon=True)
        process.start()
        return process


class Bench:
    """Everything in one folder. Options are the ones of `main`."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.begin = Processes(folder)
        self.begin("build", build, folder, options.documents).join()

    def run(
        self,
        name: str,
        *,
        faults: bool,
        caps: dict[str, int],
        events: Sequence[tuple[float, str]] = (),
        answers: int = 0,
    ) -> Result:
        """Run to the end through all events, each when a share of so many answers was given."""
        started = time.monotonic()
        output = self.folder / name
        output.mkdir()
        server = Server(self.folder / f"{name}.state", self.options.seed, faults)
        # Rounds of 200 documents, or about three rounds.
        per_arm = min(20, self.options.documents // 15)
        settings = {"num_rounds": 1000, "arms_per_round": 10, "documents_per_arm": per_arm, **caps}
        excuses, kills, restarts, pending = Excuses(), 0, 0, list(events)
        arguments = (name, collect, server.url, self.folder, output, settings)
        client = self.begin(*arguments)
        try:
            while client.is_alive():
                if pending and server.stats()["whole"] >= pending[0][0] * answers:
                    _, what = pending.pop(0)
                    if what == "restart":
                        server.stop()
                        time.sleep(OUTAGE_S)
                        server.start()
                        restarts += 1
                    else:
                        killed_unix_s = time.time()
                        client.kill()
                        client.join()
                        server.drain()
                        stored = stored_digests(output / "responses.sqlite")
                        excuses.at_kill(ServerBooks.read(server.state), stored, killed_unix_s)
                        kills += 1
                        client = self.begin(*arguments)
                    progress(f"{name}: {what} with {server.stats()['whole']} answers given")
                client.join(0.02)
                if time.monotonic() - started > self.options.limit_s:
                    raise RuntimeError(f"{name} is still running after {self.options.limit_s:.0f} s")
            if client.exitcode:
                raise RuntimeError(f"{name} ended with {client.exitcode}:\n{self.tail(name)}")
        finally:
            client.kill()
            client.join()
            server.stop()
        books = ServerBooks.read(server.state)
        excuses.at_end(books, output / "responses.sqlite", TIMEOUT_S)
        result = Result(
            run=RunBooks.read(output),
            server=books,
            excuses=excuses,
            records=digests(output / "rounds"),
            kills=kills,
            restarts=restarts,
            wall_s=time.monotonic() - started,
        )
        run = result.run
        progress(
            f"{name}: {len(run.documents)} documents, {len(run.pairs)} pairs, {run.rounds} rounds, "
            f"dropped {dict(run.dropped)}, faults {dict(result.server.faults)}, {result.wall_s:.0f} s"
        )
        return result

    def tail(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]


def over_budget(result: Result, caps: dict[str, int]) -> int:
    """Tokens beyond the caps, by whichever count is worse."""
    over = 0
    for used in (result.run.usage + result.run.lost, result.server.used):
        over = max(over, used.prompt_tokens - caps["max_prompt_tokens"])
        over = max(over, used.completion_tokens - caps["max_completion_tokens"])
    return over


def measure(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, bool]]:
    """The parts that are asked for, one after the other."""
    result: dict[str, Any] = {}
    promises: dict[str, bool] = {}
    if options.part in ("requests", "all"):
        result, promises = measure_requests(folder, options)
    if options.part in ("batches", "all"):
        found, kept = chaos_batches.measure(folder, options, Processes(folder))
        result = found if options.part == "batches" else result | {"of_batches": found}
        promises |= {f"batches_{name}": value for name, value in kept.items()}
    return result, promises


def measure_requests(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, bool]]:
    bench = Bench(folder, options)
    # Wide, but there: prompts are counted, documents are admitted one after the other.
    wide = {"max_prompt_tokens": 10_000 * options.documents, "max_completion_tokens": 10_000 * options.documents}
    good = bench.run("good", faults=False, caps=wide)
    answers = good.server.whole.total()
    bad = bench.run("bad", faults=True, caps=wide, events=EVENTS, answers=answers)
    used = good.run.usage
    caps = {
        "max_prompt_tokens": int(CAPPED_SHARE * used.prompt_tokens),
        "max_completion_tokens": int(CAPPED_SHARE * used.completion_tokens),
    }
    good_capped = bench.run("good-capped", faults=False, caps=caps)
    answers = good_capped.server.whole.total()
    bad_capped = bench.run("bad-capped", faults=True, caps=caps, events=EVENTS_UNDER_A_CAP, answers=answers)

    every = {f"doc-{number:05d}" for number in range(options.documents)}
    both = [bad, bad_capped]
    excused = [count for result in both for count in result.excuses.by_kill]
    faults = {name: sum(result.server.faults[name] for result in both) for name in FAULTS}
    admitted = len(good_capped.run.documents)
    result = {
        "documents": options.documents,
        "pairs": len(bad.run.pairs),
        "dropped": dict(bad.run.dropped),
        "lost": len(every - bad.run.told) + len(set(bad_capped.run.documents) - bad_capped.run.told),
        "double_paid": sum(result.excuses.double_paid(result.server) for result in both),
        "over_budget": max(over_budget(bad, wide), over_budget(bad_capped, caps)),
        "in_flight_at_kills": excused,
        "answered_after_the_timeout": sum(result.excuses.late.total() for result in both),
        "admitted_under_a_cap": {"good": admitted, "bad": len(bad_capped.run.documents), **caps},
        "used_under_a_cap": {
            "prompt_tokens": bad_capped.run.usage.prompt_tokens,
            "completion_tokens": bad_capped.run.usage.completion_tokens,
            "lost_prompt_tokens": bad_capped.run.lost.prompt_tokens,
            "lost_completion_tokens": bad_capped.run.lost.completion_tokens,
        },
        "faults": faults,
        "kills": bad.kills + bad_capped.kills,
        "restarts": bad.restarts,
        "requests": sum(result.server.faults.total() for result in both),
        "wall_s": {name: round(value.wall_s, 1) for name, value in (("good", good), ("bad", bad))}
        | {"good_capped": round(good_capped.wall_s, 1), "bad_capped": round(bad_capped.wall_s, 1)},
    }
    promises = {
        "nothing_lost": result["lost"] == 0,
        "nothing_double_paid": result["double_paid"] == 0,
        "never_over_budget": result["over_budget"] == 0,
        "pairs_equal": bad.run.pairs == good.run.pairs
        and set(bad_capped.run.pairs) <= set(good.run.pairs)
        and set(good_capped.run.pairs) <= set(good.run.pairs),
        "records_equal": bad.records == good.records,
        "no_more_documents_under_a_cap": 0 < len(bad_capped.run.documents) <= admitted,
        "no_more_excused_than_can_be_in_flight": all(most <= CONCURRENCY for most in excused),
        "cap_binds": 0 < admitted < options.documents / 2,
        # What follows shows that all this was put to the test.
        "every_fault_happened": all(faults.values()),
        "every_kill_and_restart_happened": (bad.kills, bad.restarts, bad_capped.kills) == (3, 2, 1),
        "spoilt_content_happened": good.run.dropped["not_json"] > 0,
    }
    return result, promises


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2000, help="60 or more")
    parser.add_argument("--part", choices=["requests", "batches", "all"], default="all", help="what to do")
    parser.add_argument("--batch-documents", type=int, default=120, help="documents of the runs in batches")
    parser.add_argument("--seed", type=int, default=0, help="decides the faults")
    parser.add_argument("--limit-s", type=float, default=1800.0, help="most time for one run")
    parser.add_argument("--folder", type=Path, help="where to work and leave everything; a temporary one by default")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True)
        result = measure(options.folder, options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(Path(folder), options)
    conclude(*result)


if __name__ == "__main__":
    main()
