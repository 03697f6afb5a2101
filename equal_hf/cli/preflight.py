"""What a run needs from outside, checked in seconds, before a model is loaded or a call is paid for."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from equal_hf.cli.arguments import RunArguments
from equal_hf.errors import ConfigError, EqualError

HUB_TIMEOUT_S = 5.0

Reason = Callable[[str, str], str | None]  # why a repository (name, kind) cannot be read; `None` where it can


def preflight(run: RunArguments, training: Any, model: str | None, make_extractor: Callable[[], Any]) -> None:
    """Check device, endpoint, Hub access and write access; report everything that is missing at once.

    Args:
        run ([`RunArguments`]): Corpus, target and extractor; its `hub_dataset_id` is given the namespace it lacks.
        training (`EqualConfig`): The trainer's settings.
        model (`str`, *optional*): Hub id or folder of the model; `None` for a run that trains none, and needs none.
        make_extractor (`Callable`): Makes the extractor; called where there is an endpoint to ask.

    Raises:
        [`ConfigError`]: Naming each thing that is missing, the key that sets it, and what to do without it.
    """
    unreachable = functools.cache(_unreachable)  # each repository is asked for once
    problems = [
        *(_missing_device(training) if model is not None else []),
        *_missing_endpoint(run, make_extractor),
        *_missing_repositories(run, model, unreachable),
        *_missing_write_access(run, training, model),
        *_missing_chat_template(training, model, unreachable),
    ]
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        how_many = "one thing is" if len(problems) == 1 else f"{len(problems)} things are"
        raise ConfigError(
            f"this run cannot start; {how_many} missing:\n{listed}\n"
            "To see the whole road without GPU, endpoint or network, run `make quickstart`."
        )


def _missing_device(training: Any) -> list[str]:
    import torch

    if training.use_cpu or torch.accelerator.is_available():
        return []
    return [
        "no GPU: PyTorch sees no accelerator on this machine; to train on the CPU all the same set `use_cpu: true`"
    ]


def _missing_endpoint(run: RunArguments, make_extractor: Callable[[], Any]) -> list[str]:
    if run.extractor != "endpoint":
        return []
    try:
        make_extractor().check()
    except EqualError as error:
        return [f"no endpoint (`extractor_url`): {error}"]
    return []


def _missing_repositories(run: RunArguments, model: str | None, unreachable: Reason) -> list[str]:
    wanted = [
        ("model_name_or_path", model, "model"),
        ("corpus", run.corpus, "dataset"),
        *(("target", source, "dataset") for source in run.target),
        ("embedder", run.embedder, "model"),
    ]
    absent: dict[str, list[str]] = {}
    for key, name, kind in wanted:
        if name is not None and not Path(name).exists() and (reason := unreachable(name, kind)):
            absent.setdefault(reason, []).append(f"`{key}` {name}")
    return [
        f"no access to {', '.join(names)}: {reason}; log in with `hf auth login`, or name a local folder or file"
        for reason, names in absent.items()
    ]


def _unreachable(name: str, kind: str) -> str | None:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return _not_cached(name, kind)
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=HUB_TIMEOUT_S)
    except GatedRepoError:
        return "the repository is gated and the licence was not accepted with this account"
    except RepositoryNotFoundError:
        return "no such file or folder here, and no such repository on the Hub, or a private one"
    except HFValidationError:
        return "no such file or folder here"
    except OfflineModeIsEnabled:
        return _not_cached(name, kind)
    except Exception as error:  # whatever the network stack raises, the Hub was not reached
        return (
            f"the Hub ({constants.ENDPOINT}) cannot be reached ({type(error).__name__})"
            if _not_cached(name, kind)
            else None
        )
    return None


def _not_cached(name: str, kind: str) -> str | None:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = {(repo.repo_id, repo.repo_type) for repo in scan_cache_dir().repos}
    except CacheNotFound:
        cached = set()
    return None if (name, kind) in cached else "the Hub is offline and it is not in the local cache"


def _missing_chat_template(training: Any, model: str | None, unreachable: Reason) -> list[str]:
    if (
        model is None
        or training.chat_template_path
        or not (Path(model).exists() or unreachable(model, "model") is None)
    ):
        return []
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except Exception:  # what is wrong with the model is told by what looks for it, or loads it
        return []
    if tokenizer.chat_template:
        return []
    return [
        f"no chat template: the tokenizer of {model} has none, and pairs are conversations; set `chat_template_path` "
        "to a model whose template to take, such as the instruction-tuned version of this one"
    ]


def _missing_write_access(run: RunArguments, training: Any, model: str | None) -> list[str]:
    if not training.push_to_hub:
        return []
    from equal_hf.publishing.hub import check_write_access
    from equal_hf.utils.hub_retry import limit_silence

    limit_silence()
    token = training.hub_token or os.environ.get("HF_TOKEN")
    model_id = None if model is None else training.hub_model_id or Path(training.output_dir).name
    repositories = [(model_id, "model", "hub_model_id"), (run.hub_dataset_id, "dataset", "hub_dataset_id")]
    problems = []
    for repo_id, kind, setting in repositories:
        if repo_id is not None:
            try:
                full = check_write_access(
                    repo_id,
                    token,
                    private=training.hub_private_repo,
                    repo_type=kind,
                    setting=setting,
                    run_dir=training.output_dir if kind == "dataset" else None,
                )
                if kind == "dataset":
                    run.hub_dataset_id = full  # with its namespace, for cards that link to it
            except EqualError as error:
                problems.append(str(error))
    return problems
