"""What would end a training before its first round, or at its last: looked at before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.cli.machine_checks import Check
from equal_hf.errors import ConfigError, EqualError
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.target import Target, TargetItem
    from equal_hf.training.config import EqualConfig


NO_PRICES = (
    "`max_cost` is set but nothing costs anything",
    "set `price_per_million_prompt_tokens` and `price_per_million_completion_tokens`, and an endpoint",
)


def check_settings_fit(run: RunArguments, args: EqualConfig) -> Iterator[Check]:
    """Whether settings of the run and of the collector fit each other.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
    """
    from equal_hf.selection.config import REWARD_FUNCTIONS
    from equal_hf.selection.rewards import stage_of
    from equal_hf.target import target_shares
    from equal_hf.training.sharding import refuse_sharded
    from equal_hf.utils.hub_repository import check_repository_name

    try:
        target_shares(run.by_name(), args.target_weights)
    except ConfigError as error:
        yield Check("settings", "problem", str(error))
    for name, repo_id in (("hub_dataset_id", run.hub_dataset_id), ("hub_model_id", args.hub_model_id)):
        try:
            if repo_id is not None:
                check_repository_name(repo_id, f"`{name}`")
        except ConfigError as error:
            yield Check("settings", "problem", str(error))
    weights, rewards = args.reward_weights, run.reward_funcs
    if weights is not None and len(weights) != len(rewards):
        found = f"`reward_weights` has {len(weights)} values for {len(rewards)} reward functions"
        yield Check("settings", "problem", found, "give one each")
    if len(set(rewards)) != len(rewards):
        yield Check("settings", "problem", f"`reward_funcs` names one twice: {', '.join(rewards)}", "name each once")
    if args.max_cost is not None and run.extractor != "endpoint":
        yield Check("settings", "problem", *NO_PRICES)
    try:
        functions = [REWARD_FUNCTIONS[name] for name in rewards if name in REWARD_FUNCTIONS]
        refuse_sharded(functions, args, pairs="influence" in args.pair_values)
    except ConfigError as error:
        yield Check("settings", "problem", str(error))
    late = [name for name in rewards if name in REWARD_FUNCTIONS and stage_of(REWARD_FUNCTIONS[name]) == "evaluated"]
    if late and not args.closed_loop:
        found = f"{', '.join(late)} waits for a training, and `closed_loop` is false: all is collected before one"
        yield Check("settings", "problem", found, "set `closed_loop: true`, or leave it out")
    if "influence" in args.pair_values and not args.closed_loop:
        found = "`pair_values` names influence, which only a training after every round tells"
        yield Check("settings", "problem", found, "leave it out, or train with `closed_loop: true`")
    losses = {"eval_loss", *(f"eval_{name}_loss" for name in run.by_name())}
    if args.reward_metric.endswith("_loss") and args.reward_metric not in losses:
        found = f"`reward_metric` is {args.reward_metric!r}, which no evaluation gives"
        yield Check("settings", "problem", found, f"set it to one of {', '.join(sorted(losses))}")


def check_waiting(run: RunArguments, args: EqualConfig) -> Iterator[Check]:
    """What it means for training that a round takes as long as a provider's batch.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
    """
    if run.extractor != "endpoint" or not run.endpoint.batch:
        return
    if args.closed_loop and args.feedback_lag == 0:
        found = "a round is a batch that may take 24 hours, and with `feedback_lag: 0` the trainer waits for it"
        yield Check("settings", "note", found, "leave `feedback_lag` out, and the next round is extracted meanwhile")


def check_trackers(args: EqualConfig, train: bool) -> Iterator[Check]:
    """Whether what `report_to` names can be logged to.

    Args:
        args ([`EqualConfig`]): The trainer's settings.
        train (`bool`): Whether a model is trained; a run without a trainer knows W&B and trackio alone.
    """
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    known = INTEGRATION_TO_CALLBACK if train else {"wandb", "trackio"}
    installed = get_available_reporting_integrations()
    for name in args.report_to or []:
        if name in ("none", "all", "wandb"):  # W&B has a check of its own
            continue
        if name not in known:
            yield Check(
                "tracker", "problem", f"`report_to` names {name!r}", f"use {', '.join(sorted(known))}, or none"
            )
        elif name not in installed:
            yield Check(
                "tracker", "problem", f"`report_to` names {name!r}, which is not installed", f"pip install {name}"
            )


def check_model(args: EqualConfig, model: Any, tokenizer: Any) -> Iterator[Check]:
    """Whether the model can be built as the settings say: attention, precision, quantization, adapters, optimizer.

    It is built without weights, from its configuration alone.

    Args:
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`): The model, which can be read.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): From [`chat_tokenizer`].
    """
    from equal_hf.cli.factories import model_settings

    if tokenizer is not None:
        yield from _check_tokenizer(args, model, tokenizer)

    quantized = model.load_in_4bit or model.load_in_8bit
    packages = {"peft": model.use_peft, "bitsandbytes": quantized, "liger-kernel": args.use_liger_kernel}
    settings = {"peft": "use_peft", "bitsandbytes": "load_in_4bit", "liger-kernel": "use_liger_kernel"}
    missing = [name for name, wanted in packages.items() if wanted and not _is_installed(name)]
    for name in missing:
        found = f"`{settings[name]}` needs {name}, which is not installed"
        yield Check("model", "problem", found, f"pip install {name}, or leave `{settings[name]}` out")
    if quantized and not model.use_peft:
        found = "a quantized model (`load_in_4bit`, `load_in_8bit`) cannot be trained without an adapter"
        yield Check("model", "problem", found, "set `use_peft: true`")
    try:
        further = model_settings(model, args.model_init_kwargs)
        built = _without_weights(str(model.model_name_or_path), further, bool(args.trust_remote_code))
        if model.use_peft and "peft" not in missing:
            _add_adapters(built, model)
    except Exception as error:  # whatever transformers and PEFT make of a setting
        found = f"{model.model_name_or_path} cannot be built as the settings say: {first_line(error)}"
        keys = "`attn_implementation`, `dtype`, `model_init_kwargs`" + (" and `lora_…`" if model.use_peft else "")
        yield Check("model", "problem", found, f"look at {keys}")
        return
    if not missing:
        yield Check(
            "model", "ok", f"{type(built).__name__}, {sum(p.numel() for p in built.parameters()):,} parameters"
        )


def _check_tokenizer(args: EqualConfig, model: Any, tokenizer: Any) -> Iterator[Check]:
    if not tokenizer.chat_template:
        name = args.chat_template_path or model.model_name_or_path
        found = f"no chat template: the tokenizer of {name} has none, and pairs are conversations"
        remedy = "set `chat_template_path` to a model whose template to take, such as its instruction-tuned version"
        yield Check("chat template", "problem", found, remedy)
    for key in ("eos_token", "pad_token"):
        if (token := getattr(args, key)) is not None and token not in tokenizer.get_vocab():
            found = f"`{key}` is {token!r}, which the vocabulary of {model.model_name_or_path} lacks"
            yield Check("model", "problem", found, f"set `{key}` to a token that it has, or leave it out")


def _without_weights(name: str, settings: Mapping[str, Any], trust_remote_code: bool) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = settings.get("dtype", "auto")
    if isinstance(dtype, str) and dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"`dtype` is {dtype!r}, which is no precision of PyTorch")
    config = AutoConfig.from_pretrained(name, revision=settings.get("revision"), trust_remote_code=trust_remote_code)
    further = {key: settings[key] for key in ("attn_implementation",) if settings.get(key) is not None}
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code, **further)


def _add_adapters(built: Any, model: Any) -> None:
    import torch
    from peft import get_peft_model

    from equal_hf.cli.factories import adapter_settings

    with torch.device("meta"):
        get_peft_model(built, adapter_settings(model))


def check_targets(run: RunArguments, args: EqualConfig, model: Any, tokenizer: Any) -> Iterator[Check]:
    """Whether the targets can be read, and whether what a training needs of them is there and short enough.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`, *optional*): The model; `None` for a run that trains none.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): Its tokenizer, with a chat template; without one lengths are
            not looked at.
    """
    from equal_hf.target import load_targets

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
        f"{name}: {len(target.reference):,} reference, {len(target.validation):,} validation, "
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


def chat_tokenizer(args: EqualConfig, model: Any) -> Any:
    """The model's tokenizer with the chat template of the run; `None` where that cannot be told without the weights.

    Args:
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`): The model, which can be read.
    """
    from transformers import AutoTokenizer

    trust = bool(args.trust_remote_code)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(model.model_name_or_path), revision=model.model_revision, trust_remote_code=trust
        )
        path = args.chat_template_path
        if path and Path(path).is_file():
            tokenizer.chat_template = Path(path).read_text(encoding="utf-8")
        elif path:
            tokenizer.chat_template = AutoTokenizer.from_pretrained(path, trust_remote_code=trust).chat_template
    except Exception:  # what is wrong with the model is told by what looks for it, or builds it
        return None
    return tokenizer


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
