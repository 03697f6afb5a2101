"""How benchmarks speak: progress on stderr, one JSON object last on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def conclude(result: dict[str, Any], promises: dict[str, bool]) -> NoReturn:
    """Print the result with its promises, and exit with 1 if one of them is broken."""
    print(json.dumps({**result, "promises": promises}), flush=True)
    sys.exit(0 if all(promises.values()) else 1)
