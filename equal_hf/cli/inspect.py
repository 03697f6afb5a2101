"""`equal-hf inspect RUN`: what extraction and each filter turned down, with samples before and after."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from equal_hf.cli.inspection import EXTRACTION, Inspection, Sample, Stage, inspect_rounds
from equal_hf.errors import ConfigError
from equal_hf.filters.reasons import FILTERS
from equal_hf.records.run_folder import RoundRecords
from equal_hf.utils.printable import escape

MAX_CHARACTERS = 600  # of a question, an answer or a reply on a terminal; --json has all


def add_parser(subparsers: Any) -> None:
    """Add `inspect` to the commands."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what extraction and each filter of a run turned down",
        description="Show what extraction and each filter of a run turned down, with samples before and after. "
        "Works while the run is going on.",
        epilog="example: equal-hf inspect runs/mistral_math --reason contaminated",
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument("--reason", help="only this reason, or the reasons of this filter")
    parser.add_argument("--samples", type=int, default=3, help="samples per reason (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="chooses among samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON, with texts in full")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the inspection of a run folder.

    Raises:
        [`ConfigError`]: If `--samples` is negative or `--reason` is unknown.
        [`RecordError`]: If the folder holds no run, or damaged records.
    """
    if args.samples < 0:
        raise ConfigError(f"`--samples` is {args.samples}: set it to 0 or more")
    records = RoundRecords(args.run)
    filters = list(records.run()["fingerprint"].get("filters", FILTERS))
    rounds = (records.load(index) for index in records.indices())
    inspection = inspect_rounds(rounds, filters, reason=args.reason, samples=args.samples, seed=args.seed)
    encoding = sys.stdout.encoding or "utf-8"
    for line in [json.dumps(asdict(inspection), indent=2)] if args.json else render(inspection):
        print(line.encode(encoding, "backslashreplace").decode(encoding))
    return 0


def render(inspection: Inspection) -> Iterator[str]:
    """The lines that are shown, each printable whatever documents and replies hold."""
    yield f"{inspection.rounds:,} rounds, {inspection.documents:,} documents, {inspection.pairs:,} pairs kept"
    yield ""
    yield f"{'stage':<16}{'pairs in':>10}{'out':>10}  turned down"
    for stage in inspection.stages:
        seen = "" if stage.seen is None else f"{stage.seen:,}"
        reasons = ", ".join(f"{escape(name)} {count:,}" for name, count in stage.reasons.items())
        yield f"{escape(stage.name):<16}{seen:>10}{stage.passed:>10,}  {reasons}".rstrip()
    for stage in inspection.stages:
        for name, samples in stage.turned_down.items():
            if samples:
                yield ""
                yield f"== {escape(name)}: {len(samples)} of {stage.reasons[name]:,} turned down {_where(stage)}"
                for sample in samples:
                    yield from _sample(sample, "")
        if stage.let_through and (stage.reasons or len(inspection.stages) == 1):  # else nothing changed
            yield ""
            yield f"== {len(stage.let_through)} of {stage.passed:,} pairs after {escape(stage.name)}"
            for sample in stage.let_through:
                fate = f"turned down as {escape(sample.reason)}" if sample.reason else "kept"
                yield from _sample(sample, f", {fate} in the end")


def _where(stage: Stage) -> str:
    return "in extraction" if stage.name == EXTRACTION else f"by {escape(stage.name)}"


def _sample(sample: Sample, fate: str) -> Iterator[str]:
    yield f"- document {escape(sample.document_id)}, round {sample.round}{fate}"
    for label, text in (("question", sample.question), ("answer", sample.answer), ("raw reply", sample.raw)):
        if text:
            shown = text[:MAX_CHARACTERS].split("\n")
            more = [] if len(text) <= MAX_CHARACTERS else [f"… {len(text) - MAX_CHARACTERS:,} more characters"]
            for place, line in enumerate([*map(escape, shown), *more]):
                yield f"  {label + ':' if place == 0 else '':<11}{line}".rstrip()
