"""Does exact match in batches find what one item at a time finds, and how much sooner?

    python -m tests.benchmarks.exact_match --model SMOLLM2_FOLDER --items 100

Test items of GSM8K are answered twice by a pre-trained model in greedy decoding: as `equal-hf train` measures exact
match, in batches of like length, and one prompt at a time by a plain loop over the model's own forward pass, which
knows neither padding nor `generate`. Batches and the items in them take turns, so that a machine that is busy slows
both. Compared are the replies, token by token, and what is made of them: the result found, right or wrong.

`--keep FOLDER` keeps what was answered one by one, and its time; a run that was killed goes on from there. The last
line is JSON. It fails where a result differs in float32, or where batches take more than a third of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from equal_hf.target import load_target
from equal_hf.training.exact_match.forms import STOP, prompts, read
from equal_hf.training.exact_match.generation import batches_of, generate
from equal_hf.training.exact_match.measure import standard_error, with_result
from equal_hf.utils.hashing import content_hash
from tests.benchmarks.pair_value_model import load
from tests.benchmarks.report import conclude, progress
from tests.benchmarks.training import parse as training_options

MOST_OF_THE_TIME = 1 / 3


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    known = training_options([])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=known.model, help="a model's folder; a GGUF file is dequantised")
    parser.add_argument("--target", type=Path, default=known.target)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--new-tokens", type=int, default=200, help="of a reply at most")
    parser.add_argument("--batch-tokens", type=int, default=16_384, help="of prompts and replies of a batch at most")
    parser.add_argument("--form", choices=tuple(STOP), default="chat")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", type=Path, help="folder for what was answered one by one")
    return parser.parse_args(argv)


def greedy(model: Any, prompt: Sequence[int], new_tokens: int, ends: set[int]) -> list[int]:
    """The plain reference: one prompt, the token of the highest logit after each pass, until an end."""
    made: list[int] = []
    past, tokens = None, list(prompt)
    with torch.inference_mode():
        while len(made) < new_tokens and not (made and made[-1] in ends):
            ids = torch.tensor([tokens], device=model.device)
            output = model(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=1)
            past, tokens = output.past_key_values, [int(output.logits[0, -1].argmax())]
            made += tokens
    return made


class Alone:
    """Replies of one item at a time and the seconds each took, kept in a file where one is named."""

    def __init__(self, folder: Path | None, identity: dict[str, Any]) -> None:
        name = "-".join(str(value) for value in identity.values()).replace("/", "_")
        self._path = folder / f"{name}.jsonl" if folder is not None else None
        self.known: dict[str, dict[str, Any]] = {}
        if self._path is not None and self._path.exists():
            rows = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
            self.known = {row["prompt"]: row for row in rows}

    def add(self, row: dict[str, Any]) -> None:
        self.known[row["prompt"]] = row
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def compare(
    options: argparse.Namespace, model: Any, tokenizer: Any, items: Sequence[Any], shots: Sequence[Any]
) -> Any:
    ids = prompts(options.form, tokenizer, items, shots)
    keys = [content_hash(json.dumps(prompt)) for prompt in ids]
    ends = {tokenizer.eos_token_id, model.generation_config.eos_token_id} - {None}
    identity = {name: getattr(options, name) for name in ("form", "new_tokens", "dtype")}
    alone = Alone(options.keep, identity)
    batches = batches_of([len(prompt) for prompt in ids], options.new_tokens, options.batch_tokens)
    batched: dict[int, Any] = {}
    wall = cpu = 0.0
    for number, batch in enumerate(batches):
        began = time.monotonic(), time.process_time()
        replies = generate(
            model, tokenizer, [ids[place] for place in batch], new_tokens=options.new_tokens, stop=STOP[options.form]
        )
        wall, cpu = wall + time.monotonic() - began[0], cpu + time.process_time() - began[1]
        batched |= dict(zip(batch, replies, strict=True))
        progress(f"batch {number + 1} of {len(batches)}: {len(batch)} items, {wall:.0f} s so far")
        for place in batch:
            if keys[place] not in alone.known:
                began = time.monotonic(), time.process_time()
                made = greedy(model, ids[place], options.new_tokens, ends)
                seconds = time.monotonic() - began[0], time.process_time() - began[1]
                text = tokenizer.decode(made, skip_special_tokens=True)
                row = {
                    "prompt": keys[place],
                    "text": text,
                    "tokens": len(made),
                    "wall_s": seconds[0],
                    "cpu_s": seconds[1],
                }
                alone.add(row)
        done = [alone.known[keys[place]] for place in batched]
        progress(f"  one by one: {len(done)} items, {sum(row['wall_s'] for row in done):.0f} s so far")
    return batches, batched, [alone.known[key] for key in keys], wall, cpu


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    for path in (options.model, options.target):
        if not path.exists():
            print(f"{path} is not there: name the model's folder by --model and the items by --target.")
            return 1
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    model, tokenizer = load(options.model)
    model = model.to(options.device, getattr(torch, options.dtype)).eval()
    target = load_target(str(options.target), split_column="split")
    items = with_result(target.test, options.items)
    batches, batched, alone, wall, cpu = compare(options, model, tokenizer, items, target.reference[:5])

    def results(text: str, item: Any) -> list[tuple[str, bool]]:
        return read(options.form, text, str(item.final), lambda wanted, found: False)

    texts = [row["text"].partition(*STOP[options.form])[0] if STOP[options.form] else row["text"] for row in alone]
    same_reply = [batched[place].text == texts[place] for place in range(len(items))]
    both = [(results(batched[place].text, item), results(texts[place], item)) for place, item in enumerate(items)]
    same_result = [one == other for one, other in both]
    right = sum(one[0][1] for one, _ in both) / len(items)
    tokens = sum(reply.tokens for reply in batched.values())
    alone_wall, alone_cpu = (sum(row[name] for row in alone) for name in ("wall_s", "cpu_s"))
    report = {
        "model": str(options.model),
        "items": len(items),
        "form": options.form,
        "dtype": options.dtype,
        "device": options.device,
        "new_tokens": options.new_tokens,
        "batches": [len(batch) for batch in batches],
        "same_replies": sum(same_reply),
        "same_results": sum(same_result),
        "exact_match": round(right, 4),
        "stderr": round(standard_error(right, len(items)), 4),
        "tokens": tokens,
        "batched_s": round(wall, 1),
        "one_by_one_s": round(alone_wall, 1),
        "share_of_time": round(wall / alone_wall, 3),
        "share_of_cpu_time": round(cpu / alone_cpu, 3),
        "batched_tokens_per_s": round(tokens / wall, 1),
        "one_by_one_tokens_per_s": round(sum(row["tokens"] for row in alone) / alone_wall, 1),
    }
    promises = {
        "the same results, item by item": all(same_result) or options.dtype != "float32",
        "less than a third of the time": wall < MOST_OF_THE_TIME * alone_wall,
    }
    return conclude(report, promises)


if __name__ == "__main__":
    raise SystemExit(main())
