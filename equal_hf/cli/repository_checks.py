"""Whether what a run reads is there: on this machine, on the Hub, or in its cache."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from equal_hf.cli.machine_checks import Check
from equal_hf.filters.benchmarks import Benchmark

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.training.config import EqualConfig

HUB_TIMEOUT_S = 5.0


def check_repositories(run: RunArguments, args: EqualConfig, model: Any) -> Iterator[Check]:
    """Whether model, corpus, targets, embedder and benchmarks can be read.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`, *optional*): The model.
    """
    wanted = [
        ("corpus", run.corpus, "dataset"),
        *(("target", source, "dataset") for source in run.target),
        ("embedder", run.embedder, "model"),
        *(
            ("decontaminate_against", Benchmark.parse(one).source, "dataset")
            for one in args.decontaminate_against or ()
        ),
    ]
    if model is not None:
        own = [("model_name_or_path", model.model_name_or_path), ("chat_template_path", args.chat_template_path)]
        wanted = [(key, str(name), "model") for key, name in own if name] + wanted
    absent: dict[str, list[str]] = {}
    for key, name, kind in wanted:
        if reason := unreadable(name, kind):
            absent.setdefault(reason, []).append(f"`{key}` {name}")
    for reason, names in absent.items():
        remedy = "log in with `hf auth login`, or name a local folder or file"
        yield Check("repositories", "problem", f"no access to {', '.join(names)}: {reason}", remedy)
    if not absent:
        yield Check("repositories", "ok", "model, corpus, target and embedder can be read")


@functools.cache  # each repository is asked for once
def unreadable(name: str, kind: str) -> str | None:
    """Why something cannot be read; `None` where it can.

    Args:
        name (`str`): A file, folder or pattern here, or a repository on the Hub.
        kind (`str`): `"model"` or `"dataset"`, where it is a repository.
    """
    if os.path.exists(name) or "://" in name or (glob.has_magic(name) and glob.glob(name, recursive=True)):
        return None
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
