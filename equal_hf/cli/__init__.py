"""The command line: `equal-hf COMMAND …`, or `python -m equal_hf COMMAND …`.

Exit codes: 0 done, 1 a problem that the message names, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from equal_hf.errors import EqualError
from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.logging import mask_tracebacks
from equal_hf.utils.printable import escape

COMMANDS = ("align", "index", "plan", "collect", "train", "report", "publish", "inspect", "store", "replay", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv (`Sequence[str]`, *optional*): Arguments, without the program; those of the process by default.

    Returns:
        `int`: The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="equal-hf", description="Turn a document corpus into instruction-tuning data, call by call."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"equal_hf.cli.{name}").add_parser(subparsers)
    args, rest = parser.parse_known_args(argv)
    if rest and not getattr(args, "takes_settings", False):
        flags = [word.split("=")[0] for word in rest if word.startswith("-")]  # what they are set to may be secret
        parser.error(f"unrecognized arguments: {' '.join(flags) or f'{len(rest)} words'}")
    args.settings = rest
    mask_tracebacks()
    try:
        return args.func(args)
    except EqualError as error:
        # It may quote names of files, columns and replies, and words of servers and libraries.
        lines = [escape(line) for line in mask_known(str(error)).splitlines()]
        print(f"{type(error).__name__}: " + "\n".join(lines), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `equal-hf … | head` is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _version() -> str:
    from importlib.metadata import version

    return version("equal-hf")
