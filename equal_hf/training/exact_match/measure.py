"""Exact match of a model on the test items of a target: answered by all processes, read by one.

Every process generates its share of the batches; the main process keeps the replies of each turn, reads the results
and compares them. What it measures does not hang on how many processes there are, nor on whether it was killed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equal_hf.errors import MissingDependencyError
from equal_hf.target.items import TargetItem
from equal_hf.training.exact_match.forms import MEASURES, STOP, Verify, prompts, read
from equal_hf.training.exact_match.generation import Reply, batches_of, generate
from equal_hf.training.exact_match.math_verifier import MISSING, MathVerifier, can_verify
from equal_hf.training.exact_match.reply_file import ReplyFile
from equal_hf.training.exact_match.results import canonical, is_formula, last_number
from equal_hf.training.main_process import on_main
from equal_hf.utils.progress import Progress
from equal_hf.utils.waiting import is_shown_elsewhere, waiting

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, in what form, and how long a reply may be.

    Args:
        items (`Sequence[TargetItem]`): Items with a result.
        form (`str`, *optional*, defaults to `"chat"`): `"chat"` or `"few_shot"`.
        examples (`Sequence[TargetItem]`, *optional*): Of the form `few_shot`.
        new_tokens (`int`, *optional*, defaults to `512`): Tokens of a reply at most.
        batch_tokens (`int`, *optional*, defaults to `16_384`): Tokens that a process generates with at a time.
    """

    items: Sequence[TargetItem]
    form: str = "chat"
    examples: Sequence[TargetItem] = ()
    new_tokens: int = 512
    batch_tokens: int = 16_384


