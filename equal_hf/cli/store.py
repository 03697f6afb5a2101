"""`equal-hf store stats|export|prune STORE`: look after the file that holds every response that was paid for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from equal_hf.extraction.responses.maintenance import Selection, export, prune, stats
from equal_hf.utils.printable import escape

_FILE = "responses.sqlite"


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
    which.add_argument("--finish-reason", choices=["stop", "length", "refused"], help="only responses that ended so")
    which.add_argument("--reason", help="only refusals that say this, such as 'HTTP 415'; 'refused' for every refusal")
    which.add_argument("--older-than-days", type=float, help="only responses that came longer ago")

    where.add_argument("--json", action="store_true", help="print JSON")

    example = "example: equal-hf store {} runs/mistral_math{}".format
    action = actions.add_parser(
        "stats", parents=[where], help="what is in it, and what each run paid", epilog=example("stats", "")
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


def _path(args: argparse.Namespace) -> Path:
    path = Path(args.store)
    if not path.is_dir():
        return path
    if not (path / _FILE).exists() and (path / "run.json").is_file():
        from equal_hf.records.run_folder import RoundRecords

        if named := RoundRecords(path).run().get("config", {}).get("response_store"):
            return Path(named)
    return path / _FILE


def _selection(args: argparse.Namespace) -> Selection:
    return Selection(args.model, args.finish_reason, args.older_than_days, args.reason)


def _stats(args: argparse.Namespace) -> int:
    summary = stats(_path(args))
    if args.json:
        print(json.dumps(summary, indent=2))
        return 0
    print(f"{summary['path']}: {summary['responses']:,} responses, {summary['bytes'] / 1e6:,.1f} MB")
    for row in summary["by_model"]:
        print(
            f"  {escape(row['model']) or '(unnamed model)'}, ended by {row['finish_reason']}: {row['responses']:,} "
            f"responses, {row['prompt_tokens']:,} prompt and {row['completion_tokens']:,} completion tokens"
        )
    for run, entry in summary["runs"].items():
        attempts = ", ".join(f"{numbers['attempts']:,} {state}" for state, numbers in entry["attempts"].items())
        print(f"  run {escape(run)}: {attempts}; cost {entry['cost']:,.4f}")
    return 0


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
