"""How much of the extraction is hidden behind the training of the closed loop, with `feedback_lag` 0 and 1.

    python -m tests.benchmarks.overlap [--rounds 5] [--latency-s 2] [--slots 8]

A small Llama is trained round by round on what a stand-in endpoint extracts of made-up documents, 24 a round, once
with each lag: wall time, seconds of extraction, and how long the trainer waited for it. Of the first round nothing can
be hidden; of each other one at most as much as the training of the round before it takes.

Promise: with a lag of 1, at least 80 % of what can be hidden is.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from datasets import disable_progress_bars
from transformers import AutoTokenizer, PrinterCallback
from transformers.utils import logging as transformers_logging

from equal_hf import ClusteredCorpus, EndpointExtractor, EqualConfig, EqualDataCollector, EqualTrainer
from equal_hf.target import conversational
from tests.benchmarks.report import conclude, progress
from tests.servers import spawn
from tests.world import build_world, make_target

Span = tuple[float, float]


class Timed(EndpointExtractor):
    """Notes when each round's extraction began and ended."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.spans: list[Span] = []

    def extract(self, documents: Any, allowance: Any = None) -> Any:
        began = time.monotonic()
        extractions = super().extract(documents, allowance)
        self.spans.append((began, time.monotonic()))
        return extractions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=192, help="rows a round is trained on")
    parser.add_argument("--latency-s", type=float, default=2.0, help="of the endpoint")
    parser.add_argument("--slots", type=int, default=8, help="requests that it takes at a time")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        world = build_world(Path(folder) / "world")
        with spawn("tests.servers.load", "--latency-s", str(options.latency_s), "--slots", str(options.slots)) as url:
            found = {f"lag {lag}": run(world, Path(folder) / f"lag_{lag}", url, lag, options) for lag in (0, 1)}
    saved = found["lag 0"]["wall_s"] - found["lag 1"]["wall_s"]
    promise = found["lag 1"]["hidden_of_possible"] >= 0.8
    conclude({**vars(options), **found, "saved_s": round(saved, 2)}, {"80 % of what can be hidden is": promise})


def run(world: Path, folder: Path, url: str, lag: int, options: argparse.Namespace) -> dict[str, float]:
    """One run, and what its trainer waited for."""
    config = EqualConfig(
        output_dir=str(folder),
        closed_loop=True,
        feedback_lag=lag,
        num_rounds=options.rounds,
        arms_per_round=3,
        documents_per_arm=8,
        filters=["duplicate"],
        rows_per_round=options.rows,
        per_device_train_batch_size=4,
        max_length=128,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
    )
    target, tokenizer = make_target(), AutoTokenizer.from_pretrained(world / "model")
    extractor = Timed(url, concurrency=options.slots, max_new_tokens=100, store=folder / "responses.sqlite")
    extractor.check()  # the first contact, which is once for a run and not what is measured
    collector = EqualDataCollector(
        ClusteredCorpus.load(world / "corpus"), extractor, args=config, reference=target.reference
    )
    trainer = EqualTrainer(
        str(world / "model"),
        config,
        data_collector=collector,
        eval_dataset=conversational(target.validation),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.open_run()
    waits: list[Span] = []
    collect = trainer.round_feed.collect

    def timed(epoch: int) -> Any:
        began = time.monotonic()
        opened = collect(epoch)
        waits.append((began, time.monotonic()))
        return opened

    trainer.round_feed.collect = timed  # type: ignore[method-assign]
    began = time.monotonic()
    trainer.train()
    wall_s = time.monotonic() - began
    collector.close()
    extractor.close()
    extracted = [end - start for start, end in extractor.spans]
    waited = [end - start for start, end in waits]
    trained = [after[0] - before[1] for before, after in itertools.pairwise(waits)]
    possible = sum(min(one, other) for one, other in zip(extracted[1:], trained, strict=True))
    hidden = sum(max(0.0, one - other) for one, other in zip(extracted[1:], waited[1:], strict=True))
    numbers = {
        "wall_s": wall_s,
        "extraction_s": sum(extracted),
        "waited_s": sum(waited),
        "trained_s": wall_s - sum(waited),
        "hidden": hidden / sum(extracted),
        "hidden_of_possible": hidden / possible,
    }
    told = ", ".join(f"{name} {value:.2f}" for name, value in numbers.items())
    progress(f"lag {lag}: {told}")
    return {name: round(value, 3) for name, value in numbers.items()}


if __name__ == "__main__":
    main()
