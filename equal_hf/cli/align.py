"""`equal-hf align CONFIG`: align the embedder of a corpus with pairs of a sample, before it is indexed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from equal_hf.cli.index import render_stages, run_on_ranks
from equal_hf.errors import ConfigError
from equal_hf.utils.printable import escape

if TYPE_CHECKING:
    from equal_hf.cli.index_arguments import IndexArguments
    from equal_hf.utils.distributed import Ranks

# What the pairs of a sample depend on besides the documents; the endpoint is not asked.
_OF_PAIRS = (
    "extractor extractor_model extractor_model_revision extractor_prompt extractor_examples extractor_refine "
    "extractor_judge extractor_judge_min_score extractor_max_new_tokens extractor_temperature target"
).split()
# The same where they are set: folders of earlier versions hold none.
_OF_PAIRS_IF_SET = ("extractor_body", "extractor_max_reasoning_tokens")


def add_parser(subparsers: Any) -> None:
    """Add `align` to the commands."""
    parser = subparsers.add_parser(
        "align",
        help="fine-tune the embedder on pairs of a sample, before `index`",
        description="Extract the pairs of a sample of the documents, fine-tune the embedder to find a document by its "
        "pairs, and leave it in `<output_dir>/embedder` if it does that better on documents held out. `equal-hf "
        "index` and a run's own corpus then use it. Any key of the YAML can be given as a flag.",
        epilog="example: equal-hf align recipes/cluster_automathtext.yaml --sample_share 0.01",
    )
    parser.add_argument("config", help="the YAML of an index or of a recipe")
    parser.add_argument("--stage", help="do this stage only: read, sample, extract or align")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, takes_settings=True)


def run(args: argparse.Namespace) -> int:
    """Align the embedder.

    Raises:
        [`ConfigError`]: If the configuration is wrong.
        [`CorpusError`]: If the corpus cannot be read, or the trainer failed.
    """
    return run_on_ranks(args, align, render)


def align(
    settings: IndexArguments, output_dir: str, seed: int, stage: str | None = None, ranks: Ranks | None = None
) -> dict[str, Any]:
    """Align the embedder as the settings say.

    Raises:
        [`ConfigError`]: If `align` is false.
    """
    from equal_hf.alignment.run import PairSource, run_align
    from equal_hf.cli.factories import make_extractor
    from equal_hf.target.load import load_targets

    if settings.align is False:
        raise ConfigError("`align` is false: leave it out, or index without aligning")

    def targets() -> Any:
        return load_targets(settings, seed) if settings.target else None

    def reference() -> list[str] | None:
        named = targets()
        return None if named is None else [item.text() for target in named.values() for item in target.reference]

    ungraded = replace(settings, extractor_grade=False)  # nothing is selected by these pairs
    pairs = PairSource(
        make_extractor=lambda: make_extractor(ungraded, output_dir, targets(), seed),
        reference=reference,
        settings={name: getattr(settings, name) for name in _OF_PAIRS}
        | {name: value for name in _OF_PAIRS_IF_SET if (value := getattr(settings, name))},
    )
    return run_align(settings, settings, settings.alignment, output_dir, seed, pairs, stage=stage, ranks=ranks)


def render(summary: dict[str, Any]) -> Iterator[str]:
    """The lines that are shown."""
    yield from render_stages(summary)
    if extraction := summary.get("extraction"):
        yield f"{extraction['pairs']:,} pairs of {extraction['documents']:,} documents"
    if alignment := summary.get("alignment"):
        yield f"alignment: {escape(alignment['verdict'])}"
