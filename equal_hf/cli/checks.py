"""What a run needs and whether it is there: one list, printed by `equal-hf doctor` and raised from by a run's start.

Nothing here changes a setting. A run's start makes the repositories that it will publish to; `doctor` makes nothing.
"""

from __future__ import annotations

import glob
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from equal_hf.cli.estimate import CONCURRENCY_IF_UNKNOWN
from equal_hf.cli.machine_checks import (
    Check,
    check_device,
    check_disk,
    check_faiss,
    check_packages,
    check_wandb,
    installed,
)
from equal_hf.cli.repository_checks import check_corpus_files, check_repositories, unreadable
from equal_hf.cli.training_checks import (
    NO_PRICES,
    chat_tokenizer,
    check_model,
    check_settings_fit,
    check_targets,
    check_trackers,
    check_waiting,
)
from equal_hf.errors import ConfigError, EndpointError, EqualError
from equal_hf.types import Document
from equal_hf.utils.redaction import mask_text
from equal_hf.utils.waiting import duration

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.collection.config import CollectorConfig
    from equal_hf.training.config import EqualConfig

SLOW_S = 10.0  # a short document takes a second or two from most servers
LOAD_TIMEOUT_S = 30.0  # a run waits for a server that is loading; whoever asks what is wrong does not want to
_TEXT = (
    "Water boils at 100 degrees Celsius at sea level. At higher altitudes the air pressure is lower, so water boils "
    "at a lower temperature; on a mountain of 3,000 metres it boils at about 90 degrees."
)


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
    if model is not None and not model.model_name_or_path:
        remedy = "name a model, or collect without training: `equal-hf collect`"
        yield Check("model", "problem" if start else "note", "`model_name_or_path` is not set", remedy)
        model = None
    output_dir = str(args.output_dir)
    yield check_faiss(installed(), needed=not _is_built(run, output_dir))
    if not _is_built(run, output_dir):
        yield from check_corpus_files(run)
    yield check_device(train=model is not None, use_cpu=bool(args.use_cpu))
    for key, folder in _folders(run, output_dir).items():
        yield check_disk(folder, key)
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
    yield check_endpoint(run, args, start)
    if start:
        yield from check_publishing(run, args, model)
    else:
        yield check_hub(run.hub_dataset_id, bool(args.push_to_hub), args.hub_token, output_dir)
    yield check_wandb(wanted="wandb" in (args.report_to or []))


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
        outside = {"accelerator", "endpoint", "repositories"} & {check.name for check in problems}
        hint = "\nTo see the whole loop without GPU, endpoint or network, run `make quickstart`." if outside else ""
        raise ConfigError(f"this run cannot start; {how_many} to fix:{listed}{hint}")


