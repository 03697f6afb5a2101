"""A pre-trained model that takes a few LoRA steps on a group of pairs, and what it says of each pair before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from equal_hf.selection.experimental.influence import Wanted, gradient
from equal_hf.types import QAPair
from recipes.real_models import dequantised
from tests.benchmarks.selection_inputs import Inputs
from tests.benchmarks.selection_train import IGNORED, collate

PAIR_TOKENS, ITEM_TOKENS = 160, 256
ROWS = 8  # of a forward pass
WARM_UP_STEPS = 4
RANK, ALPHA, TARGETS = 8, 16, ["q_proj", "v_proj"]


class Measured(TypedDict):
    """One group: losses of held-out items, and values of its pairs by name."""

    before: float
    after: float
    pairs: dict[str, list[float]]
    seconds_gradients: float
    seconds_wanted: float


def load(folder: Path) -> tuple[Any, Any]:
    """A model in float32 and its tokenizer; a GGUF file is dequantised."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = next(iter(sorted(folder.glob("*.gguf"))), None)
    if gguf is not None:
        return dequantised(gguf)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


class SmallTraining:
    """Trains an adapter from one start, again and again.

    Args:
        folder (`Path`): The model.
        inputs ([`Inputs`]): Pairs, and the target's validation part.
        args: Steps, learning rate and seed.
        gradient_items, held_out_items (`int`): Validation items whose gradient is wanted, and others whose loss is
            measured.
    """

    def __init__(self, folder: Path, inputs: Inputs, args: Any, gradient_items: int, held_out_items: int) -> None:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(args.seed)
        base, self.tokenizer = load(folder)
        self.model: Any = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS)).eval()
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.inputs, self.args = inputs, args
        items = [QAPair(item.question, item.answer, "") for item in inputs.target.validation]
        chosen = np.random.default_rng(args.seed).permutation(len(items))[: gradient_items + held_out_items]
        rows = [self._row(items[index], ITEM_TOKENS) for index in chosen]
        self._gradient_rows, self._held_out = rows[:gradient_items], sorted(rows[gradient_items:], key=_length)
        self._started: list[torch.Tensor] | None = None

    def fits(self, pair: QAPair) -> bool:
        """Whether a pair is short enough to be trained on whole; told by its characters, which is quick."""
        return bool(pair.answer.strip()) and 20 <= len(pair.question) + len(pair.answer) <= 3 * (PAIR_TOKENS - 40)

    def start(self, outside: np.ndarray) -> None:
        """Warm the adapter up on pairs of no group, once: at its very start half of its gradient is zero."""
        if self._started is not None:
            return
        rng = np.random.default_rng([self.args.seed, 1])
        chosen = rng.choice(outside, WARM_UP_STEPS * self.args.pairs_per_group, replace=False)
        optimizer = self._optimizer()
        for places in np.split(chosen, WARM_UP_STEPS):
            self._set(self._mean_gradient([self._pair_row(place) for place in places]))
            optimizer.step()
        self._started = [parameter.detach().clone() for parameter in self.parameters]
        began = time.monotonic()
        batches = [self._gradient_rows[first : first + 4] for first in range(0, len(self._gradient_rows), 4)]
        self._wanted = Wanted([self._gradient(rows) for rows in batches])
        self._seconds_wanted = time.monotonic() - began
        self._before = self._loss()

    def measure(self, places: np.ndarray) -> Measured:
        """Value the pairs of a group at the start, then train on them."""
        assert self._started is not None
        self._restore()
        rows = [self._pair_row(place) for place in places]
        began = time.monotonic()
        gradients = [self._gradient([row]) for row in rows]
        values = {
            "influence": [self._wanted.cosine(one) for one in gradients],
            "influence_projected": [self._wanted.cosine(one, projected=True) for one in gradients],
        }
        seconds = time.monotonic() - began
        values["loss"] = [self._losses([row])[0] for row in rows]
        values["tokens"] = [float(_length(row)) for row in rows]
        optimizer = self._optimizer()
        for step in range(self.args.steps):
            self._set(torch.stack(gradients).mean(dim=0) if not step else self._mean_gradient(rows))
            optimizer.step()
        after = self._loss()
        return Measured(
            before=self._before,
            after=after,
            pairs=values,
            seconds_gradients=seconds,
            seconds_wanted=self._seconds_wanted,
        )

    # -- parts -----------------------------------------------------------------------------------------------------

    def _gradient(self, rows: list[Any]) -> torch.Tensor:
        with _half():
            return gradient(self.model, self.parameters, self._collate(rows))

    def _optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters, lr=self.args.learning_rate, weight_decay=0.0)

    def _restore(self) -> None:
        assert self._started is not None
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self._started, strict=True):
                parameter.copy_(value)

    def _set(self, whole: torch.Tensor) -> None:
        sizes = [parameter.numel() for parameter in self.parameters]
        for parameter, part in zip(self.parameters, whole.split(sizes), strict=True):
            parameter.grad = part.reshape(parameter.shape).clone()

    def _mean_gradient(self, rows: list[Any]) -> torch.Tensor:
        """Mean of the gradients of the pairs' losses, each the mean over its answer's tokens."""
        total = torch.zeros(sum(parameter.numel() for parameter in self.parameters))
        ordered = sorted(rows, key=_length)
        for first in range(0, len(rows), ROWS):
            with _half(), torch.enable_grad():
                loss = self._row_losses(ordered[first : first + ROWS]).sum() / len(rows)
                parts = torch.autograd.grad(loss, self.parameters)
            total += torch.cat([part.reshape(-1).float() for part in parts])
        return total

    def _losses(self, rows: list[Any]) -> list[float]:
        with torch.no_grad(), _half():
            return self._row_losses(rows).tolist()

    def _loss(self) -> float:
        """Mean over held-out items of their answers' loss a token."""
        losses: list[float] = []
        for first in range(0, len(self._held_out), ROWS):
            losses += self._losses(self._held_out[first : first + ROWS])
        return float(np.mean(losses))

    def _row_losses(self, rows: list[Any]) -> torch.Tensor:
        """Loss of each row; the head sees the answers' tokens alone."""
        batch = self._collate(rows)
        base = self.model.get_base_model()
        hidden = base.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        labels = batch["labels"][:, 1:]
        wanted = labels != IGNORED
        logits = base.lm_head(hidden[:, :-1][wanted]).float()
        losses = torch.nn.functional.cross_entropy(logits, labels[wanted], reduction="none")
        which = wanted.nonzero()[:, 0]
        sums = torch.zeros(len(rows)).index_add(0, which, losses)
        return sums / wanted.sum(dim=1)

    def _pair_row(self, place: int) -> tuple[list[int], list[int]]:
        return self._row(self.inputs.pairs[int(place)], PAIR_TOKENS)

    def _row(self, pair: QAPair, limit: int) -> tuple[list[int], list[int]]:
        turns, template = pair.messages(), self.tokenizer.apply_chat_template
        prompt = template(turns["prompt"], add_generation_prompt=True, return_dict=False)
        whole = template(turns["prompt"] + turns["completion"], return_dict=False)[: max(limit, len(prompt) + 8)]
        return whole, [IGNORED] * len(prompt) + whole[len(prompt) :]

    def _collate(self, rows: list[Any]) -> dict[str, torch.Tensor]:
        return collate(rows, self.tokenizer.pad_token_id)


def _length(row: tuple[list[int], list[int]]) -> int:
    return len(row[0])


def _half() -> torch.autocast:
    """Products in bfloat16, four times as fast on a processor; parameters and sums stay in float32."""
    return torch.autocast("cpu", dtype=torch.bfloat16)
