"""Compares formulas, one a line, in a process of its own that may be killed: see [`MathVerifier`].

A line in is `["wanted", "found"]` as JSON, a line out `true` or `false`. It reads LaTeX alone, by math_verify's
grammar: what math_verify takes for plain expressions is evaluated as Python by SymPy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys

MEMORY_BYTES = 2 << 30
TIMEOUT_S = 3


def main() -> None:
    """Answer lines until there are no more."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify
    from math_verify.parser import LatexExtractionConfig

    def formula(result: str) -> object:
        return parse(f"\\boxed{{{result}}}", [LatexExtractionConfig()], parsing_timeout=TIMEOUT_S)

    print("ready", flush=True)
    for line in sys.stdin:
        try:
            wanted, found = json.loads(line)
            same = bool(verify(formula(wanted), formula(found), timeout_seconds=TIMEOUT_S))
        except (Exception, RecursionError):  # whatever a grammar makes of text that a model wrote
            same = False
        print(json.dumps(same), flush=True)


if __name__ == "__main__":
    main()
