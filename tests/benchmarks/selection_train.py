"""What a selection is worth to a model: a small Llama trained from scratch on its pairs, for equal steps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from equal_hf.types import QAPair
from recipes.tiny_models import build_tokenizer
from tests.benchmarks.selection_inputs import Inputs

# Small enough that a training takes half a minute on one core: what counts is that selections are told apart.
HIDDEN, LAYERS, VOCABULARY = 96, 2, 2048
BATCH, LENGTH, LEARNING_RATE, WARM_UP = 16, 192, 2e-3, 0.1
TEST_ITEMS = 500
WINDOW = 10  # batches whose pairs are sorted by length together
IGNORED = -100

Row = tuple[list[int], list[int]]  # tokens and labels


class SmallModel:
    """Trains and scores; tokenizer and first weights are the same for all selections of a seed.

    Args:
        inputs (`Inputs`): Documents (the tokenizer is trained on them), pairs, and the target's test part.
        steps (`int`): Optimiser steps of every training, of 16 pairs each.
    """

    def __init__(self, inputs: Inputs, steps: int) -> None:
        self.steps, self.inputs = steps, inputs
        self._rows: dict[int, tuple[list[int], list[int]] | None] = {}  # tokenised once, used by many selections
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer = build_tokenizer(inputs.texts, Path(folder), vocabulary=VOCABULARY)
        test = [QAPair(item.question, item.answer, "") for item in inputs.target.test]
        chosen = np.random.default_rng(0).permutation(len(test))[:TEST_ITEMS]
        self.test = [row for i in sorted(chosen) if (row := self._row(test[i])) is not None]
        if not self.test:
            raise SystemExit("--train: the target has no test part that fits the model's window")

    def loss(self, places: np.ndarray, seed: int) -> float:
        """Test loss, per answer token, after training on the pairs at those places."""
        model = self._new_model(seed)
        rng = np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / max(1, WARM_UP * self.steps), 1.0)
        )
        model.train()
        rows = [row for place in places if (row := self._row_at(int(place))) is not None]
        if not rows:
            raise SystemExit("--train: a selection holds no pair that fits the model's window; raise --budget")
        for batch in batches_by_length(rows, BATCH, self.steps, rng):
            model(**collate(batch, self.tokenizer.pad_token_id)).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        return self._score(model)

    def _new_model(self, seed: int):
        from transformers import LlamaConfig, LlamaForCausalLM

        heads = HIDDEN // 32
        config = LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=4 * HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=LENGTH,
            tie_word_embeddings=True,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return LlamaForCausalLM(config)

    def _row_at(self, place: int) -> tuple[list[int], list[int]] | None:
        if place not in self._rows:
            self._rows[place] = self._row(self.inputs.pairs[place])
        return self._rows[place]

    def _row(self, pair: QAPair) -> tuple[list[int], list[int]] | None:
        """Tokens and labels; `None` where no answer token fits."""
        turns = pair.messages()
        template = self.tokenizer.apply_chat_template
        prompt = template(turns["prompt"], add_generation_prompt=True, return_dict=False)
        whole = template(turns["prompt"] + turns["completion"], return_dict=False)[:LENGTH]
        if len(prompt) >= len(whole):
            return None
        return whole, [IGNORED] * len(prompt) + whole[len(prompt) :]

    @torch.no_grad()
    def _score(self, model) -> float:
        model.eval()
        total, count = 0.0, 0
        for start in range(0, len(self.test), 64):
            batch = collate(self.test[start : start + 64], self.tokenizer.pad_token_id)
            answers = int((batch["labels"][:, 1:] != IGNORED).sum())
            total += float(model(**batch).loss) * answers
            count += answers
        return total / count


def batches_by_length(rows: Sequence[Row], batch: int, steps: int, rng: np.random.Generator) -> Iterator[list[Row]]:
    """Every row once in a random order, then again in another, until the steps are done."""
    queue: list[int] = []
    while steps > 0:
        window = batch * min(WINDOW, steps)
        while len(queue) < window:
            queue += rng.permutation(len(rows)).tolist()
        # Rows of like length go together: less padding, half the time.
        taken, queue = sorted(queue[:window], key=lambda i: len(rows[i][0])), queue[window:]
        batches = [taken[start : start + batch] for start in range(0, window, batch)]
        for place in rng.permutation(len(batches)):
            yield [rows[i] for i in batches[place]]
        steps -= len(batches)


def collate(rows: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    def padded(lists: Sequence[list[int]], value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(x) for x in lists], batch_first=True, padding_value=value)

    tokens = padded([row for row, _ in rows], pad)
    return {
        "input_ids": tokens,
        "attention_mask": padded([[1] * len(row) for row, _ in rows], 0),
        "labels": padded([labels for _, labels in rows], IGNORED),
    }
