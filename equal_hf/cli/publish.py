"""`equal-hf publish RUN --repo-id user/name`: put on the Hub what a run has collected, finished or not."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add `publish` to the commands."""
    parser = subparsers.add_parser(
        "publish",
        help="put a run's dataset on the Hub",
        description="Put on the Hub what a run has collected so far. What is there already is not sent again, so it "
        "can be repeated at any time, also after it was cut short.",
        epilog="example: equal-hf publish runs/mistral_math --repo-id user/math-qa --private",
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--repo-id", required=True, help="dataset repository, such as user/math-qa; made if need be")
    parser.add_argument(
        "--private",
        action="store_true",
        default=None,
        help="make a new repository private, and refuse one that is there and public",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="write the dataset folder and say what of it would be sent"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Publish, or say what would be.

    Raises:
        [`ConfigError`]: If no repository can be called so.
        [`PublishError`]: If no round is recorded, the Hub refuses, or the repository holds something else.
        [`RecordError`]: If the folder holds no run, or damaged records.
    """
    from equal_hf.publishing.dataset import dataset_files, export_dataset
    from equal_hf.publishing.hub import files_to_send, publish_dataset
    from equal_hf.utils.hub_repository import check_repository_name
    from equal_hf.utils.hub_retry import limit_silence
    from equal_hf.utils.logging import messages_shown

    check_repository_name(args.repo_id, "`--repo-id`")
    limit_silence()
    if args.dry_run:
        folder = export_dataset(args.run)  # under the name it has: the card is given this one by a push
        changed = files_to_send(args.run, args.repo_id)
        files = dataset_files(folder) if changed is None else changed
        sizes = {name: path.stat().st_size for name, path in files.items()}
        if args.json:
            summary = {"folder": str(folder), "repo_id": args.repo_id, "compared": changed is not None, "files": sizes}
            print(json.dumps(summary, indent=2))
            return 0
        for name, size in sizes.items():
            print(f"{size:>12,}  {name}")
        asked = "" if changed is not None else " (all there are: the Hub cannot be asked which it holds)"
        print(f"{len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB in {folder}{asked}; nothing was sent")
        return 0
    with messages_shown():
        url = publish_dataset(args.run, args.repo_id, private=args.private)
    print(json.dumps({"url": url, "repo_id": args.repo_id}) if args.json else url)
    return 0
