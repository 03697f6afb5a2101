"""Whether what a run reads is there: on this machine, on the Hub, or in its cache."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from equal_hf.cli.machine_checks import Check
from equal_hf.corpus.local_files import looks_local
from equal_hf.errors import CorpusError, MissingDependencyError
from equal_hf.filters.benchmarks import Benchmark
from equal_hf.utils.hub_retry import wait_for_hub

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.training.config import EqualConfig

HUB_TIMEOUT_S = 5.0
_AWAY = "cannot be reached"
_NO_FILE, _NO_MATCH = "no such file or folder here", "the glob matches nothing"


def check_repositories(run: RunArguments, args: EqualConfig, model: Any, wait: bool = False) -> Iterator[Check]:
    """Whether model, corpus, targets, embedder and benchmarks can be read.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`, *optional*): The model.
        wait (`bool`, *optional*, defaults to `False`): Wait for a Hub that is away, once.
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
        if reason := unreadable(name, kind, wait):
            wait = wait and _AWAY not in reason
            absent.setdefault(reason, []).append(f"`{key}` {name}")
    for reason, names in absent.items():
        remedy = (
            "correct the path"
            if reason in (_NO_FILE, _NO_MATCH)
            else "log in with `hf auth login`, or name a local folder or file"
        )
        yield Check("repositories", "problem", f"no access to {', '.join(names)}: {reason}", remedy)
    if not absent:
        yield Check("repositories", "ok", "model, corpus, target and embedder can be read")


def check_corpus_files(run: RunArguments) -> Iterator[Check]:
    """Whether the files of a local corpus are there, and what reads them is installed."""
    from equal_hf.corpus.open_dataset import check_columns, list_files
    from equal_hf.corpus.source_files import unread_files

    if "[" in (run.corpus_split or ""):  # whose rows would have to be counted
        return
    try:
        files = list_files(run)
        check_columns(files, run)
    except (CorpusError, MissingDependencyError) as error:
        yield Check("corpus", "problem", str(error))
        return
    told, count = unread_files(files), sum(not file.problem for file in files)
    yield Check("corpus", "ok", f"{count:,} file{'s' if count != 1 else ''}{f'; {told}' if told else ''}")


@functools.cache  # each repository is asked for once
def unreadable(name: str, kind: str, wait: bool = False) -> str | None:
    """Why something cannot be read; `None` where it can.

    Args:
        name (`str`): A file, folder or pattern here, or a repository on the Hub.
        kind (`str`): `"model"` or `"dataset"`, where it is a repository.
        wait (`bool`, *optional*, defaults to `False`): Wait for a Hub that is away, unless the cache has it.
    """
    if os.path.exists(name) or "://" in name or (glob.has_magic(name) and glob.glob(name, recursive=True)):
        return None
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError

    if glob.has_magic(name):  # no name of a repository has its signs
        return _NO_MATCH
    if kind == "dataset" and looks_local(name):
        return _NO_FILE
    if constants.HF_HUB_OFFLINE:
        return _not_cached(name, kind)

    def look() -> None:
        HfApi().repo_info(name, repo_type=kind, timeout=HUB_TIMEOUT_S)

    try:
        try:
            look()
        except Exception:
            if not wait or _not_cached(name, kind) is None:
                raise
            wait_for_hub(look, f"looking up {name!r}")
    except GatedRepoError:
        return "the repository is gated and the licence was not accepted with this account"
    except RepositoryNotFoundError:
        return "no such file or folder here, and no such repository on the Hub, or a private one"
    except HFValidationError:
        return _NO_FILE
    except OfflineModeIsEnabled:
        return _not_cached(name, kind)
    except Exception as error:  # whatever the network stack raises, the Hub was not reached
        return f"the Hub ({constants.ENDPOINT}) {_AWAY} ({type(error).__name__})" if _not_cached(name, kind) else None
    return None


def _not_cached(name: str, kind: str) -> str | None:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = {(repo.repo_id, repo.repo_type) for repo in scan_cache_dir().repos}
    except CacheNotFound:
        cached = set()
    return None if (name, kind) in cached else "the Hub is offline and it is not in the local cache"
