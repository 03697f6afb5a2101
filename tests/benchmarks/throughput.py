"""How much of a server's capacity the extractor reaches, and at what cost.

    python -m tests.benchmarks.throughput                 # about 5 minutes
    python -m tests.benchmarks.throughput --slots 8       # one of the two halves

A bare load generator, the extractor, and a plain `asyncio.gather` over `AsyncInferenceClient` are measured one after
the other on servers of the same settings, each over a window that begins when it has warmed up. Rates are read from
the server, CPU from the client's process. Nothing else should run on the machine: a client that has to wait for a core
is measured as slow.

Promises: at 256 slots of 2 s at least 93 % of the ceiling at under 5 ms of client CPU a request; at 8 slots with a
429 for each request beyond at least 90 % of the ceiling with under 5 % of requests refused. The extractor is given
room for 64 requests there: it has to find out that 8 are taken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.benchmarks.report import conclude, progress
from tests.servers import ROOT, spawn

MOST_CONNECTIONS = {256: 256, 64: 64, 8: 64}  # by slots
BEYOND = {256: "queue", 64: "queue", 8: "refuse"}


@dataclass(frozen=True)
class Measured:
    """One client over one window.

    Args:
        rate (`float`): Answered requests a second.
        cpu_ms (`float`): Client CPU a request, in milliseconds.
        refused_share (`float`): Refused requests among all that got an answer.
        most_in_flight (`int`): Most slots in use since the start.
        answered (`int`): Requests answered within the window.
        warm_up_s (`float`): Time from the first request to the window.
    """

    rate: float
    cpu_ms: float
    refused_share: float
    most_in_flight: int
    answered: int
    warm_up_s: float

    def shown(self) -> dict[str, float]:
        digits = {"rate": 2, "cpu_ms": 2, "refused_share": 4, "warm_up_s": 1}
        return {name: round(getattr(self, name), digits.get(name, 0)) for name in self.__dataclass_fields__}


def measure(client: str, slots: int, options: argparse.Namespace) -> Measured:
    """Start a server and a client, let them warm up, and watch them for the window."""
    latency_s = options.latency_s
    settings = ("--latency-s", str(latency_s), "--slots", str(slots), "--beyond", BEYOND[slots])
    connections = slots if client == "bare" else MOST_CONNECTIONS[slots]
    documents = int(slots / latency_s * (options.seconds + options.warm_up_s + 20 * latency_s))
    with spawn("tests.servers.load", *settings) as url, start(client, url, connections, documents) as process:

        def stats() -> dict[str, float]:
            with urllib.request.urlopen(f"{url}/stats", timeout=10) as reply:
                return json.load(reply)

        def cpu_s() -> float:
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the {client} client ended with {process.wait()} before its window did")
            return float(line)

        while stats()["most_in_flight"] == 0:
            cpu_s()  # fails where the client is gone
            time.sleep(0.05)
        started = time.monotonic()
        full_at = None
        while time.monotonic() - started < options.warm_up_s:
            if full_at is None and stats()["most_in_flight"] >= slots:
                full_at = time.monotonic()
            # Once it has reached all slots it gets a few round trips more, to settle or to be refused.
            if full_at is not None and time.monotonic() - full_at > 6 * latency_s:
                break
            time.sleep(0.1)
        warm_up_s = time.monotonic() - started
        before, cpu_before = stats(), cpu_s()
        time.sleep(options.seconds)
        after, cpu_after = stats(), cpu_s()
    served = after["served"] - before["served"]
    answered, refused = (after[name] - before[name] for name in ("answered", "refused"))
    measured = Measured(
        rate=served / (after["time_s"] - before["time_s"]),
        cpu_ms=1000 * (cpu_after - cpu_before) / max(served, 1),
        refused_share=refused / max(answered + refused, 1),
        most_in_flight=int(after["most_in_flight"]),
        answered=int(answered),
        warm_up_s=warm_up_s,
    )
    progress(f"{slots} slots, {client}: {measured.shown()}")
    return measured


@contextmanager
def start(client: str, url: str, connections: int, documents: int) -> Iterator[subprocess.Popen]:
    """A client in a process of its own, killed with the block."""
    command = [sys.executable, "-m", "tests.benchmarks.throughput_clients", client, "--url", url]
    command += ["--connections", str(connections), "--documents", str(documents)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each window")
    parser.add_argument("--warm-up-s", type=float, default=45.0, help="most time to warm up in")
    parser.add_argument("--latency-s", type=float, default=2.0, help="what a request takes on the server")
    parser.add_argument("--slots", type=int, nargs="+", choices=[*BEYOND], default=[256, 8])
    parser.add_argument("--without-gather", action="store_true", help="leave the plain client out")
    parser.add_argument("--streamed", action="store_true", help="also with replies that are streamed, in 40 pieces")
    options = parser.parse_args()
    result: dict[str, object] = {"seconds": options.seconds, "latency_s": options.latency_s}
    promises: dict[str, bool] = {}
    for slots in options.slots:
        ceiling = measure("bare", slots, options)
        ours = measure("extractor", slots, options)
        part = {"share_of_ceiling": round(ours.rate / ceiling.rate, 4)}
        part |= {"ceiling": ceiling.shown(), "extractor": ours.shown()}
        if not options.without_gather and slots == 256:
            plain = measure("gather", slots, options)
            part |= {"gather": plain.shown(), "gather_share_of_ceiling": round(plain.rate / ceiling.rate, 4)}
        if options.streamed:
            streamed = measure("streamed", slots, options)
            part |= {"streamed": streamed.shown(), "streamed_share": round(streamed.rate / ours.rate, 4)}
        result[f"slots_{slots}"] = part
        if slots == 256:
            promises["at_256_slots_0.93_of_the_ceiling"] = ours.rate >= 0.93 * ceiling.rate
            promises["at_256_slots_under_5_ms_cpu"] = ours.cpu_ms < 5
        elif slots == 8:
            promises["at_8_slots_0.90_of_the_ceiling"] = ours.rate >= 0.90 * ceiling.rate
            promises["at_8_slots_under_0.05_refused"] = ours.refused_share < 0.05
    conclude(result, promises)


if __name__ == "__main__":
    main()
