"""`equal-hf store stats|export|prune|cancel STORE`: look after the file of all responses that were paid for."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.extraction.budget import NANO
from equal_hf.extraction.responses.bill import Difference, compare, read_bill
from equal_hf.extraction.responses.maintenance import Selection, export, prune
from equal_hf.extraction.responses.store_stats import ledger_lines, stats
from equal_hf.utils.printable import escape

_FILE = "responses.sqlite"
FINISH_REASONS = ("stop", "stopped_early", "length", "refused")


def add_parser(subparsers: Any) -> None:
    """Add `store` to the commands."""
    parser = subparsers.add_parser(
        "store",
        help="list, export or delete stored responses",
        description="List, export or delete the responses of endpoints that a run stored.",
        epilog="example: equal-hf store stats runs/mistral_math",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("store", help="a response store, or a run folder that holds one")
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--model", help="only responses of this model")
    which.add_argument("--finish-reason", choices=FINISH_REASONS, help="only responses that ended so")
    which.add_argument("--reason", help="only refusals that say this, such as 'HTTP 415'; 'refused' for every refusal")
    which.add_argument("--older-than-days", type=float, help="only responses that came longer ago")

    where.add_argument("--json", action="store_true", help="print JSON")

    example = "example: equal-hf store {} runs/mistral_math{}".format
    action = actions.add_parser(
        "stats",
        parents=[where],
        help="what is in it, what was paid, and whether a bill says the same",
        description="List responses by model, and what was paid by run, endpoint and day (UTC). With --bill, compare "
        "that with what a provider's bill says, by day and model; exits with 1 where they differ.",
        epilog=example("stats", " --bill costs.csv usage.csv"),
    )
    action.add_argument(
        "--bill",
        nargs="+",
        metavar="CSV",
        help="exported bill: columns for the day (`date`, `start_time_iso`, …) and for tokens (`input_tokens`, "
        "`output_tokens`, `input_cached_tokens`) or money (`amount`, `amount_value`, …), and one for the `model`",
    )
    action.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        help="share by which ledger and bill may differ (default: 0.01)",
    )
    action.set_defaults(func=_stats)
    action = actions.add_parser(
        "export",
        parents=[where, which],
        help="write responses to a table",
        epilog=example("export", " responses.parquet"),
    )
    action.add_argument("target", help="file to write, .jsonl or .parquet")
    action.set_defaults(func=_export)
    action = actions.add_parser(
        "prune",
        parents=[where, which],
        help="delete responses; they would be paid for again",
        epilog=example("prune", " --finish-reason length --dry-run"),
    )
    action.add_argument("--dry-run", action="store_true", help="only count them")
    action.set_defaults(func=_prune)
    action = actions.add_parser(
        "cancel",
        parents=[where],
        help="cancel the batches that are under way at a provider",
        description="Cancel the batches that a stopped run left under way, and wait until they have ended. What was "
        "answered by then is paid for and stored; the rest is not billed. The key is EQUAL_API_KEY.",
        epilog=example("cancel", ""),
    )
    action.add_argument("--url", help="`extractor_url`, where it holds more than is shown")
    action.add_argument(
        "--forget",
        action="store_true",
        help="book batches that the provider does not know at the most they can cost, and ask for them no more",
    )
    action.set_defaults(func=_cancel)


def _path(args: argparse.Namespace) -> Path:
    path = Path(args.store)
    if not path.is_dir():
        return path
    if not (path / _FILE).exists() and (path / "run.json").is_file():
        from equal_hf.records.run_file import RunFile

        if named := RunFile(path).read().get("config", {}).get("response_store"):
            return Path(named)
    return path / _FILE


def _run_id(folder: Path) -> str | None:
    """The id of the run in a folder; `None` where there is none."""
    if not (folder / "run.json").is_file():
        return None
    from equal_hf.records.run_file import RunFile

    return str(RunFile(folder).read().get("id"))


def _selection(args: argparse.Namespace) -> Selection:
    return Selection(args.model, args.finish_reason, args.older_than_days, args.reason)


def _stats(args: argparse.Namespace) -> int:
    path = _path(args)
    if args.bill is not None:
        return _bill(args, path)
    summary = stats(path)
    if args.json:
        print(json.dumps(summary, indent=2))
        return 0
    print(f"{summary['path']}: {summary['responses']:,} responses, {summary['bytes'] / 1e6:,.1f} MB")
    for row in summary["by_model"]:
        print(
            f"  {escape(row['model']) or '(unnamed model)'}, ended by {row['finish_reason']}: {row['responses']:,} "
            f"responses, {row['prompt_tokens']:,} prompt and {row['completion_tokens']:,} completion tokens"
        )
    own = _run_id(Path(args.store))
    for run, entry in summary["runs"].items():
        attempts = ", ".join(f"{numbers['attempts']:,} {state}" for state, numbers in entry["attempts"].items())
        which = f" ({escape(args.store)})" if run == own else ""
        print(f"  run {escape(run)}{which}: {attempts}; cost {entry['cost']:,.4f}")
    for row in summary["by_endpoint"]:
        tier = f" ({row['tier']})" if row["tier"] else ""
        place = f"{escape(row['endpoint']) or '(unknown endpoint)'}, {escape(row['model']) or '(unnamed model)'}"
        print(f"  endpoint {place}{tier}: {_used(row)}")
    for row in summary["by_day"]:
        print(f"  day {escape(row['day'])}, {escape(row['model']) or '(unnamed model)'}: {_used(row)}")
    for batch in summary["batches"]:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(batch["made_unix_s"]))
        name = f"{escape(batch['batch_id']) or '(on its way)'} at {escape(batch['endpoint'])}"
        print(
            f"  batch {name}: {batch['requests']:,} requests under way since {since}; the run takes it up again, "
            "`equal-hf store cancel` ends it"
        )
    return 0


def _used(row: dict[str, Any]) -> str:
    cached = f" ({row['cached_tokens']:,} cached)" if row["cached_tokens"] else ""
    thoughts = f" ({row['reasoning_tokens']:,} thoughts)" if row["reasoning_tokens"] else ""
    return (
        f"{row['requests']:,} requests, {row['prompt_tokens']:,} prompt{cached} and {row['completion_tokens']:,} "
        f"completion{thoughts} tokens; cost {row['cost']:,.4f}"
    )


def _bill(args: argparse.Namespace, path: Path) -> int:
    if not 0 <= args.tolerance < 1:
        raise ConfigError(f"`--tolerance` is {args.tolerance}: set it to a share from 0 to below 1")
    bill = read_bill(args.bill)
    differences, left_out = compare(ledger_lines(path), bill, args.tolerance)
    differs = any(difference.differs for difference in differences)
    if args.json:
        print(json.dumps({"differs": differs, "rows": [asdict(row) for row in differences]}, indent=2))
        return int(differs)
    for line in _table(differences):
        print(line)
    if left_out:
        print(f"not compared, as the bill is of other days: {', '.join(map(escape, left_out))}")
    total = f"{sum(row.differs for row in differences):,} of {len(differences):,} numbers"
    print(f"{total} differ by more than {args.tolerance:.2%}" if differs else "the ledger says what the bill says")
    return int(differs)


def _table(differences: Sequence[Difference]) -> Iterator[str]:
    rows = [["day", "model", "", "ledger", "bill", "difference", ""]]
    for row in differences:
        values = (row.ledger, row.bill, row.ledger - row.bill)
        shown = [f"{value:,.6f}" if row.what == "cost" else f"{value:,.0f}" for value in values]
        rows.append([row.day, escape(row.model) or "(all)", row.what, *shown, "DIFFERS" if row.differs else ""])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for cells in rows:
        texts = [cell.ljust(width) for cell, width in zip(cells[:3], widths, strict=False)]
        texts += [cell.rjust(width) for cell, width in zip(cells[3:6], widths[3:], strict=False)]
        yield "  ".join([*texts, cells[6]]).rstrip()


def _export(args: argparse.Namespace) -> int:
    count = export(_path(args), args.target, _selection(args))
    if args.json:
        print(json.dumps({"responses": count, "file": str(args.target)}))
    else:
        print(f"{count:,} responses in {args.target}")
    return 0


def _prune(args: argparse.Namespace) -> int:
    count = prune(_path(args), _selection(args), dry_run=args.dry_run)
    if args.json:
        print(json.dumps({"responses": count, "deleted": not args.dry_run}))
    else:
        print(f"{count:,} responses {'would be ' if args.dry_run else ''}deleted")
    return 0


def _cancel(args: argparse.Namespace) -> int:
    from equal_hf.extraction.batch.cancel import cancel_batches
    from equal_hf.extraction.batch.openai_batches import OpenAIBatches
    from equal_hf.extraction.batch.submission import Patience
    from equal_hf.extraction.responses.response_store import ResponseStore
    from equal_hf.extraction.transport.url import Address

    path, key = _path(args), os.environ.get("EQUAL_API_KEY")
    if not path.is_file():
        raise ConfigError(f"{path} is no response store: name one, or a run folder that holds one")

    def provider(endpoint: str) -> OpenAIBatches:
        named = Address.parse(args.url, key) if args.url else None
        return OpenAIBatches(named if named and named.shown == endpoint else Address.parse(endpoint, key))

    with ResponseStore(path) as store:
        ended = asyncio.run(cancel_batches(store, provider, Patience(poll_s=10.0), forget=args.forget))
    if args.json:
        print(json.dumps([asdict(one) | {"cost": one.cost / NANO} for one in ended], indent=2))
        return 0
    for one in ended:
        print(
            f"batch {escape(one.batch)} at {escape(one.endpoint)} is over: {one.answered:,} of {one.requests:,} "
            f"requests were answered, which are stored; cost {one.cost / NANO:,.4f}"
        )
    if not ended:
        print("no batch is under way")
    return 0
