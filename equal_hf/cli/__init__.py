"""The command line: `equal-hf COMMAND …`, or `python -m equal_hf COMMAND …`.

Exit codes: 0 done, 1 a problem that the message names, 2 wrong usage, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from equal_hf.errors import EqualError
from equal_hf.utils.known_secrets import mask_known
from equal_hf.utils.logging import mask_tracebacks
from equal_hf.utils.printable import escape, show_any_text
from equal_hf.utils.stop_signals import Terminated, interrupted_by_sigterm
from equal_hf.utils.waiting import hush

NETWORK_LIBRARIES = ("httpx", "httpcore", "huggingface_hub", "requests", "urllib3", "ssl", "sqlite3")
# In the order in which a newcomer needs them.
COMMANDS = (
    "doctor",
    "recipes",
    "plan",
    "collect",
    "train",
    "evaluate",
    "inspect",
    "report",
    "publish",
    "replay",
    "store",
    "index",
    "align",
)
GO_ON = ("collect", "train", "index")  # started again, these take up what they kept


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv (`Sequence[str]`, *optional*): Arguments, without the program; those of the process by default.

    Returns:
        `int`: The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="equal-hf",
        description="Turn a corpus of documents into instruction-tuning data, and spend LLM calls only on documents "
        "worth one.",
        epilog="The --help of each command shows an example.",
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
    return in_one_line(lambda: args.func(args), goes_on=args.func.__module__.rpartition(".")[2] in GO_ON)


def in_one_line(work: Callable[[], int], *, goes_on: bool = True) -> int:
    """Do work that a person started; whatever the settings, the system, a disk or a network make of it is one line.

    Args:
        work (`Callable`): Returns the exit code.
        goes_on (`bool`, *optional*, defaults to `True`): Whether the same command takes up what a stopped one kept.

    Returns:
        `int`: The exit code.
    """
    show_any_text()
    mask_tracebacks()
    try:
        with interrupted_by_sigterm():
            return work()
    except EqualError as error:
        message, name = str(error), _public_name(type(error))
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        hush()
        how = "terminated" if terminated else "interrupted"
        kept = ": what is complete is kept, and the same command goes on from there" if goes_on else ""
        print(f"{how}{kept}", file=sys.stderr)
        return 143 if terminated else 130
    except BrokenPipeError:  # `equal-hf … | head` is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        message, name = "the machine has not enough memory for this: close what else runs, or set less", "MemoryError"
    except Exception as error:
        if not _is_of_the_system(error):
            raise  # a fault of this program, whose place matters
        message, name = describe(error), type(error).__name__
    # It may quote names of files, columns and replies, and words of servers and libraries.
    lines = [escape(line) for line in mask_known(message).splitlines()]
    print(f"{name}: " + "\n".join(lines), file=sys.stderr)
    return 1


def _public_name(kind: type) -> str:
    """The name under which a kind of error is documented; one of a module's own goes by its parent's."""
    return next(one.__name__ for one in kind.__mro__ if not one.__name__.startswith("_"))


def describe(error: Exception) -> str:
    """What the system says, with the file it is about."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        remedy = {errno.ENOSPC: ": make room there", errno.EACCES: ": check its permissions"}.get(error.errno or 0, "")
        return f"{error.strerror}: {error.filename}{remedy}"
    if isinstance(error, UnicodeError) and (encoding := sys.getfilesystemencoding()) != "utf-8":
        return f"{error}; names of files are in {encoding} here: set PYTHONUTF8=1 in the environment"
    return str(error) or type(error).__name__


def _is_of_the_system(error: Exception) -> bool:
    """Whether an error comes from the system, a locale, or a library that talks to a server."""
    return isinstance(error, OSError | UnicodeError) or type(error).__module__.split(".")[0] in NETWORK_LIBRARIES


def _version() -> str:
    from importlib.metadata import version

    return version("equal-hf")