def check_endpoint(run: RunArguments, args: CollectorConfig, start: bool = False) -> Check:
    """What the endpoint is, what it allows, whether it heeds a schema, and how long a short document takes.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`CollectorConfig`]): How many documents the run will draw.
        start (`bool`, *optional*, defaults to `False`): A run starts: one short request is enough, and a server that
            is loading is waited for.
    """
    if run.extractor != "endpoint":
        return Check("endpoint", "ok", f"none is needed: `extractor` is {run.extractor}")
    from equal_hf.cli.factories import make_extractor

    patience: dict[str, Any] = {"extractor_load_timeout_s": min(run.endpoint.load_timeout_s, LOAD_TIMEOUT_S)}
    patience |= {"extractor_batch_min_requests": 2}  # the short document is not sent as a batch
    asked = replace(run, response_store=None, **({} if start else patience))
    store = run.store_path(str(args.output_dir))
    with tempfile.TemporaryDirectory() as folder:
        extractor: Any = None
        if start or store.is_file():  # what is asked here is billed too, so the run's ledger has to know
            asked = replace(asked, response_store=str(store))
        try:
            extractor = make_extractor(asked, folder)
            endpoints = extractor.describe()["endpoints"]
            if args.max_cost is not None and extractor.prices.free:
                return Check("endpoint", "problem", *NO_PRICES)
            if start:
                return Check("endpoint", "ok", ", ".join(one["url"] for one in endpoints))
            began = time.monotonic()
            extractor.begin("doctor")
            # Another one each time: a reply from the store would tell nothing of the endpoint.
            (extraction,) = extractor.extract([Document("check", f"{_TEXT}\n\nNo. {time.time_ns()}")])
        except EndpointError as error:  # which says what to do
            return Check("endpoint", "problem", f"no endpoint (`extractor_url`): {mask_text(str(error))}")
        except EqualError as error:  # the prompt, a key of the endpoint
            return Check("extractor", "problem", mask_text(str(error)))
        finally:
            if extractor is not None:
                extractor.close()
        seconds = time.monotonic() - began
    usage = extraction.usage
    listed = "; ".join(
        f"{one['url']} is {one['dialect']}, model {one['model']} "
        f"({one['revision'] or 'of unknown revision'}), {_asked(one)}, "
        f"prompts up to {one['max_prompt_tokens'] or 'an unknown number of'} tokens, "
        f"up to {one['max_concurrent']} at once"
        for one in endpoints
    )
    found = (
        f"{listed}. A short document took {seconds:.1f} s, {usage.prompt_tokens} prompt and "
        f"{usage.completion_tokens} completion tokens, and gave {len(extraction.pairs)} pairs. "
        + _speed(seconds, args, sum(one["max_concurrent"] for one in endpoints))
    )
    if run.endpoint.batch:
        share = f"{run.price_factor_batch:.0%}"
        found += f". It takes batches: a round is one, at {share} of the price and within 24 hours"
    if "thought_only" in extraction.dropped:
        remedy = (
            "the model thinks until the limit and gives no reply: raise `extractor_max_reasoning_tokens`, or let it "
            'think less by `extractor_body` (`{"reasoning_effort": "low"}`)'
        )
        return Check("endpoint", "note", found, remedy)
    if not extraction.pairs:
        reasons = ", ".join(extraction.dropped) or "an empty reply"
        return Check("endpoint", "note", found, f"no pair came of it ({reasons}): is the model instruction-tuned?")
    if any(one["schema"] != "heeded" for one in endpoints):
        return Check("endpoint", "note", found, "serve it with guided decoding, or expect more replies to be dropped")
    if seconds > SLOW_S:
        remedy = (
            "it is slow: give the server more slots or a faster model, or lower `extractor_max_new_tokens` "
            f"({run.endpoint.max_new_tokens}) or `max_documents`"
        )
        return Check("endpoint", "note", found, remedy)
    return Check("endpoint", "ok", found)


def _asked(endpoint: dict[str, Any]) -> str:
    """How an endpoint is asked: what became of the schema, and of what it refuses.

    >>> found = {"schema": "heeded", "schema_form": "json_schema", "limit_field": "max_tokens", "left_out": ["seed"]}
    >>> _asked(found | {"thinks": True})
    'schema heeded (as json_schema), without seed, thinks before it replies'
    """
    form, limit = endpoint["schema_form"], endpoint["limit_field"]
    parts = [f"schema {endpoint['schema']}" + (f" (as {form})" if form else "")]
    parts += [f"{limit} in place of max_tokens"] if limit != "max_tokens" else []
    parts += [f"without {' and '.join(endpoint['left_out'])}"] if endpoint["left_out"] else []
    return ", ".join([*parts, *(["thinks before it replies"] if endpoint["thinks"] else [])])


def _speed(seconds: float, args: CollectorConfig, slots: int) -> str:
    """What the time of one document means for a run.

    >>> from equal_hf.collection.config import CollectorConfig
    >>> _speed(83.0, CollectorConfig(max_documents=36, arms_per_round=4, documents_per_arm=3), 4)  # doctest: +ELLIPSIS
    '36 documents at this speed: 49 min 48 s one at a time, 12 min 27 s if 4 at a time are each as fast (longer ...)'
    """
    a_round = args.arms_per_round * args.documents_per_arm
    documents = args.planned_rounds * a_round
    if args.max_documents is not None:
        documents = min(documents, args.max_documents)
    many = min(slots, CONCURRENCY_IF_UNKNOWN, a_round, documents)
    text = f"{documents:,} documents at this speed: {duration(documents * seconds)} one at a time"
    if many > 1:
        text += f", {duration(documents * seconds / many)} if {many} at a time are each as fast"
    return f"{text} (longer ones take longer: `equal-hf plan --timed {many}`)"


