"""`equal-hf doctor [CONFIG]`: what this machine has and lacks for a run, and what to do about it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from equal_hf.cli.machine_checks import Check
from equal_hf.errors import ConfigError
from equal_hf.utils.logging import messages_shown
from equal_hf.utils.printable import escape

_SIGNS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def add_parser(subparsers: Any) -> None:
    """Add `doctor` to the commands."""
    parser = subparsers.add_parser(
        "doctor",
        help="check what a run needs, and say how to fix what is missing",
        description="Check what a run needs: packages, accelerator, disk, Hub token and rights, W&B; and, with a "
        "recipe's YAML, access to model, corpus and target, whether the settings fit, and the endpoint, with one "
        "short timed call. Any key of the YAML can be given as a flag. Exits with 1 if something would keep the run "
        "from starting.",
        epilog="example: equal-hf doctor recipes/mistral_math.yaml --extractor_url http://localhost:8080",
    )
    parser.add_argument("config", nargs="?", help="the recipe's YAML")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, takes_settings=True)


def run(args: argparse.Namespace) -> int:
    """Print the checks; 1 if there is a problem.

    Raises:
        [`ConfigError`]: If the configuration is wrong.
    """
    if args.settings and args.config is None:
        raise ConfigError(f"{args.settings[0].split('=')[0]} is a setting of a recipe: name its YAML first")
    out, looked_at = sys.stdout, []
    with contextlib.redirect_stdout(sys.stderr), messages_shown():  # libraries greet on standard output
        for check in _checks(args):
            looked_at.append(check)
            if not args.json:  # some take long, so each is shown as it comes
                print(f"{_SIGNS[check.status]}  {check.name}: {escape(check.found)}", file=out)
                if check.remedy:
                    print(f"         → {escape(check.remedy)}", file=out)
                out.flush()
    if args.json:
        print(json.dumps([asdict(check) for check in looked_at], indent=2))
    return int(any(check.fails for check in looked_at))


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    from equal_hf.cli.checks import checks

    if args.config is None:
        return checks()
    from equal_hf.cli.parse_config import parse_run

    return checks(*parse_run(args.config, args.settings))
