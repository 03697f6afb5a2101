r"""Whether two formulas are equal: `math_verify` (SymPy) in a process of its own.

A model's reply may hold a formula that takes for ever or all of the memory, such as `9^{9^{9^9}}`; time-outs of
math_verify itself are alarms, which work in a main thread alone and interrupt no long multiplication. So the process
has a limit on memory and is killed where a comparison takes too long, which is then one that failed.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import select
import subprocess
import time
from typing import Any

from equal_hf.errors import MissingDependencyError
from equal_hf.utils.worker_process import end_worker, start_worker

logger = logging.getLogger(__name__)

MISSING = "results in LaTeX are compared with math-verify, which is not installed: pip install 'equal-hf[math]'"
LONGEST_FORMULA = 500
START_S = 60.0
ONE_S = 10.0
ALL_S = 600.0


def can_verify() -> bool:
    """Whether math_verify is installed."""
    return importlib.util.find_spec("math_verify") is not None


class MathVerifier:
    r"""Compares formulas; its process is started by the first comparison and ends with the block.

    Args:
        one_s (`float`, *optional*, defaults to `10.0`): Seconds that one comparison may take.
        all_s (`float`, *optional*, defaults to `600.0`): Seconds that all of them may; later ones are not tried.

    Attributes:
        given_up (`int`): Comparisons that took too long, were too long (500 characters a formula) or came too late;
            their results count as different.

    >>> with MathVerifier() as verifier:
    ...     verifier.equal("0.5", r"\frac{1}{2}"), verifier.equal(r"\frac{1}{3}", r"\frac{2}{3}")
    (True, False)
    """

    def __init__(self, one_s: float = ONE_S, all_s: float = ALL_S) -> None:
        self._one_s, self._left_s = one_s, all_s
        self._process: subprocess.Popen[bytes] | None = None
        self._known: dict[tuple[str, str], bool] = {}
        self.given_up = 0

    def __enter__(self) -> MathVerifier:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()

    def equal(self, wanted: str, found: str) -> bool:
        """Whether two formulas are equal.

        Args:
            wanted (`str`): The result that an item has.
            found (`str`): The result of a reply.

        Raises:
            [`MissingDependencyError`]: If math_verify is not installed.
        """
        if (wanted, found) not in self._known:
            began = time.monotonic()
            answer = self._ask(wanted, found) if self._left_s > 0 else None
            self._left_s -= time.monotonic() - began
            self.given_up += answer is None
            self._known[wanted, found] = bool(answer)
        return self._known[wanted, found]

    def _ask(self, wanted: str, found: str) -> bool | None:
        if max(len(wanted), len(found)) > LONGEST_FORMULA:
            return None
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([wanted, found]).encode() + b"\n")
            self._process.stdin.flush()
            line = self._line(self._one_s)
        except OSError:  # it has ended
            line = b""
        if line.strip() in (b"true", b"false"):
            return line.strip() == b"true"
        self._stop()
        return None

    def _start(self) -> None:
        if not can_verify():
            raise MissingDependencyError(MISSING)
        self._process = start_worker("equal_hf.training.exact_match.math_worker")
        if self._line(START_S).strip() != b"ready":
            self._stop()
            raise MissingDependencyError(
                "math-verify does not start: `python -c 'import math_verify'` says why; pip install 'equal-hf[math]'"
            )

    def _line(self, timeout_s: float) -> bytes:
        """The next line of the process; what there is of one where time is up or the process ends."""
        assert self._process is not None and self._process.stdout is not None
        pipe, line, deadline = self._process.stdout.fileno(), b"", time.monotonic() + timeout_s
        while not line.endswith(b"\n") and (left := deadline - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                if not (part := os.read(pipe, 4096)):
                    break
                line += part
        return line

    def _stop(self) -> None:
        if self._process is not None:
            end_worker(self._process)
            self._process = None
