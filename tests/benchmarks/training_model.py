"""A pre-trained model that is trained on pairs from one start, again and again, and what each training made of it.

`train_and_score(pairs, seed, …)` is all that a comparison needs: the same model, adapter and order of batches for a
seed, whatever the pairs are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equal_hf.target import TargetItem
from equal_hf.types import QAPair
from tests.benchmarks.pair_value_model import load
from tests.benchmarks.selection_train import IGNORED, Row, batches_by_length, collate

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SCORED_ROWS = 8
VERSION = 1  # of what is done here; a change of it does every cell again


@dataclass(frozen=True)
class Regime:
    """How long every arm is trained.

    Args:
        name (`str`): `"steps"` or `"pairs"`.
        steps (`int`): Optimiser steps.
        pairs (`int`, *optional*): So many pairs, drawn at random from the arm's; `None` for all of them.
    """

    name: str
    steps: int
    pairs: int | None = None


@dataclass(frozen=True)
class Training:
    """What all trainings share: LoRA on every linear layer, AdamW, a warm-up and a linear decay to zero.

    Args:
        batch (`int`): Pairs of a step.
        learning_rate (`float`): Highest.
        warm_up (`float`): Share of the steps in which it rises.
        rank (`int`): Of the adapter; its α is twice that.
        max_tokens (`int`): Of a pair with its template; what is longer is cut.
    """

    batch: int = 8
    learning_rate: float = 5e-4
    warm_up: float = 0.1
    rank: int = 16
    max_tokens: int = 160


@dataclass(frozen=True)
class Exams:
    """What every trained model is asked.

    Args:
        losses (`Mapping[str, Sequence[Row]]`): By name, rows whose loss a token is taken.
        questions (`Sequence[TargetItem]`): Items with a final result, for exact match; may be empty.
    """

    losses: Mapping[str, Sequence[Row]]
    questions: Sequence[TargetItem] = ()

    def identity(self) -> str:
        questions = [[item.question, item.final] for item in self.questions]
        return _digest([{name: list(rows) for name, rows in self.losses.items()}, questions])


class Student:
    """The model, loaded once; every training begins at the same weights with an adapter of its own.

    Args:
        folder (`Path`): A model's folder; a GGUF file in it is dequantised.
        settings ([`Training`]): How it is trained.
        device (`str`): `"cpu"`, `"cuda"`.
        dtype (`str`): Of the products, `"bfloat16"` or `"float32"`; weights, sums and optimiser stay in float32.
    """

    def __init__(self, folder: Path, settings: Training, device: str = "cpu", dtype: str = "bfloat16") -> None:
        self.settings, self.device, self.dtype = settings, torch.device(device), getattr(torch, dtype)
        self.base, self.tokenizer = load(folder)
        self.base.to(self.device)
        self.weights = _weights_digest(folder)

    def identity(self) -> dict[str, Any]:
        """All that decides a training beside pairs, seed, regime and exams."""
        return {
            "version": VERSION,
            "model": self.weights,
            "device": self.device.type,
            "dtype": str(self.dtype),
            **asdict(self.settings),
        }

    def row(self, pair: QAPair, max_tokens: int) -> Row | None:
        """Tokens and labels of a pair in the model's chat template; `None` where no token of the answer fits."""
        turns, template = pair.messages(), self.tokenizer.apply_chat_template
        prompt = template(turns["prompt"], add_generation_prompt=True, return_dict=False)
        whole = template(turns["prompt"] + turns["completion"], return_dict=False)[:max_tokens]
        if len(prompt) >= len(whole) or not pair.answer.strip():
            return None
        return whole, [IGNORED] * len(prompt) + whole[len(prompt) :]

    def text_row(self, text: str, max_tokens: int) -> Row:
        """Tokens of plain text, each but the first scored."""
        tokens = self.tokenizer(text)["input_ids"][:max_tokens]
        return tokens, list(tokens)

    def train(self, pairs: Sequence[QAPair], seed: int, regime: Regime) -> tuple[Any, dict[str, float]]:
        """A model trained on the pairs, and what that took."""
        settings, began = self.settings, time.monotonic()
        rng = np.random.default_rng([seed, 7])
        rows = [row for pair in pairs if (row := self.row(pair, settings.max_tokens)) is not None]
        needed = regime.pairs or 1
        if len(rows) < needed:
            raise SystemExit(
                f"an arm holds {len(rows)} pairs that fit the model's window, not {needed}: raise --budget"
            )
        if regime.pairs is not None:
            rows = [rows[place] for place in np.sort(rng.choice(len(rows), regime.pairs, replace=False))]
        model = self._adapted(seed)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _rate(step, regime.steps, settings.warm_up)
        )
        tokens, losses, model = 0, [], model.train()
        for batch in batches_by_length(rows, settings.batch, regime.steps, rng):
            total, count = self._loss(model, batch)
            (total / count).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            tokens += sum(len(row) for row, _ in batch)
            losses.append(float(total.detach()) / count)
        told = {
            "pairs": float(len(rows)),
            "steps": float(regime.steps),
            "train_tokens": float(tokens),
            "train_seconds": time.monotonic() - began,
            "train_loss": float(np.mean(losses[-max(1, len(losses) // 4) :])),
        }
        return model, told

    def score(self, model: Any, exams: Exams) -> dict[str, float]:
        """Loss a token on each text, and exact match where there are questions."""
        model.eval()
        told: dict[str, float] = {}
        with torch.no_grad():
            for name, rows in exams.losses.items():
                ordered, total, count = sorted(rows, key=lambda row: len(row[0])), 0.0, 0
                for first in range(0, len(ordered), SCORED_ROWS):
                    loss, tokens = self._loss(model, ordered[first : first + SCORED_ROWS])
                    total, count = total + float(loss), count + tokens
                told[f"{name}_loss"] = total / count
            if exams.questions:
                from equal_hf.training.evaluation import exact_match

                with self._half():
                    told["exact_match"] = exact_match(model, self.tokenizer, exams.questions)
        return told

    def forget(self, model: Any) -> None:
        """Take the adapter off the base model again."""
        if model is not self.base:
            self.base = model.unload()

    def _adapted(self, seed: int) -> Any:
        from peft import LoraConfig, get_peft_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            rank = self.settings.rank
            return get_peft_model(self.base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LINEAR))

    def _loss(self, model: Any, rows: Sequence[Row]) -> tuple[torch.Tensor, int]:
        """Sum of the losses of labelled tokens and their number; the head sees no others."""
        batch = {name: value.to(self.device) for name, value in collate(rows, self.tokenizer.pad_token_id).items()}
        whole = model.get_base_model() if hasattr(model, "get_base_model") else model
        with self._half():
            hidden = whole.model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).last_hidden_state
            labels = batch["labels"][:, 1:]
            wanted = labels != IGNORED
            logits = whole.lm_head(hidden[:, :-1][wanted])
        return torch.nn.functional.cross_entropy(logits.float(), labels[wanted], reduction="sum"), int(wanted.sum())

    def _half(self) -> contextlib.AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def train_and_score(
    pairs: Sequence[QAPair] | None, seed: int, *, student: Student, regime: Regime, exams: Exams
) -> dict[str, float]:
    """Train on pairs and score what came of it.

    Args:
        pairs (`Sequence[QAPair]`, *optional*): What the arm bought; `None` scores the untouched model.
        seed (`int`): Adapter, draw of pairs and order of batches.
        student ([`Student`]): The model.
        regime ([`Regime`]): Steps, or pairs.
        exams ([`Exams`]): What is asked.

    Returns:
        `dict[str, float]`: `NAME_loss` of each text, a token; pairs, steps, tokens and seconds of training.
    """
    if pairs is None:
        return student.score(student.base, exams)
    model, told = student.train(pairs, seed, regime)
    try:
        began = time.monotonic()
        scored = student.score(model, exams)
        return told | scored | {"score_seconds": time.monotonic() - began}
    finally:
        student.forget(model)


class Cells:
    """Scores of trainings by all that decides them, a JSON file each; what is there is not trained again.

    Args:
        folder (`Path`): Where they are kept.
        student ([`Student`]), exams ([`Exams`]): What trains and what is asked.
    """

    def __init__(self, folder: Path, student: Student, exams: Exams) -> None:
        self.folder, self.student, self.exams = folder, student, exams
        self._shared = [student.identity(), exams.identity()]
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str, pairs: Sequence[QAPair] | None, seed: int, regime: Regime) -> Path:
        """The file of a cell; its name is the arm's, for people, and a hash of what decides it."""
        told = None if pairs is None else [[[pair.question, pair.answer] for pair in pairs], seed, asdict(regime)]
        regime_name = "" if pairs is None else f"-{regime.name}-{seed}"
        return self.folder / f"{name}{regime_name}-{_digest([self._shared, told])[:16]}.json"

    def get(self, path: Path) -> dict[str, float] | None:
        """What is kept, if it is."""
        return json.loads(path.read_text()) if path.exists() else None

    def run(self, name: str, pairs: Sequence[QAPair] | None, seed: int, regime: Regime) -> dict[str, float]:
        """A cell, from its file or by training."""
        path = self.path(name, pairs, seed, regime)
        if (kept := self.get(path)) is not None:
            return kept
        scored = train_and_score(pairs, seed, student=self.student, regime=regime, exams=self.exams)
        writing = path.with_suffix(".tmp")
        writing.write_text(json.dumps(scored))
        writing.replace(path)
        return scored


def _rate(step: int, steps: int, warm_up: float) -> float:
    rising = max(1, math.ceil(warm_up * steps))
    return (step + 1) / rising if step < rising else max(0.0, (steps - step) / max(1, steps - rising))


def _weights_digest(folder: Path) -> str:
    """A hash of the model's files."""
    digest = hashlib.sha256()
    kept = [*sorted(folder.glob("*.gguf"))[:1]] or sorted(folder.glob("*.safetensors"))
    for path in kept:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
