"""Whether the model can be built as the settings say, and its tokenizer can write conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.cli.machine_checks import Check, package_version
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    from equal_hf.training.config import EqualConfig


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
    missing = [name for name, wanted in packages.items() if wanted and package_version(name) is None]
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
