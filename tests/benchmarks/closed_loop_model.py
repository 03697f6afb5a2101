"""A model that is trained round by round on what a selection finds, and what it can tell of a round.

What was trained and measured is kept by what led to it, so selections that have drawn the same share it, and a run
that was interrupted goes on.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equal_hf.selection.experimental.influence import agreement
from equal_hf.target import without_annotations
from equal_hf.training.length_batches import batches_by_length
from equal_hf.training.round_rows import sample_own, sample_replay
from equal_hf.types import QAPair
from tests.benchmarks.selection_inputs import Inputs
from tests.benchmarks.selection_train import IGNORED, Row, collate

PAIR_TOKENS, ITEM_TOKENS = 160, 320
ROWS = 8  # of a forward pass
ROWS_A_GRADIENT = 4
RANK, ALPHA, ADAPTED = 16, 32, "all-linear"

# What a round gave: the places of its pairs, by cluster.
Groups = Mapping[int, Sequence[int]]


def load(folder: Path) -> tuple[Any, Any]:
    """A model and its tokenizer. Of one in a GGUF file an adapter is trained, of any other the whole."""
    if not any(folder.glob("*.gguf")):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    from peft import LoraConfig, get_peft_model

    from tests.benchmarks.pair_value_model import load as dequantised

    base, tokenizer = dequantised(folder)
    # Frozen weights in bfloat16, which processors multiply several times as fast; the adapter stays in float32.
    return get_peft_model(base.bfloat16(), LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=ADAPTED)), tokenizer


class LoopModel:
    """Trains from one start along any sequence of rounds.

    Args:
        folder (`Path`): The model.
        inputs ([`Inputs`]): Pairs and target.
        reference (`Sequence[TargetItem]`): The items that selection knows.
        args: `rows_per_round`, `batch`, `learning_rate`, `steps`, `validation`, `gradient_items`, `test_items`,
            `valued_pairs` and `tuning_steps`.
        seed (`int`): Seeds the adapter and every order.
        cache (`Path`): Where it is kept.
    """

    def __init__(self, folder: Path, inputs: Inputs, reference: Sequence[Any], args: Any, seed: int, cache: Path):
        torch.manual_seed(seed)
        self.model, self.tokenizer = load(folder)
        self.model.eval()
        self.inputs, self.args, self.seed = inputs, args, seed
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        self._start = self._state(None)
        rng = np.random.default_rng([seed, 4])
        self.validation = self._items(inputs.target.validation, args.validation, rng)
        self.test = self._items(inputs.target.test, args.test_items, np.random.default_rng(0))
        self.reference = self._items(reference, len(reference), rng)
        names = ("rows_per_round", "batch", "learning_rate", "validation", "gradient_items", "test_items")
        names += ("valued_pairs", "tuning_steps", "steps", "warm_up")
        told = [folder.name, seed, len(inputs.pairs), {name: getattr(args, name) for name in names}]
        self.folder = cache / hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tuned: Any = None

    # -- what is asked ---------------------------------------------------------------------------------------------

    def told(self, history: Sequence[Groups], what: Sequence[str]) -> dict[str, Any]:
        """What the model tells after some rounds, of the last of them.

        Args:
            history (`Sequence[Mapping[int, Sequence[int]]]`): The rounds.
            what (`Sequence[str]`): Of `loss` (of the validation items), `arms` (influence, by cluster), and by place
                of a sample of the pairs `pairs` (influence), `learned` (by how much the loss of a pair fell in the
                round) and `gain` (by how much it is lower after a few steps on the reference from the start).
        """
        known = self._known(history)
        ways: dict[str, Callable[[Sequence[Groups]], Any]] = {
            "loss": lambda rounds: self._losses(self._after(rounds), self.validation).mean(),
            "arms": self._arm_influence,
            "pairs": self._pair_influence,
            "learned": self._learned,
            "gain": self._gain,
        }
        for name in what:
            if name not in known:
                value = ways[name](history)
                known[name] = {int(k): float(v) for k, v in value.items()} if isinstance(value, dict) else float(value)
                self._write(history, known)
                known = self._known(history)
        return known

    def trained_rows(self, history: Sequence[Groups]) -> dict[int, int]:
        """How many of the rows that the last round trained on are of each of its clusters."""
        own = set(self._rows_of(history))
        return {arm: len(own & set(places)) for arm, places in history[-1].items()}

    def test_loss(self, places: Sequence[int], *, decays: bool = True) -> float:
        """Loss of the test items after one training on all pairs: a mean over items."""
        kind = "pool" if decays else "constant"
        return self._scored(kind, sorted(map(int, places)), lambda: self._train_pool(places, decays))

    def test_loss_of_rounds(self, history: Sequence[Groups]) -> float:
        """The same after as many steps round by round, at a constant rate."""
        return self._scored("rounds", self._listed(history), lambda: self._train_rounds(history))

    @property
    def untouched(self) -> float:
        """Loss of the test items at the start."""
        return self._scored("start", [], lambda: self._start)

    # -- training --------------------------------------------------------------------------------------------------

    def _train_pool(self, places: Sequence[int], decays: bool) -> dict[str, Any]:
        rows, rng = self._pair_rows(sorted(map(int, places))), np.random.default_rng([self.seed, 5])
        return self._train(self._start, self._batches(rows, self.args.steps, rng), decays=decays)

    def _train_rounds(self, history: Sequence[Groups]) -> dict[str, Any]:
        """All steps in equal parts on the rows of each round, sampled as a trainer samples them."""
        state, each = self._start, self.args.steps // len(history)
        for index in range(len(history)):
            rows = self._pair_rows(self._rows_of(history[: index + 1], each * self.args.batch))
            rng = np.random.default_rng([self.seed, index, 5])
            state = self._train(state, self._batches(rows, each, rng), warms=not index)
        return state

    def _after(self, history: Sequence[Groups]) -> dict[str, Any]:
        """The state after some rounds."""
        if not history:
            return self._start
        path = self.folder / f"{self._key(history)}.pt"
        if not path.exists():
            before = self._after(history[:-1])
            rng = np.random.default_rng([self.seed, len(history), 6])
            rows = self._pair_rows(self._rows_of(history))
            steps = self.args.rows_per_round // self.args.batch
            torch.save(self._train(before, self._batches(rows, steps, rng), warms=len(history) == 1), path)
        return torch.load(path, weights_only=True)

    def _train(
        self, state: dict[str, Any], batches: list[list[Row]], *, decays: bool = False, warms: bool = True
    ) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters, lr=self.args.learning_rate, weight_decay=0.0)
        self._restore(state, optimizer)
        warm = self.args.warm_up if warms else 0
        for step, rows in enumerate(batches):
            left = (len(batches) - step) / max(len(batches) - warm, 1) if decays else 1.0
            for group in optimizer.param_groups:
                group["lr"] = self.args.learning_rate * min((step + 1) / (warm + 1), left, 1.0)
            losses, counts = self._sums(rows)
            (losses.sum() / counts.sum()).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return self._state(optimizer)

    def _batches(self, rows: list[Row], steps: int, rng: np.random.Generator) -> list[list[Row]]:
        """Every row once in a random order, then again in another; batches of rows of like length."""
        size = self.args.batch
        passes = -(-steps * size // len(rows))
        chosen = np.concatenate([rng.permutation(len(rows)) for _ in range(passes)])[: steps * size]
        order = batches_by_length([len(rows[i][0]) for i in chosen], size, rng)
        return [[rows[chosen[i]] for i in order[first : first + size]] for first in range(0, len(order), size)]

    def _rows_of(self, history: Sequence[Groups], count: int | None = None) -> list[int]:
        """Places of the pairs that the last of the rounds trains on: its own, then pairs of earlier rounds."""
        wanted, rng = count or self.args.rows_per_round, np.random.default_rng([self.seed, len(history) - 1, 1])
        flat = [[place for _, places in sorted(groups.items()) for place in places] for groups in history]
        sizes = [len(places) for _, places in sorted(history[-1].items())]
        parts = np.split(np.arange(len(flat[-1])), np.cumsum(sizes)[:-1])
        own = [flat[-1][i] for i in sample_own([part.tolist() for part in parts], rng)][:wanted]
        return own + [flat[r][i] for r, i in sample_replay([len(one) for one in flat[:-1]], wanted - len(own), rng)]

    # -- what is measured ------------------------------------------------------------------------------------------

    def _valued(self, history: Sequence[Groups]) -> dict[int, Row]:
        """A sample of the last round's own pairs, by place, as a trainer takes it."""
        own = {place for places in history[-1].values() for place in places}
        chosen = [place for place in self._rows_of(history) if place in own][: self.args.valued_pairs]
        rows = {place: self._pair_row(place) for place in chosen}
        return {place: row for place, row in rows.items() if row is not None}

    def _wanted(self) -> list[dict[str, torch.Tensor]]:
        rows = self.validation[: self.args.gradient_items]
        return [self._collate(rows[first : first + ROWS_A_GRADIENT]) for first in range(0, len(rows), ROWS_A_GRADIENT)]

    def _pair_influence(self, history: Sequence[Groups]) -> dict[int, float]:
        rows = self._valued(history)
        self._restore(self._after(history))
        batches = [self._collate([row]) for row in rows.values()]
        values = agreement(self.model, batches, self._wanted(), projected=True)
        return {place: value for place, value in zip(rows, values, strict=True) if value is not None}

    def _arm_influence(self, history: Sequence[Groups]) -> dict[int, float]:
        rows = {arm: self._pair_rows(list(places)[:ROWS]) for arm, places in sorted(history[-1].items())}
        rows = {arm: own for arm, own in rows.items() if own}
        self._restore(self._after(history))
        values = agreement(self.model, [self._collate(own) for own in rows.values()], self._wanted())
        return {arm: value for arm, value in zip(rows, values, strict=True) if value is not None}

    def _learned(self, history: Sequence[Groups]) -> dict[int, float]:
        rows = self._valued(history)
        before = self._losses(self._after(history[:-1]), list(rows.values()))
        after = self._losses(self._after(history), list(rows.values()))
        return dict(zip(rows, before - after, strict=True))

    def _gain(self, history: Sequence[Groups]) -> dict[int, float]:
        if self._tuned is None:
            rng = np.random.default_rng([self.seed, 7])
            self._tuned = self._train(self._start, self._batches(self.reference, self.args.tuning_steps, rng))
        rows = self._valued(history)
        before = self._losses(self._start, list(rows.values()))
        return dict(zip(rows, before - self._losses(self._tuned, list(rows.values())), strict=True))

    def _losses(self, state: dict[str, Any], rows: Sequence[Row]) -> np.ndarray:
        """Mean loss a token of each row's answer."""
        self._restore(state)
        losses, order = np.zeros(len(rows)), np.argsort([len(row[0]) for row in rows], kind="stable")
        with torch.no_grad():
            for first in range(0, len(order), ROWS):
                places = order[first : first + ROWS]
                sums, counts = self._sums([rows[i] for i in places])
                losses[places] = (sums / counts).numpy()
        return losses

    def _sums(self, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the losses of each row's answer, and its tokens; the head sees these alone."""
        batch = self._collate(rows)
        body = self._base.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        labels = batch["labels"][:, 1:]
        wanted = labels != IGNORED
        logits = self._base.lm_head(body.last_hidden_state[:, :-1][wanted]).float()
        losses = torch.nn.functional.cross_entropy(logits, labels[wanted], reduction="none")
        sums = torch.zeros(len(rows)).index_add(0, wanted.nonzero()[:, 0], losses)
        return sums, wanted.sum(dim=1)

    # -- rows and states -------------------------------------------------------------------------------------------

    def _items(self, items: Sequence[Any], count: int, rng: np.random.Generator) -> list[Row]:
        chosen = [without_annotations(items[i]) for i in rng.permutation(len(items))[:count]]
        rows = [self._row(QAPair(item.question, item.answer, ""), ITEM_TOKENS) for item in chosen]
        return [row for row in rows if row is not None]

    def _pair_row(self, place: int) -> Row | None:
        return self._row(self.inputs.pairs[int(place)], PAIR_TOKENS)

    def _pair_rows(self, places: Sequence[int]) -> list[Row]:
        return [row for place in places if (row := self._pair_row(place)) is not None]

    def _row(self, pair: QAPair, limit: int) -> Row | None:
        """Tokens and labels; `None` where no token of the answer fits."""
        turns, template = pair.messages(), self.tokenizer.apply_chat_template
        prompt = template(turns["prompt"], add_generation_prompt=True, return_dict=False)
        whole = template(turns["prompt"] + turns["completion"], return_dict=False)[:limit]
        return None if len(prompt) >= len(whole) else (whole, [IGNORED] * len(prompt) + whole[len(prompt) :])

    def _collate(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        return collate(rows, self.tokenizer.pad_token_id)

    def _state(self, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
        parameters = [parameter.detach().clone() for parameter in self.parameters]
        return {
            "parameters": parameters,
            "optimizer": None if optimizer is None else copy.deepcopy(optimizer.state_dict()),
        }

    def _restore(self, state: dict[str, Any], optimizer: torch.optim.Optimizer | None = None) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(value)
        if optimizer is not None and state["optimizer"] is not None:
            optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    # -- what is kept ----------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Remove the states; what was measured stays."""
        for path in self.folder.glob("*.pt"):
            path.unlink()

    def _listed(self, history: Sequence[Groups]) -> list[Any]:
        return [[[int(arm), sorted(map(int, places))] for arm, places in sorted(one.items())] for one in history]

    def _key(self, history: Sequence[Groups]) -> str:
        return _hash(self._listed(history))

    def _known(self, history: Sequence[Groups]) -> dict[str, Any]:
        path = self.folder / f"{self._key(history)}.json"
        told = json.loads(path.read_text()) if path.exists() else {}
        return {
            name: {int(k): v for k, v in value.items()} if isinstance(value, dict) else value
            for name, value in told.items()
        }

    def _write(self, history: Sequence[Groups], known: dict[str, Any]) -> None:
        _put(self.folder / f"{self._key(history)}.json", known)

    def _scored(self, kind: str, of: list[Any], state: Callable[[], dict[str, Any]]) -> float:
        path = self.folder / f"test-{kind}-{_hash(of)}.json"
        if not path.exists():
            _put(path, {"loss": float(self._losses(state(), self.test).mean())})
        return float(json.loads(path.read_text())["loss"])


def _hash(of: Any) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]


def _put(path: Path, value: Any) -> None:
    path.with_suffix(".tmp").write_text(json.dumps(value))
    path.with_suffix(".tmp").replace(path)
