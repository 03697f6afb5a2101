"""Whether the targets are there, with what a training and its measures need of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from equal_hf.cli.machine_checks import Check
from equal_hf.errors import EqualError

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.target.items import Target, TargetItem
    from equal_hf.training.config import EqualConfig


def check_targets(run: RunArguments, args: EqualConfig, model: Any, tokenizer: Any) -> Iterator[Check]:
    """Whether the targets can be read, and whether what a training needs of them is there and short enough.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`, *optional*): The model; `None` for a run that trains none.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): Its tokenizer, with a chat template; without one lengths are
            not looked at.
    """
    from equal_hf.target.load import load_targets

    try:
        targets = load_targets(run, args.seed)
    except EqualError as error:
        yield Check("target", "problem", str(error))
        return
    if model is not None:
        yield from _check_validation(run, args, targets)
        yield from _check_results(run, targets)
        if tokenizer is not None and tokenizer.chat_template:
            for name, target in targets.items():
                yield from _check_lengths(name, target, args, tokenizer)
    counts = ", ".join(
        ("" if name == "target" else f"{name}: ")
        + f"{len(target.reference):,} reference, {len(target.validation):,} validation, "
        f"{len(target.test):,} test"
        for name, target in targets.items()
    )
    yield Check("target", "ok", counts)


def _check_validation(run: RunArguments, args: EqualConfig, targets: Mapping[str, Target]) -> Iterator[Check]:
    from equal_hf.selection.config import PER_COST, REWARD_FUNCTIONS
    from equal_hf.selection.rewards import stage_of

    waiting = [
        name for name in run.reward_funcs if stage_of(REWARD_FUNCTIONS[name.removesuffix(PER_COST)]) == "evaluated"
    ]
    if not waiting:
        return
    named = f"`reward_funcs` names {', '.join(waiting)}"
    if not any(target.validation for target in targets.values()):
        remedy = "set `target_validation_split`, or leave that reward out"
        yield Check("target", "problem", f"{named}, but no target has a validation part", remedy)
    if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
        yield Check("target", "problem", f"{named}, but `eval_strategy` is 'no'", "set it to 'epoch'")


def _check_results(run: RunArguments, targets: Mapping[str, Target]) -> Iterator[Check]:
    """Whether the results of test items can be compared."""
    from equal_hf.training.exact_match.math_verifier import MISSING, can_verify
    from equal_hf.training.exact_match.measure import with_result
    from equal_hf.training.exact_match.results import is_formula

    for name, target in targets.items():
        items = with_result(target.test, run.exact_match_items) if run.exact_match_forms else []
        formulas = sum(is_formula(str(item.final)) for item in items)
        if formulas and not can_verify():
            remedy = "or set `exact_match_items: 0` to go without exact match"
            yield Check("target", "problem", f"target {name!r} has {formulas:,} {MISSING}", remedy)
        if formulas and "few_shot" in run.exact_match_forms:
            found = f"{formulas:,} of {len(items):,} results of target {name!r} are no numbers, which `few_shot` reads"
            yield Check("target", "note", found, "read them by the form `chat`")


def _check_lengths(name: str, target: Target, args: EqualConfig, tokenizer: Any) -> Iterator[Check]:
    """Whether the questions leave room for an answer: of a longer one SFTTrainer keeps nothing that has a loss."""
    if args.max_length is None or args.truncation_mode != "keep_start" or args.completion_only_loss is False:
        return
    for part in ("validation", "test"):
        items = getattr(target, part)
        lengths = _question_tokens(items, tokenizer)
        too_long = sum(length >= args.max_length for length in lengths)
        if not too_long:
            continue
        found = (
            f"{too_long:,} of {len(items):,} {part} questions of target {name!r} fill `max_length` {args.max_length}"
        )
        remedy = f"raise `max_length` above {max(lengths):,}, or name another `target_{part}_split`"
        if too_long == len(items):
            yield Check("target", "problem", f"{found}: there would be no {part} loss", remedy)
        else:
            yield Check("target", "note", f"{found}: they do not count", remedy)


def _question_tokens(items: Iterable[TargetItem], tokenizer: Any) -> list[int]:
    prompts = [[{"role": "user", "content": item.question}] for item in items]
    if not prompts:
        return []
    encoded = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=True)
    return [len(ids) for ids in encoded["input_ids"]]
