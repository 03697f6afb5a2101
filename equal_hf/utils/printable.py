r"""Text from documents and replies made safe to print: nothing in it can steer the terminal.

>>> print(escape("red: \x1b[31m, bell: \a, reversed: \u202e, Ünïcode: 数 ∑"))
red: \x1b[31m, bell: \x07, reversed: \u202e, Ünïcode: 数 ∑
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


def first_line(error: BaseException) -> str:
    r"""First line of an error's message, without its full stop; the error's class where it says nothing.

    >>> first_line(ValueError("\n no such column.\nSee the manual.")), first_line(KeyError())
    ('no such column', 'KeyError')
    """
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__


def escape(text: str) -> str:
    r"""A text with every character that is not printable written as an escape sequence.

    Not printable are control characters (so also escape sequences, carriage returns and new lines), invisible marks of
    format and direction, lone surrogates, and what Unicode has not assigned.

    >>> escape("one\ntwo")
    'one\\ntwo'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


def show_any_text() -> None:
    """From here on, what a terminal's encoding lacks is shown as an escape sequence, where printing it would fail."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """What is written to standard output in the block goes to standard error: libraries greet there, in C++ too.

    What is for standard output, a result, is printed after the block.
    """
    sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of the two is closed
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)
