"""How much of what a trainer computes is rows, and how fast it is beside SFTTrainer on the same rows.

    EQUAL_DATA=… python -m tests.benchmarks.batches [--tokenizer FOLDER_OR_GGUF] [--turns 5]

Useful share: of the token slots of the slowest process, in the time of all, in rounds of 512 pairs of the web corpus
and batches of 4; with random batches, with batches by length as transformers forms them and as we do, and with rows
packed into sequences of `max_length`.

Speed: a Llama of 0.9 million parameters is trained on rounds of pairs that are on record, by EqualTrainer and by
SFTTrainer with `group_by_length`, at random, and, once, packed (on a CPU packed rows see each other). Construction and
tokenization count, opening the run folder does not; in CPU seconds of one thread, since other work on the machine
slows the clock. Arms take turns in an order that rotates; medians. Losses are those of held-out pairs afterwards.

Tokenization: a round's rows by SFTTrainer's own preparation, as every process did it in turn, and as it is now.

Promises: 80 % useful with batches by length on one process and on 8 with accumulation 2, 97 % of the tokens a second
of SFTTrainer at its fastest without packing, a loss at most 1 % above that of random batches, the same rows, and the
very losses of SFTTrainer where that is given the rows in our order.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

from equal_hf import ClusteredCorpus, CollectorConfig, EqualConfig, EqualDataCollector, EqualTrainer
from equal_hf.target import TargetItem
from equal_hf.training.length_batches import batches_by_length
from equal_hf.training.tokenized_rows import tokenize_rows
from equal_hf.types import Document, Extraction, QAPair
from recipes.tiny_models import build_embedder, build_language_model, build_tokenizer
from tests.benchmarks.report import conclude, progress

ROWS, BATCH, MAX_LENGTH = 512, 4, 512
PLACES = {"1 process": (1, 1), "8 processes, accumulation 2": (8, 2)}
HELD_OUT = 200
LONGEST = 900  # characters of a pair that is trained on, so that none is cut
SETTINGS: dict[str, Any] = {
    "max_length": MAX_LENGTH,
    "per_device_train_batch_size": BATCH,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "eval_strategy": "no",
    "logging_steps": 1,
    "log_level": "error",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, help="folder or GGUF file; one trained on the pairs if left out")
    parser.add_argument("--pairs", type=int, default=4096, help="pairs whose batches are looked at")
    parser.add_argument("--rounds", type=int, default=2, help="rounds that are trained on")
    parser.add_argument("--turns", type=int, default=5, help="trainings of each arm; 0 for none")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    torch.set_num_threads(1)
    table = pd.read_parquet(Path(os.environ["EQUAL_DATA"]) / "math_web_pairs.parquet")
    table = table[table["answer"].str.strip().str.len() > 0].drop_duplicates(["question", "answer"])
    table = table.sample(frac=1.0, random_state=0)
    pairs = [QAPair(q, a, "") for q, a in zip(table["question"], table["answer"], strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), pairs, options.rounds)
        tokenizer = read_tokenizer(options.tokenizer) or world.tokenizer
        result: dict[str, Any] = {"useful": useful_shares(tokenizer, pairs[: options.pairs])}
        result["tokenization"] = tokenization(world, tokenizer, pairs[: ROWS + ROWS // 4 + 1])
        promises = {
            "by length, 80 % of the slots are useful": min(shares["by length"] for shares in result["useful"].values())
            >= 0.8,
            "rows are those of SFTTrainer": result["tokenization"].pop("same"),
        }
        if options.turns:
            result["speed"] = speed(world, options.turns)
            promises |= result["speed"].pop("promises")
    conclude(result, promises)


def read_tokenizer(path: Path | None) -> Any:
    if path is None:
        return None
    if path.suffix == ".gguf":
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return AutoTokenizer.from_pretrained(path)


# -- useful share ----------------------------------------------------------------------------------------------


def useful_shares(tokenizer: Any, pairs: Sequence[QAPair]) -> dict[str, dict[str, float]]:
    """By place, then by how batches are formed."""
    rows = [pair.messages() for pair in pairs]
    ids = tokenizer.apply_chat_template(
        [row["prompt"] + row["completion"] for row in rows], tokenize=True, return_dict=True
    )["input_ids"]
    lengths = np.array([min(len(one), MAX_LENGTH) for one in ids])
    rounds = lengths[: len(lengths) // ROWS * ROWS].reshape(-1, ROWS)
    rng = np.random.default_rng(0)
    shares: dict[str, dict[str, float]] = {}
    for place, (processes, accumulation) in PLACES.items():
        orders: dict[str, Callable[[np.ndarray], Any]] = {
            "random": lambda lengths: rng.permutation(len(lengths)),
            "as transformers groups": lambda lengths, n=BATCH * accumulation: get_length_grouped_indices(
                lengths.tolist(), n, generator=torch.Generator().manual_seed(0)
            ),
            "by length": lambda lengths, n=BATCH * processes: batches_by_length(lengths, n, rng),
        }
        shares[place] = {
            name: float(np.mean([useful(of[order(of)], BATCH, processes, accumulation) for of in rounds]))
            for name, order in orders.items()
        }
        packed = [np.array(packed_lengths(of)) for of in rounds]
        shares[place]["packed"] = float(np.mean([useful(of, 1, processes, accumulation) for of in packed]))
        told = ", ".join(f"{name} {share:.1%}" for name, share in shares[place].items())
        progress(f"useful slots, {place}: {told}")
    return shares


def useful(lengths: np.ndarray, rows: int, processes: int, accumulation: int) -> float:
    """Of the slots of the slowest process at each optimizer step, in the time of all."""
    of_a_step = rows * processes * accumulation
    padded = np.concatenate([lengths, np.zeros(-len(lengths) % of_a_step, dtype=lengths.dtype)])
    slots = padded.reshape(-1, accumulation, processes, rows).max(axis=-1) * rows
    return float(lengths.sum() / (slots.sum(axis=1).max(axis=-1).sum() * processes))


def packed_lengths(lengths: np.ndarray) -> list[int]:
    """Tokens of each sequence that TRL packs the rows into."""
    from trl import pack_dataset

    rows = Dataset.from_dict({"input_ids": [[0] * int(length) for length in lengths]})
    return [len(row) for row in pack_dataset(rows, MAX_LENGTH, "bfd")["input_ids"]]


# -- a world whose rounds are on record ------------------------------------------------------------------------


class World:
    """Models, held-out pairs, and a run whose rounds of exactly `ROWS` pairs are on record."""

    def __init__(self, folder: Path, pairs: Sequence[QAPair], rounds: int) -> None:
        self.folder, self.rounds = folder, rounds
        pairs = [pair for pair in pairs if len(pair.text()) <= LONGEST]
        held_out, self.pairs = pairs[:HELD_OUT], pairs[HELD_OUT : HELD_OUT + rounds * ROWS]
        self.held_out = Dataset.from_list([pair.messages() for pair in held_out])
        texts = [pair.text() for pair in pairs[: 4 * ROWS]]
        self.tokenizer = build_tokenizer(texts, folder / "model", vocabulary=2048)
        build_language_model(self.tokenizer, folder / "model", seed=0)
        build_embedder(texts, folder / "embedder", seed=0, dimension=16)
        documents = {
            f"d{number}": list(self.pairs[4 * number : 4 * number + 4]) for number in range(rounds * ROWS // 4)
        }
        ClusteredCorpus.build(
            Dataset.from_list([{"id": name, "text": own[0].text()} for name, own in documents.items()]),
            folder / "corpus",
            embedder=str(folder / "embedder"),
            n_clusters=4,
            id_column="id",
            min_characters=1,
            seed=0,
            threads=1,
            show_progress=False,
        )
        self._extractor = Known(documents)
        collector = self.collector(CollectorConfig(output_dir=str(folder / "run"), **self._rounds()))
        counts = [len(round.pairs) for round in collector.rounds()]
        assert counts == [ROWS] * rounds, counts
        collector.close()

    def _rounds(self) -> dict[str, Any]:
        sizes = {"arms_per_round": 4, "documents_per_arm": ROWS // 16}
        return {"num_rounds": self.rounds, "filters": [], "draw_by": "cluster", **sizes}

    def collector(self, args: Any) -> EqualDataCollector:
        items = [TargetItem(pair.question, pair.answer) for pair in self.pairs[:8]]
        return EqualDataCollector(
            ClusteredCorpus.load(self.folder / "corpus"), self._extractor, args=args, reference=items
        )

    def ours(self, seed: int) -> EqualTrainer:
        config = EqualConfig(
            output_dir=str(self.folder / "run"), closed_loop=True, rows_per_round=ROWS, **SETTINGS, **self._rounds()
        )
        config.data_seed = seed
        return EqualTrainer(
            str(self.folder / "model"),
            config,
            data_collector=self.collector(config),
            processing_class=self.tokenizer,
        )

    def theirs(self, rows: Dataset, seed: int, **settings: Any) -> SFTTrainer:
        config = SFTConfig(
            output_dir=str(self.folder / "sft"), num_train_epochs=1, data_seed=seed, **SETTINGS | settings
        )
        return SFTTrainer(str(self.folder / "model"), config, train_dataset=rows, processing_class=self.tokenizer)


class Known:
    """Gives the pairs of documents."""

    def __init__(self, documents: dict[str, list[QAPair]]) -> None:
        self._documents = documents

    def identity(self) -> dict[str, Any]:
        return {"kind": "known"}

    def extract(self, documents: Sequence[Document], allowance: Any = None) -> list[Extraction]:
        return [
            Extraction(
                one.id, tuple(QAPair(p.question, p.answer, one.id, one.cluster) for p in self._documents[one.id])
            )
            for one in documents
        ]


# -- tokenization ----------------------------------------------------------------------------------------------


def tokenization(world: World, tokenizer: Any, pairs: Sequence[QAPair]) -> dict[str, Any]:
    """Seconds of one process for the rows of a round, as they were and as they are; and whether rows are the same."""
    trainer = world.ours(0)
    trainer.processing_class = tokenizer
    rows = [pair.messages() for pair in pairs]

    def before() -> list[dict[str, Any]]:
        numbered = Dataset.from_list([{**row, "row": index} for index, row in enumerate(rows)])
        return list(trainer._prepare_dataset(numbered, tokenizer, trainer.args, False, None, "round"))

    def now() -> list[dict[str, Any]]:
        return list(tokenize_rows(trainer, rows).dataset)

    seconds: dict[str, list[float]] = {"before": [], "now": []}
    for _ in range(5):
        for name, work in (("before", before), ("now", now)):
            began = time.process_time()
            work()
            seconds[name].append(time.process_time() - began)
    trainer.data_collector.close()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    columns = ("row", "input_ids", "labels")
    same = [[row[name] for name in columns] for row in before()] == [[row[name] for name in columns] for row in now()]
    progress(f"tokenizing {len(rows)} rows: {medians['before']:.2f} s before, {medians['now']:.2f} s now")
    return {"rows": len(rows), "seconds": medians, "same": same}


# -- speed -----------------------------------------------------------------------------------------------------


@dataclass
class Trained:
    """One training: seconds, and the loss of held-out pairs."""

    cpu_s: float
    wall_s: float
    loss: float


def speed(world: World, turns: int) -> dict[str, Any]:
    rows = Dataset.from_list([pair.messages() for pair in world.pairs])
    grouped = {"train_sampling_strategy": "group_by_length"}
    arms: dict[str, Callable[[int], Any]] = {
        "EqualTrainer": world.ours,
        "SFTTrainer, by length": lambda seed: world.theirs(rows, seed, **grouped),
        "SFTTrainer, random": lambda seed: world.theirs(rows, seed),
        "SFTTrainer, packed": lambda seed: world.theirs(
            rows, seed, packing=True, packing_strategy="bfd", per_device_train_batch_size=1
        ),
    }
    tokens = sum(len(ids) for ids in world_rows(world)["input_ids"])
    trained: dict[str, list[Trained]] = {name: [] for name in arms}
    names = list(arms)
    for turn in range(turns):
        order = names[:3] if turn else names  # packed once
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            trained[name].append(train(world, lambda name=name, turn=turn: arms[name](turn)))
            last = trained[name][-1]
            progress(f"turn {turn}, {name}: {last.cpu_s:.1f} s of CPU, {last.wall_s:.1f} s, loss {last.loss:.3f}")
    by_arm = {
        name: {
            "tokens_per_cpu_s": tokens / statistics.median(one.cpu_s for one in of),
            "tokens_per_wall_s": tokens / statistics.median(one.wall_s for one in of),
            "loss": statistics.mean(one.loss for one in of),
            "loss_sd": statistics.stdev(one.loss for one in of) if len(of) > 1 else 0.0,
        }
        for name, of in trained.items()
    }
    ours, plain = by_arm["EqualTrainer"], [by_arm[name] for name in names[1:3]]
    best = max(plain, key=lambda one: one["tokens_per_cpu_s"])
    ratio = ours["tokens_per_cpu_s"] / best["tokens_per_cpu_s"]
    difference = ours["loss"] / by_arm["SFTTrainer, random"]["loss"] - 1
    exact = same_losses(world)
    progress(f"tokens a CPU second: {ratio:.3f} of SFTTrainer at its fastest; loss {difference:+.2%} of random")
    return {
        "tokens": tokens,
        "arms": by_arm,
        "ratio": ratio,
        "ratio_to_packed": ours["tokens_per_cpu_s"] / by_arm["SFTTrainer, packed"]["tokens_per_cpu_s"],
        "loss_difference": difference,
        "promises": {
            "97 % of the tokens a second of SFTTrainer": ratio >= 0.97,
            "a loss at most 1 % above that of random batches": difference <= 0.01,
            "the very losses of SFTTrainer in our order": exact,
        },
    }


def train(world: World, make: Callable[[], Any]) -> Trained:
    began, began_cpu = time.monotonic(), time.process_time()
    trainer = make()
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - began_cpu
    trainer.remove_callback(PrinterCallback)
    if isinstance(trainer, EqualTrainer):
        trainer.open_run()  # the loop's own: records, selection, embedder
    began, began_cpu = time.monotonic(), time.process_time()
    trainer.train()
    wall_s, cpu_s = wall_s + time.monotonic() - began, cpu_s + time.process_time() - began_cpu
    if isinstance(trainer, EqualTrainer):
        trainer.data_collector.close()
    return Trained(cpu_s, wall_s, held_out_loss(world, trainer.model))


@torch.no_grad()
def held_out_loss(world: World, model: Any) -> float:
    """Mean loss of the answers' tokens."""
    rows = world_rows(world, world.held_out)
    total, count = 0.0, 0
    model.eval()
    for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True):
        wanted = sum(label != -100 for label in labels[1:])
        if wanted:
            total += float(model(torch.tensor([ids]), labels=torch.tensor([labels])).loss) * wanted
            count += wanted
    return total / count


def world_rows(world: World, rows: Dataset | None = None) -> dict[str, Any]:
    """Rows as tokens."""
    trainer = world.ours(0)
    given = [pair.messages() for pair in world.pairs] if rows is None else list(rows)
    tokenized = tokenize_rows(trainer, given).dataset
    trainer.data_collector.close()
    return tokenized.to_dict()


def same_losses(world: World) -> bool:
    """Whether SFTTrainer, given the rows in the order in which we train on them, has the same loss at every step."""
    ours, order = world.ours(0), list[dict[str, Any]]()

    class Rows(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            order.extend(ours._round_dataset.rows)

    ours.add_callback(Rows())
    ours.remove_callback(PrinterCallback)
    ours.train()
    ours.data_collector.close()
    rows = Dataset.from_list([{name: row[name] for name in ("input_ids", "labels")} for row in order])
    theirs = world.theirs(rows, 0, train_sampling_strategy="sequential", max_length=None)
    theirs.remove_callback(PrinterCallback)
    theirs.train()
    one, other = ([entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (ours, theirs))
    return len(one) == world.rounds * ROWS // BATCH and one == other


if __name__ == "__main__":
    main()
