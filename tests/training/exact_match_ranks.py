"""Exact match of the small world's model in a process of its own, one that tests may kill or start on several ranks.

torchrun --nproc_per_node 2 -m tests.training.exact_match_ranks --world DIR --folder DIR
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from equal_hf.training.exact_match import measure
from equal_hf.training.exact_match.generation import generate
from equal_hf.utils.logging import set_up_terminal
from tests.world import make_target

NEW_TOKENS, BATCH_TOKENS = 24, 320


def lively_model(world: Path):
    """The small world's model with larger weights: as it is made it says the same token over and over."""
    model = AutoModelForCausalLM.from_pretrained(world / "model").eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(8)
    return model


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--world", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--form", default="chat")
    parser.add_argument("--die-after", type=int, help="exit without a word after so many batches")
    options = parser.parse_args(argv)
    rank = int(os.environ.get("RANK", 0))
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from accelerate import PartialState

        PartialState(cpu=True)
    set_up_terminal(is_main_process=rank == 0)
    made: list[int] = []

    def counted(model, tokenizer, prompts, **settings):
        if options.die_after is not None and len(made) >= options.die_after:
            os._exit(9)
        made.append(len(prompts))
        return generate(model, tokenizer, prompts, **settings)

    measure.generate = counted
    tokenizer = AutoTokenizer.from_pretrained(options.world / "model")
    model = lively_model(options.world)
    target = make_target()
    asked = measure.Question(target.test, options.form, target.reference[:2], NEW_TOKENS, BATCH_TOKENS)
    found = measure.measure_exact_match(
        model, tokenizer, asked, folder=options.folder, file="trained-target", model_identity="tiny"
    )
    (options.folder / f"rank-{rank}").write_text(f"{sorted(found.items())} {made}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
