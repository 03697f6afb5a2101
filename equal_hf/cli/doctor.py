"""`equal-hf doctor [CONFIG]`: what this machine has and lacks for a run, and what to do about it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from equal_hf.cli.checks import Check, check_device, check_disk, check_endpoint, check_hub, check_packages, check_wandb
from equal_hf.errors import ConfigError
from equal_hf.utils.printable import escape

LOAD_TIMEOUT_S = 30.0
_SIGNS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def add_parser(subparsers: Any) -> None:
    """Add `doctor` to the commands."""
    parser = subparsers.add_parser(
        "doctor",
        help="check environment, endpoint, Hub, trackers and disk, and say what to fix",
        description="Check what a run needs: packages, accelerator, disk, Hub token and rights, W&B, and, with a "
        "recipe's YAML, its endpoint, with one short timed call. Any key of the YAML can be given as a flag. Exits "
        "with 1 if something would keep the run from starting.",
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
    with contextlib.redirect_stdout(sys.stderr):  # libraries greet on standard output
        checks = list(_checks(args))
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{_SIGNS[check.status]}  {check.name}: {escape(check.found)}")
            if check.remedy:
                print(f"         → {escape(check.remedy)}")
    return int(any(check.status == "problem" for check in checks))


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    yield from check_packages()
    if args.config is None:
        yield check_device()
        yield check_disk(".")
        yield check_hub()
        yield check_wandb()
        return
    from trl import ModelConfig

    from equal_hf.cli.arguments import RunArguments
    from equal_hf.cli.factories import make_extractor
    from equal_hf.cli.parse_config import parse_config
    from equal_hf.training.config import EqualConfig

    settings: tuple[RunArguments, EqualConfig, Any] = parse_config(
        (RunArguments, EqualConfig, ModelConfig), ["--config", args.config, *args.settings], args.config
    )
    what, how, _ = settings
    yield check_device(bool(how.use_cpu))
    folder = str(how.output_dir)
    yield check_disk(folder)
    yield check_hub(what.hub_dataset_id, wanted=bool(how.push_to_hub), token=how.hub_token, run_dir=folder)
    yield check_wandb(wanted="wandb" in (how.report_to or []))
    # A run waits for a server that is loading; whoever asks what is wrong does not want to.
    patience: dict[str, Any] = {"extractor_load_timeout_s": min(what.endpoint.load_timeout_s, LOAD_TIMEOUT_S)}
    asked = replace(what, response_store=None, **patience)
    yield check_endpoint(asked, lambda folder: make_extractor(asked, folder))
