"""`equal-hf index CONFIG`: read, embed, cluster and publish a corpus, on one process or many."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from equal_hf.errors import ConfigError
from equal_hf.utils.printable import escape, only_results_on_stdout

if TYPE_CHECKING:
    from equal_hf.cli.index_arguments import IndexArguments
    from equal_hf.utils.distributed import Ranks

_OF_ALIGN = ("sample", "extract", "align")


def add_parser(subparsers: Any) -> None:
    """Add `index` to the commands."""
    parser = subparsers.add_parser(
        "index",
        help="cluster a dataset once, on one process or many, for many runs",
        description="Make a clustered corpus of a dataset: read, embed, cluster, assign, write and push. What is "
        "complete is skipped, so the same command goes on after a stop and takes up a new revision. An embedder that "
        "`equal-hf align` left in the run folder is used. Any key of the YAML can be given as a flag.",
        epilog="example: equal-hf index recipes/cluster_automathtext.yaml (on many processes: accelerate launch -m "
        "equal_hf index CONFIG, or torchrun -m equal_hf index CONFIG)",
    )
    parser.add_argument("config", help="the YAML of an index or of a recipe")
    parser.add_argument("--stage", help="do this stage only: read, embed, cluster, assign, write or push")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, takes_settings=True)


def run(args: argparse.Namespace) -> int:
    """Make or continue the index.

    Raises:
        [`ConfigError`]: If the configuration is wrong.
        [`CorpusError`]: If the corpus cannot be read or written.
    """
    if args.stage in _OF_ALIGN:
        raise ConfigError(f"`--stage {args.stage}` is a stage of `equal-hf align`: run that command")
    return run_on_ranks(args, index, render)


def run_on_ranks(
    args: argparse.Namespace,
    command: Callable[[IndexArguments, str, int, str | None, Ranks], dict[str, Any]],
    render: Callable[[dict[str, Any]], Iterable[str]],
) -> int:
    """Run a command of an index on all ranks; the first prints what it came to.

    Args:
        args (`argparse.Namespace`): `config`, `settings`, `stage` and `json`.
        command (`Callable`): Takes settings, run folder, seed, stage and ranks, and returns a summary.
        render (`Callable`): The lines of a summary.
    """
    with only_results_on_stdout():
        from equal_hf.cli.index_arguments import parse_index
        from equal_hf.utils.distributed import Ranks
        from equal_hf.utils.logging import set_up_terminal

        ranks = Ranks()
        try:
            set_up_terminal(is_main_process=ranks.first)
            summary = command(*parse_index(args.config, args.settings), args.stage, ranks)
        finally:
            ranks.close()
    if ranks.first:
        for line in [json.dumps(summary)] if args.json else render(summary):
            print(line)
    return 0


def index(
    settings: IndexArguments, output_dir: str, seed: int, stage: str | None = None, ranks: Ranks | None = None
) -> dict[str, Any]:
    """Make or continue an index, with its map where `corpus_map` says so.

    Raises:
        [`MissingDependencyError`]: If what draws the map is not installed.
    """
    from equal_hf.corpus.indexing.pipeline import run_index

    draw = None
    if settings.corpus_map:
        from equal_hf.report.corpus_map import check_installed, draw_map

        check_installed()
        draw = draw_map
    return run_index(settings, output_dir, seed, stage=stage, ranks=ranks, draw=draw)


def render(summary: dict[str, Any]) -> Iterator[str]:
    """The lines that are shown."""
    yield from render_stages(summary)
    for skipped in summary.get("skipped_files", []):
        yield f"left out: {escape(skipped['problem'])}"
    if summary.get("corpus"):
        yield (
            f"{summary['documents']:,} documents in {summary['n_clusters']:,} clusters: {escape(summary['corpus'])}"
        )
    for name in ("corpus_commit", "embedder_commit"):
        if summary.get(name):
            yield f"pushed: {escape(summary[name])}"


def render_stages(summary: dict[str, Any]) -> Iterator[str]:
    """A line for each stage: pieces found complete, pieces made, seconds."""
    yield f"{'stage':<10}{'complete':>10}{'made':>8}{'seconds':>10}"
    for stage, seconds in summary["seconds"].items():
        pieces = summary["pieces"][stage]
        yield f"{stage:<10}{pieces['complete']:>10,}{pieces['made']:>8,}{seconds:>10,.1f}"
