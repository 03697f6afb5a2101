"""`equal-hf report RUN`: one self-contained HTML page about a run, and its figures as PNG files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add `report` to the commands."""
    parser = subparsers.add_parser(
        "report",
        help="write an HTML page about a run",
        description="Write one self-contained HTML page about a run, and its figures as PNG files. The page needs no "
        "network. Works while the run is going on.",
        epilog="example: equal-hf report runs/mistral_math --out report",
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--out", type=Path, help="folder to write to (default: `report` in the run folder)")
    parser.add_argument("--corpus", type=Path, help="folder of the clustered corpus, where it is not in the run's own")
    parser.add_argument("--control", type=Path, help="run to compare with (default: `control` in the run folder)")
    parser.add_argument("--no-pictures", action="store_true", help="write the page only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Write the report and print where it is.

    Raises:
        [`PublishError`]: If no round is recorded yet.
        [`RecordError`]: If the folder holds no run, or damaged records.
        [`MissingDependencyError`]: If a plotting library is not installed.
    """
    from equal_hf.report.write_report import write_report

    page = write_report(args.run, args.out, corpus=args.corpus, control=args.control, pictures=not args.no_pictures)
    pictures = [] if args.no_pictures else sorted(str(path) for path in page.parent.glob("*.png"))
    print(json.dumps({"page": str(page), "pictures": pictures}, indent=2) if args.json else page)
    return 0
