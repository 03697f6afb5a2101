"""What is waited for is told after a while: a line on a terminal that is gone afterwards, lines in a log."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from equal_hf.utils import waiting as module
from equal_hf.utils.waiting import current, show_elsewhere, waiting
from tests.processes import REPOSITORY, without_codes

PROGRAM = """
import logging, signal, sys, time
from equal_hf.cli import in_one_line
from equal_hf.utils import waiting as module
from equal_hf.utils.logging import messages_shown
module.AFTER_S, module._TICK_S = 0.05, 0.05
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has the background ignore it

def work():
    with messages_shown(), module.waiting("the first reply of http://localhost:8080"):
        time.sleep(0.4)
        logging.getLogger("equal_hf").warning("It is loading.")
        time.sleep(float(sys.argv[1]))
    print("done", file=sys.stderr)
    return 0

sys.exit(in_one_line(work))
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "AFTER_S", 0.05)
    monkeypatch.setattr(module, "_TICK_S", 0.02)
    monkeypatch.setattr(module._TELLER, "_said_s", {})
    caplog.set_level("INFO", "equal_hf")


def until(condition, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_short_wait_is_not_told(caplog: pytest.LogCaptureFixture):
    with waiting("something"):
        assert current() is None
    time.sleep(0.2)
    assert not caplog.messages


def test_a_log_gets_a_line_and_then_one_a_while(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    with waiting("a server"):
        until(lambda: caplog.messages)
        time.sleep(0.2)
        assert caplog.messages == ["waiting for a server (0 s)"] and current() == caplog.messages[0]
    with waiting("a server"):  # soon again: not again
        time.sleep(0.2)
    assert len(caplog.messages) == 1
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.1)
    with waiting("a server", lambda seconds: f"waiting, {seconds >= 0.05}"), waiting("another"):
        until(lambda: len(caplog.messages) == 3)
    assert caplog.messages[-1] == "waiting, True, and 1 more"
    assert current() is None


def test_a_bar_or_a_view_shows_it_instead(caplog: pytest.LogCaptureFixture):
    shown: list[str] = []
    with waiting("a server", show=shown.append):
        until(lambda: shown)
    show_elsewhere(True)
    try:
        with waiting("a server"):
            until(current)
            time.sleep(0.1)
    finally:
        show_elsewhere(False)
    assert not caplog.messages and shown[0].startswith("waiting for a server (")


def on_terminal(rest_s: float, interrupt: bool) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(rest_s)],
        cwd=REPOSITORY,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": str(REPOSITORY)},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
            if interrupt and b"waiting for" in shown.partition(b"It is loading.")[2]:
                process.send_signal(signal.SIGINT)
                interrupt = False
    except OSError:
        pass
    os.close(ours)
    return process.wait(20), shown.decode()


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_terminal_has_one_line_that_is_gone_afterwards(interrupt: bool):
    code, shown = on_terminal(30.0 if interrupt else 0.2, interrupt)
    assert code == (130 if interrupt else 0)
    before, _, rest = without_codes(shown).partition("It is loading.")
    after = rest.rpartition("It is loading.")[2]  # a busy terminal may be drawn twice
    line = "waiting for the first reply of http://localhost:8080 (0 s)"
    assert line in before and line in after
    stopped = "interrupted: what is complete is kept, and the same command goes on from there"
    end = stopped if interrupt else "done"
    assert after.rstrip().endswith(end)
    # The line is wiped before anything else is said, and the cursor is back.
    assert "\x1b[2K" in shown[shown.rindex(line) : shown.rindex(end)]
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