def with_result(items: Sequence[TargetItem], most: int | None = None) -> list[TargetItem]:
    """The items that have a result; of more than `most`, as many evenly spread.

    >>> items = [TargetItem(str(n), "", str(n) if n % 2 else None) for n in range(12)]
    >>> [item.question for item in with_result(items, 3)]
    ['1', '5', '9']
    """
    found = [item for item in items if item.final]
    if most is None or most >= len(found):
        return found
    return [found[place * len(found) // most] for place in range(most)]


def require_verifier(asked: Question) -> None:
    """Refuse to begin what could not be read afterwards.

    Args:
        asked ([`Question`]): What is asked.

    Raises:
        [`MissingDependencyError`]: If an item's result is a formula and math_verify is not installed.
    """
    if any(is_formula(str(item.final)) for item in asked.items) and not can_verify():
        raise MissingDependencyError(MISSING)


def measure_exact_match(
    model: Any,
    tokenizer: Any,
    asked: Question,
    *,
    name: str = "exact match",
    folder: Path | None = None,
    file: str = "",
    model_identity: str = "",
    sharded: bool = False,
) -> dict[str, float]:
    """Measure exact match, on every process alike; what is on record already is not done again.

    Args:
        model (`PreTrainedModel`): The model, on its device.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
        asked ([`Question`]): What is asked.
        name (`str`, *optional*): What progress is shown of.
        folder (`Path`, *optional*): Where replies are kept.
        file (`str`, *optional*): What they are called there.
        model_identity (`str`, *optional*): What tells the model from others.
        sharded (`bool`, *optional*, defaults to `False`): Whether no process has the model whole, so that all of them
            have to generate at the same time.

    Returns:
        `dict[str, float]`: By the form's measures, the share of right results, and as `<measure>_stderr` its standard
        error √(p (1 − p) / n). Empty without an item.

    Raises:
        [`MissingDependencyError`]: If an item's result is a formula and math_verify is not installed.
    """
    if not asked.items:
        return {}
    require_verifier(asked)
    ids = prompts(asked.form, tokenizer, asked.items, asked.examples)
    kept = ReplyFile(folder, file, _identity(asked, ids, model_identity)) if folder is not None else None
    result: dict[str, float] | None = on_main(lambda: kept.result() if kept is not None else None)
    if result is not None:
        return result
    replies = _all_replies(model, tokenizer, asked, ids, name, kept, sharded)
    return on_main(lambda: compare(asked, replies, kept))


def _identity(asked: Question, ids: Sequence[Sequence[int]], model: str) -> dict[str, Any]:
    wanted = [[list(prompt), item.final] for prompt, item in zip(ids, asked.items, strict=True)]
    digest = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    return {"model": model, "prompts": digest, "form": asked.form, "new_tokens": asked.new_tokens}


def _all_replies(
    model: Any,
    tokenizer: Any,
    asked: Question,
    ids: Sequence[Sequence[int]],
    name: str,
    kept: ReplyFile | None,
    sharded: bool,
) -> dict[int, Reply]:
    """The reply to each prompt. Batches are dealt out in turns; the main process has the replies of each turn."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state = PartialState()
    replies: dict[int, Reply] = on_main(lambda: kept.replies() if kept is not None else {})
    batches = batches_of([len(prompt) for prompt in ids], asked.new_tokens, asked.batch_tokens)
    left = [batch for batch in batches if not replies.keys() >= set(batch)]
    with _evaluating(model), telling(name, len(ids), len(replies), state.is_main_process) as done:
        for start in range(0, len(left), state.num_processes):
            turn = left[start : start + state.num_processes]
            mine = turn[min(state.process_index, len(turn) - 1)]
            has_one = state.process_index < len(turn)
            made: list[tuple[int, Reply]] = []
            if has_one or sharded:
                texts = generate(
                    model,
                    tokenizer,
                    [ids[place] for place in mine],
                    new_tokens=asked.new_tokens,
                    stop=STOP[asked.form],
                )
                made = list(zip(mine, texts, strict=True)) if has_one else []
            new = dict(gather_object(made))
            replies |= new
            if kept is not None and state.is_main_process:
                kept.add(new)
            done(len(new))
    return replies


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def telling(name: str, total: int, known: int, show: bool = True) -> Iterator[Callable[[float], None]]:
    """Progress with a time estimate: a bar, lines in the log, or a line of the view that has the terminal.

    Args:
        name (`str`): What is done.
        total (`int`): How many items there are.
        known (`int`): How many were done earlier.
        show (`bool`, *optional*, defaults to `True`): `False` says nothing.
    """
    elsewhere = is_shown_elsewhere()
    if not show:
        yield lambda count: None
        return
    with Progress(name, total, "items", show=not elsewhere) as progress:
        progress.found(known)
        if not elsewhere:
            yield progress.made
            return
        with waiting(name, progress.line):
            yield progress.made


def compare(asked: Question, replies: Mapping[int, Reply], kept: ReplyFile | None = None) -> dict[str, float]:
    """Read the results in replies and compare them; done by one process.

    Args:
        asked ([`Question`]): What was asked.
        replies (`Mapping[int, Reply]`): The reply to each item, by its place.
        kept ([`ReplyFile`], *optional*): Where it is written down.

    Returns:
        `dict[str, float]`: As of [`measure_exact_match`].
    """
    rows: list[dict[str, Any]] = []
    names = MEASURES[asked.form]
    right = dict.fromkeys(names, 0)
    with MathVerifier() as verifier:
        verify: Verify = verifier.equal if can_verify() else _by_last_number
        for place, item in enumerate(asked.items):
            reply, wanted = replies[place], str(item.final)
            found = read(asked.form, reply.text, wanted, verify)
            row: dict[str, Any] = {"question": item.question, "wanted": wanted, "reply": reply.text}
            for name, (result, is_right) in zip(names, found, strict=True):
                suffix = name.removeprefix("exact_match")
                row |= {f"found{suffix}": result, f"right{suffix}": is_right}
                right[name] += is_right
            rows.append(row | {"tokens": reply.tokens, "ended": reply.ended})
        if verifier.given_up:
            logger.warning("%d results in LaTeX took too long to compare and count as wrong.", verifier.given_up)
    measures: dict[str, float] = {}
    for name in names:
        share = right[name] / len(rows)
        measures |= {name: share, f"{name}_stderr": standard_error(share, len(rows))}
    if kept is not None:
        kept.finish(rows, measures)
    return measures


def _by_last_number(wanted: str, found: str) -> bool:
    """Where math_verify is missing: a formula is found for a number, if that is its last one."""
    return last_number(found) == canonical(wanted)


def standard_error(share: float, count: int) -> float:
    """√(p (1 − p) / n): how far a share of so many items may be off by the choice of the items.

    >>> standard_error(0.5, 100)
    0.05
    """
    return math.sqrt(share * (1 - share) / count)
