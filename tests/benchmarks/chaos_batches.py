"""A run whose rounds are provider batches, killed at every step of them, against the same run on a good day.

    python -m tests.benchmarks.chaos --part batches

The client is a whole collector run in a process of its own. `tests.servers.batches` keeps files and batches on disk,
and says in a log what it is asked, before it answers: that is when the client is killed with SIGKILL (before its file
has arrived, after that, before its batch is made, before the batch's id is written down, while it polls, while it
reads) or the server is restarted. Batches expire with half of their answers, fail in single requests, or are made
without an answer that says so. A second run has a cap on money that ends it, and two kills.

- **lost**: documents that end with neither a pair nor a reason.
- **double_paid**: answers to one request that the server charged beyond the first.
- **over_budget**: billionths beyond the cap, by the ledger and by the server's bill, whichever is worse.
- **off_the_bill**: billionths by which ledger and bill differ.

All are to be 0, and the records equal to those of the good day.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equal_hf.extraction.budget import NANO, Prices
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.records.run_file import RunFile
from tests.benchmarks.chaos_books import RunBooks
from tests.benchmarks.chaos_client import MAX_NEW_TOKENS, PROMPT, build
from tests.benchmarks.report import progress
from tests.processes import digests
from tests.servers import ROOT
from tests.servers.providers import PROVIDERS
from tests.world import make_target

RULES = PROVIDERS["openai"]
PRICES = Prices(RULES.rates.prompt, RULES.rates.completion)
# What is done when the server says in its log that it is asked for something.
STEPS = ("upload", "uploaded", "submit", "submitted", "poll", "content")
KILLS = tuple((step, "kill") for step in STEPS)
RESTARTS = (("poll", "restart"), ("submitted", "restart"))
HOLD_S, OUTAGE_S = 0.25, 0.3
PER_S = 60
BAD_DAY = (
    {"per_s": PER_S},
    {"per_s": PER_S, "errors": 4},
    {"per_s": PER_S, "expire": 0.5},
    {"per_s": PER_S, "drop_submit": True},
    {"per_s": PER_S, "validate_s": 0.5},
    {"per_s": PER_S, "drop_upload": True},
    {"per_s": PER_S, "errors": 3, "status": 429},
    {"per_s": PER_S},
)
CAPPED_SHARE = 0.25
MARKS = ("Asked: ", "Told: ")  # by which the server finds the pairs of a document
# Longest prompt of the first contacts, which no run pays for, in tokens.
_PROBE_TOKENS = 30


def collect(url: str, folder: Path, output: Path, settings: dict[str, Any]) -> None:
    """Run a collector to its end, or on from where it was killed."""
    from equal_hf import ClusteredCorpus, CollectorConfig, EndpointExtractor, EqualDataCollector
    from equal_hf.extraction.prompts.template import PromptTemplate

    endpoint = EndpointExtractor(
        url,
        prompt=PromptTemplate(PROMPT),
        prices=PRICES,
        store=output / "responses.sqlite",
        model=RULES.model,
        model_revision="r",
        api_key=RULES.key,
        max_new_tokens=MAX_NEW_TOKENS,
        batch=True,
        batch_poll_s=0.2,
    )
    collector = EqualDataCollector(
        ClusteredCorpus.load(folder / "corpus"),
        endpoint,
        args=CollectorConfig(output_dir=str(output), **settings),
        reference=make_target().reference,
    )
    for _ in collector.rounds():
        pass
    collector.close()
    endpoint.close()


class Server:
    """`tests.servers.batches` on one port, which may be restarted.

    Args:
        folder (`Path`): Its state.
        plan (`Sequence[dict]`): What happens to which batch.
        hold_s (`float`): How long it holds its answers back.
    """

    def __init__(self, folder: Path, plan: Sequence[dict[str, Any]], hold_s: float) -> None:
        self.folder = folder
        self._options = ["--folder", str(folder), "--plan", json.dumps(plan), "--hold-s", str(hold_s)]
        self._port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.servers.batches", "--exit-with-stdin", "--port", str(self._port)]
        self._process = subprocess.Popen(
            [*command, *self._options], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the server ended with {self._process.wait()} before it printed its URL")
        self._port = int(self.url.removesuffix("/v1").rpartition(":")[2])

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def events(self) -> list[str]:
        """What it was asked so far."""
        log = self.folder / "events.log"
        return log.read_text().split() if log.exists() else []

    def charges(self) -> list[dict[str, Any]]:
        """What it charged for documents."""
        with urllib.request.urlopen(f"{self.url.removesuffix('/v1')}/bill", timeout=30) as reply:
            return [one for one in json.load(reply) if one["prompt"] > _PROBE_TOKENS]


@dataclass
class Result:
    """One run.

    Args:
        run (`RunBooks`): Its records.
        records (`dict[str, str]`): Digests of all record files.
        charges (`list[dict]`): What the server charged.
        paid (`int`): What the ledger says, in billionths.
        done (`Counter`): What was done to it: `"upload kill"`, …
        batches (`int`): How many batches the server made.
        wall_s (`float`): How long it took.
    """

    run: RunBooks
    records: dict[str, str]
    charges: list[dict[str, Any]]
    paid: int
    done: Counter[str]
    batches: int
    wall_s: float

    @property
    def bill(self) -> int:
        return sum(one["cost"] for one in self.charges)

    @property
    def double_paid(self) -> int:
        return sum(count - 1 for count in Counter(one["request"] for one in self.charges).values())


class Bench:
    """Runs of `collect`, each in a process that may be killed.

    Args:
        folder (`Path`): Where everything is.
        options (`argparse.Namespace`): Those of `chaos`.
        begin (`Callable`): Starts a function in a process of its own.
    """

    def __init__(self, folder: Path, options: argparse.Namespace, begin: Callable[..., Any]) -> None:
        self.folder, self.options, self.begin = folder, options, begin
        begin("build-batches", build, folder, options.batch_documents, MARKS).join()

    def run(
        self,
        name: str,
        plan: Sequence[dict[str, Any]],
        actions: Sequence[tuple[str, str]] = (),
        **caps: float,
    ) -> Result:
        """Run to the end through all actions, in order."""
        started = time.monotonic()
        output = self.folder / name
        output.mkdir()
        server = Server(self.folder / f"{name}-server", plan, HOLD_S if actions else 0.0)
        # Enough batches for all actions.
        settings = {"num_rounds": 1000, "arms_per_round": 2, "documents_per_arm": self.options.batch_documents // 20}
        arguments = (name, collect, server.url, self.folder, output, settings | caps)
        pending, done, seen = list(actions), Counter[str](), 0
        client = self.begin(*arguments)
        try:
            while client.is_alive():
                events = server.events()
                if pending and pending[0][0] in events[seen:]:
                    step, what = pending.pop(0)
                    if what == "kill":
                        client.kill()
                        client.join()
                        time.sleep(HOLD_S)  # what it had asked for is done all the same
                        client = self.begin(*arguments)
                    else:
                        server.stop()
                        time.sleep(OUTAGE_S)
                        server.start()
                    done[f"{step} {what}"] += 1
                    progress(f"{name}: {what} at {step}")
                    seen = len(server.events())
                client.join(0.01)
                if time.monotonic() - started > self.options.limit_s:
                    raise RuntimeError(f"{name} is still running after {self.options.limit_s:.0f} s")
            if client.exitcode:
                log = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{name} ended with {client.exitcode}:\n{log}")
            charges = server.charges()
        finally:
            client.kill()
            client.join()
            server.stop()
        with ResponseStore(output / "responses.sqlite") as store:
            paid, left = store.paid(RunFile(output).run_id()), store.open_batches()
        if left:
            raise RuntimeError(f"{name} left a batch: {left}")
        made = len([*(self.folder / f"{name}-server" / "batches").glob("*.json")])
        result = Result(
            RunBooks.read(output),
            digests(output / "rounds"),
            charges,
            paid.cost,
            done,
            made,
            time.monotonic() - started,
        )
        progress(
            f"{name}: {len(result.run.documents)} documents, {len(result.run.pairs)} pairs, {made} batches, "
            f"{result.paid / NANO:.6f} paid, {result.wall_s:.0f} s"
        )
        return result


def measure(
    folder: Path, options: argparse.Namespace, begin: Callable[..., Any]
) -> tuple[dict[str, Any], dict[str, bool]]:
    """The numbers and what they are to be."""
    bench = Bench(folder, options, begin)
    good = bench.run("good-batches", [{}], max_cost=1e3)
    bad = bench.run("bad-batches", BAD_DAY, (*KILLS, *RESTARTS), max_cost=1e3)
    cap = CAPPED_SHARE * good.paid / NANO
    good_capped = bench.run("good-batches-capped", [{}], max_cost=cap)
    bad_capped = bench.run("bad-batches-capped", BAD_DAY, (("submitted", "kill"), ("content", "kill")), max_cost=cap)

    every = {f"doc-{number:05d}" for number in range(options.batch_documents)}
    both = [bad, bad_capped]
    beyond = (max(one.paid, one.bill) - int(cap * NANO) for one in (good_capped, bad_capped))
    admitted = len(good_capped.run.documents)
    result = {
        "documents": options.batch_documents,
        "pairs": len(bad.run.pairs),
        "batches": {"good": good.batches, "bad": bad.batches},
        "lost": len(every - bad.run.told) + len(set(bad_capped.run.documents) - bad_capped.run.told),
        "double_paid": sum(one.double_paid for one in both),
        "over_budget": max(0, *beyond),
        "off_the_bill": sum(abs(one.paid - one.bill) for one in (good, *both)),
        "admitted_under_a_cap": {"good": admitted, "bad": len(bad_capped.run.documents)},
        "done": dict(bad.done + bad_capped.done),
        "wall_s": {name: round(one.wall_s, 1) for name, one in (("good", good), ("bad", bad), ("capped", bad_capped))},
    }
    promises = {
        "nothing_lost": result["lost"] == 0,
        "nothing_double_paid": result["double_paid"] == 0,
        "never_over_budget": result["over_budget"] == 0,
        "ledger_is_the_bill": result["off_the_bill"] == 0,
        "pairs_equal": bad.run.pairs == good.run.pairs,
        "records_equal": bad.records == good.records,
        "no_more_documents_under_a_cap": 0 < len(bad_capped.run.documents) <= admitted < len(every),
        # What follows shows that all this was put to the test.
        "everything_happened": all(bad.done[f"{step} {what}"] for step, what in (*KILLS, *RESTARTS)),
        "all_at_half_the_price": {one["tier"] for one in bad.charges} == {"batch"},
    }
    return result, promises
