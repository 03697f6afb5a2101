"""`equal-hf evaluate CONFIG --url URL`: exact match of a model that a server has, such as vLLM with an adapter."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from typing import Any

from equal_hf.errors import ConfigError


def add_parser(subparsers: Any) -> None:
    """Add `evaluate` to the commands."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure exact match of a model that a server has",
        description="Ask a served model the target's test items, as a chat and greedily, and count the right results. "
        "Any server with OpenAI's chat route will do, such as vLLM with a run's adapter: vllm serve BASE "
        "--enable-lora --lora-modules equal=RUN/hub/model. Replies are kept in `evaluation/` of the run "
        "folder, and the same command goes on after a stop. A key is read from EQUAL_API_KEY.",
        epilog="example: equal-hf evaluate recipes/mistral_math.yaml --url http://localhost:8000 --model equal "
        "--exact_match_items 200 (any key of the YAML can be given as a flag)",
    )
    parser.add_argument("config", help="the recipe's YAML: its target, seed, output_dir and exact_match_* count")
    parser.add_argument("--url", required=True, help="where the server is")
    parser.add_argument("--model", help="the model's name there; needed where it serves several")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at a time (default: 32)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, takes_settings=True)


def run(args: argparse.Namespace) -> int:
    """Measure, and print what came of it.

    Raises:
        [`ConfigError`]: If the configuration is wrong, or no test item has a result.
        [`EndpointError`]: If the server cannot be used.
    """
    from equal_hf.cli.parse_config import parse_run
    from equal_hf.records.summary import evaluation_folder
    from equal_hf.target.load import load_targets
    from equal_hf.training.exact_match.measure import Question, with_result
    from equal_hf.training.exact_match.served import measure_served
    from equal_hf.utils.logging import set_up_terminal
    from equal_hf.utils.printable import only_results_on_stdout

    with only_results_on_stdout():
        settings, trainer_args, _ = parse_run(args.config, args.settings)
        set_up_terminal(is_main_process=True)
    endpoint = replace(settings.endpoint, model=args.model, concurrency=args.concurrency)
    folder = evaluation_folder(str(trainer_args.output_dir))
    called = re.sub(r"[^A-Za-z0-9.-]+", "_", args.model or "served")
    found: dict[str, dict[str, float]] = {}
    for name, target in load_targets(settings, trainer_args.seed).items():
        asked = Question(
            with_result(target.test, settings.exact_match_items),
            new_tokens=settings.new_tokens(trainer_args.max_length),
        )
        if measures := measure_served(asked, args.url, endpoint, folder=folder, name=f"served-{called}-{name}-chat"):
            found[name] = {**measures, "items": len(asked.items)}
    if not found:
        raise ConfigError("no test item has a result: set `target_final_column`, or `exact_match_items` above 0")
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        for name, measures in found.items():
            share, error = measures["exact_match"], measures["exact_match_stderr"]
            print(f"{name}: exact match {share:.4f} ± {error:.4f} of {measures['items']:,} items")
    return 0
