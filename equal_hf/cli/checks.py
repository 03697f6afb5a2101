"""What a run needs and whether it is there: one list, printed by `equal-hf doctor` and raised from by a run's start.

Nothing here changes a setting. A run's start makes the repositories that it will publish to; `doctor` makes nothing.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.cli.endpoint_checks import check_endpoint
from equal_hf.cli.hub_checks import check_hub, check_publishing
from equal_hf.cli.machine_checks import (
    Check,
    check_device,
    check_disk,
    check_faiss,
    check_packages,
    check_wandb,
    installed,
)
from equal_hf.cli.model_checks import chat_tokenizer, check_model
from equal_hf.cli.repository_checks import check_corpus_files, check_repositories, unreadable
from equal_hf.cli.settings_checks import check_settings_fit, check_trackers, check_waiting
from equal_hf.cli.target_checks import check_targets
from equal_hf.errors import ConfigError

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.training.config import EqualConfig


def checks(
    run: RunArguments | None = None,
    args: EqualConfig | None = None,
    model: Any = None,
    *,
    start: bool = False,
) -> Iterator[Check]:
    """Everything that is looked at, one after the other.

    Args:
        run ([`RunArguments`], *optional*): Corpus, target, extractor and repositories; the machine alone is looked at
            where it is left out.
        args ([`EqualConfig`], *optional*): The trainer's settings.
        model (`ModelConfig`, *optional*): The model; `None` for a run that trains none, and needs none.
        start (`bool`, *optional*, defaults to `False`): A run starts: what would only be worth knowing is left out,
            and repositories to publish to are made.
    """
    yield from check_packages()
    if run is None or args is None:
        yield check_faiss(installed())
        yield check_device(train=False)
        yield check_disk(".")
        yield check_hub()
        yield check_wandb()
        return
    failed = False
    if model is not None and not model.model_name_or_path:
        remedy = "name a model, or collect without training: `equal-hf collect`"
        yield Check("model", "problem" if start else "note", "`model_name_or_path` is not set", remedy)
        model, failed = None, True
    for check in _local_checks(run, args, model, start):
        failed = failed or check.fails
        yield check
    yield check_endpoint(run, args, start, ask=not (start and failed))
    if start:
        yield from check_publishing(run, args, model)
    else:
        yield check_hub(run.hub_dataset_id, bool(args.push_to_hub), args.hub_token, str(args.output_dir))
    if {"wandb", "all"} & set(args.report_to or []):
        yield check_wandb(wanted="wandb" in (args.report_to or []))
    elif not start:
        yield Check("W&B", "ok", "`report_to` does not name it, so nothing is logged there")


def _local_checks(run: RunArguments, args: EqualConfig, model: Any, start: bool) -> Iterator[Check]:
    """What costs nothing to look at: settings, this machine, and what a run reads."""
    output_dir = str(args.output_dir)
    yield check_faiss(installed(), needed=not _is_built(run, output_dir))
    if not _is_built(run, output_dir):
        yield from check_corpus_files(run)
    yield check_device(train=model is not None, use_cpu=bool(args.use_cpu))
    disks = [check_disk(folder, key) for key, folder in _folders(run, output_dir).items()]
    yield from dict.fromkeys(disks)  # folders of one place are told once
    yield from check_settings_fit(run, args)
    if model is not None:
        yield from check_waiting(run, args)
    yield from check_trackers(args, train=model is not None)
    unreadable.cache_clear()  # what another run in this process saw may be otherwise by now
    repositories = list(check_repositories(run, args, model, wait=start))
    yield from repositories
    tokenizer = None
    if model is not None and unreadable(str(model.model_name_or_path), "model") is None:
        tokenizer = chat_tokenizer(args, model)
        yield from check_model(args, model, tokenizer)
    if not any(check.fails for check in repositories):
        yield from check_targets(run, args, model, tokenizer)


def require(checks: Iterable[Check]) -> None:
    """Raise what would keep a run from starting, all at once.

    Args:
        checks (`Iterable[Check]`): From [`checks`].

    Raises:
        [`ConfigError`]: Naming each problem, the key that sets it, and what to do.
    """
    problems = [check for check in checks if check.fails]
    if problems:
        listed = "".join(
            f"\n  - {check.found}; {check.remedy}" if check.remedy else f"\n  - {check.found}" for check in problems
        )
        how_many = "one thing" if len(problems) == 1 else f"{len(problems)} things"
        raise ConfigError(f"this run cannot start; {how_many} to fix:{listed}")


def _folders(run: RunArguments, output_dir: str) -> dict[str, str | Path]:
    """The folders that a run writes to, by the setting that names them."""
    folders: dict[str, str | Path] = {"output_dir": output_dir}
    if run.corpus_dir:
        folders["corpus_dir"] = run.corpus_dir
    if run.response_store:
        folders["response_store"] = Path(run.response_store).parent
    return folders


def _is_built(run: RunArguments, output_dir: str) -> bool:
    """Whether the corpus needs no clustering, as far as can be told without the network."""
    built = run.corpus_dir or os.path.join(output_dir, "corpus")
    return not (os.path.exists(run.corpus) or glob.glob(run.corpus, recursive=True)) or any(
        os.path.isfile(os.path.join(folder, "corpus.json")) for folder in (built, run.corpus)
    )
