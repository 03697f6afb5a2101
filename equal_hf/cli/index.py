"""`equal-hf index CONFIG`: read, align, embed, cluster and publish a corpus, on one process or many."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

from equal_hf.utils.printable import escape

_STAGES = ("read", "sample", "extract", "align", "embed", "cluster", "assign", "write", "push")


def add_parser(subparsers: Any) -> None:
    """Add `index` to the commands."""
    parser = subparsers.add_parser(
        "index",
        help="make a clustered corpus of a dataset",
        description="Make a clustered corpus of a dataset: read, sample, extract, align, embed, cluster, assign, "
        "write and push. What is complete is skipped, so the same command goes on after a stop and takes up a new "
        "revision. Any key of the YAML can be given as a flag.",
        epilog="example: equal-hf index recipes/cluster_automathtext.yaml (on many processes: accelerate launch -m "
        "equal_hf index CONFIG, or torchrun -m equal_hf index CONFIG)",
    )
    parser.add_argument("config", help="the YAML of an index or of a recipe")
    parser.add_argument("--stage", choices=_STAGES, help="do this stage only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, takes_settings=True)


def run(args: argparse.Namespace) -> int:
    """Make or continue the index.

    Raises:
        [`ConfigError`]: If the configuration is wrong.
        [`CorpusError`]: If the corpus cannot be read or written.
    """
    # Libraries greet on standard output when they are imported; that is for the result alone.
    with contextlib.redirect_stdout(sys.stderr):
        from equal_hf.corpus.indexing.config import parse_index
        from equal_hf.corpus.indexing.pipeline import Index
        from equal_hf.utils.distributed import Ranks

        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        settings, output_dir, seed = parse_index(args.config, args.settings)
        ranks = Ranks()
        try:
            told = Index(settings, output_dir, seed, stage=args.stage, ranks=ranks).run()
        finally:
            ranks.close()
    if ranks.first:
        for line in [json.dumps(told)] if args.json else render(told):
            print(line)
    return 0


def render(told: dict[str, Any]) -> Iterator[str]:
    """The lines that are shown."""
    yield f"{'stage':<10}{'complete':>10}{'made':>8}{'seconds':>10}"
    for stage, seconds in told["seconds"].items():
        pieces = told["pieces"][stage]
        yield f"{stage:<10}{pieces['complete']:>10,}{pieces['made']:>8,}{seconds:>10,.1f}"
    for skipped in told.get("skipped_files", []):
        yield f"left out: {escape(skipped['problem'])}"
    if alignment := told.get("alignment"):
        yield f"alignment: {escape(alignment['verdict'])}"
    if told.get("corpus"):
        yield f"{told['documents']:,} documents in {told['n_clusters']:,} clusters: {escape(told['corpus'])}"
    for name in ("corpus_commit", "embedder_commit"):
        if told.get(name):
            yield f"pushed: {escape(told[name])}"