def check_hub(
    repo_id: str | None = None, wanted: bool = False, token: str | None = None, run_dir: str | Path = "."
) -> Check:
    """The Hub token, and whether it may write; asks the Hub, and makes nothing there.

    Args:
        repo_id (`str`, *optional*): The dataset repository that a run would publish to.
        wanted (`bool`, *optional*, defaults to `False`): Whether the run publishes.
        token (`str`, *optional*): The token; the stored one where left out.
        run_dir (`str` or `Path`, *optional*, defaults to `"."`): The run folder.
    """
    from huggingface_hub import HfApi, get_token

    from equal_hf.utils.hub_retry import limit_silence, retry_hub

    status: Literal["note", "problem"] = "problem" if wanted else "note"
    if not (token or get_token()):
        said = "no token (HF_TOKEN, or `hf auth login`): only public repositories can be read"
        return Check("hub", status, said, "hf auth login" if wanted else "")
    limit_silence()
    api = HfApi(token=token)
    try:
        account = retry_hub(api.whoami, "asking the Hub who this is", "hub_token", attempts=1)
        role = account.get("auth", {}).get("accessToken", {}).get("role", "unknown")
        found = f"{account['name']} at {api.endpoint}, token role: {role}"
        if role == "read":
            remedy = f"make a token with write access at {api.endpoint}/settings/tokens"
            return Check("hub", status, f"{found}; it may not publish", remedy)
        if repo_id and "/" in repo_id:
            if api.repo_exists(repo_id, repo_type="dataset"):
                check = _may_publish(api, repo_id, run_dir)
                retry_hub(check, f"checking write access to {repo_id!r}", "hub_dataset_id", attempts=1)
                found += f"; may write to {repo_id}"
            elif (space := repo_id.split("/")[0]) != account["name"] and space not in {
                organisation["name"] for organisation in account.get("orgs", [])
            }:
                return Check(
                    "hub", status, f"{found}; no member of {space}", "set `hub_dataset_id` to a namespace of yours"
                )
    except EqualError as error:
        return Check("hub", status, mask_text(str(error)))  # which says what to do
    except Exception as error:  # whatever the network stack raises, the Hub was not reached
        return Check("hub", status, f"the Hub cannot be asked ({type(error).__name__})", "look at the network")
    return Check("hub", "ok", found)


def _may_publish(api: Any, repo_id: str, run_dir: str | Path) -> Callable[[], None]:
    from equal_hf.publishing.previous_export import HubExport, known_identities

    def check() -> None:
        api.auth_check(repo_id, repo_type="dataset", write=True)
        HubExport.read(api, repo_id).check(known_identities(run_dir))

    return check


def check_publishing(run: RunArguments, args: EqualConfig, model: Any) -> Iterator[Check]:
    """Whether the run may publish; makes the repositories where there are none.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`, *optional*): The model.
    """
    if not args.push_to_hub:
        return
    from equal_hf.publishing import hub
    from equal_hf.utils.hub_retry import limit_silence

    limit_silence()
    token = args.hub_token or os.environ.get("HF_TOKEN")
    model_id = None if model is None else args.hub_model_id or Path(str(args.output_dir)).name
    for repo_id, kind, folder in ((model_id, "model", None), (run.hub_dataset_id, "dataset", args.output_dir)):
        if repo_id is not None:
            try:
                full = hub.check_write_access(
                    repo_id, token, private=args.hub_private_repo, repo_type=kind, run_dir=folder
                )
                yield Check("hub", "ok", f"may write to {full}")
            except EqualError as error:
                yield Check("hub", "problem", str(error))


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
