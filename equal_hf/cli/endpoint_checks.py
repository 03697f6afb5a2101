"""Whether the endpoint is there, what it allows, and, for `equal-hf doctor`, how a short document fares there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from equal_hf.cli.estimate import CONCURRENCY_IF_UNKNOWN
from equal_hf.cli.machine_checks import Check
from equal_hf.cli.settings_checks import NO_PRICES
from equal_hf.errors import EndpointError, EqualError
from equal_hf.extraction.survey import survey
from equal_hf.extraction.transport.schema_forms import JSON_MODE
from equal_hf.types import Document, Extraction
from equal_hf.utils.redaction import mask_text
from equal_hf.utils.waiting import duration

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.collection.config import CollectorConfig

SLOW_S = 10.0  # a short document takes a second or two from most servers
LOAD_TIMEOUT_S = 30.0  # a run waits for a server that is loading; whoever asks what is wrong does not want to
_TEXT = (
    "Water boils at 100 degrees Celsius at sea level. At higher altitudes the air pressure is lower, so water boils "
    "at a lower temperature; on a mountain of 3,000 metres it boils at about 90 degrees."
)


def check_endpoint(run: RunArguments, args: CollectorConfig, start: bool = False, *, ask: bool = True) -> Check:
    """What the endpoint is, what it allows, whether it heeds a schema, and how long a short document takes.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`CollectorConfig`]): How many documents the run will draw.
        start (`bool`, *optional*, defaults to `False`): A run starts: one short request is enough, and a server that
            is loading is waited for.
        ask (`bool`, *optional*, defaults to `True`): Whether to have it generate anything, which may be billed.
    """
    if run.extractor != "endpoint":
        return Check("endpoint", "ok", f"none is needed: `extractor` is {run.extractor}")
    if not run.endpoint.url:
        remedy = (
            "set it to one such as http://localhost:8080. In a clone of the repository `make quickstart` shows the "
            "whole loop without one"
        )
        return Check("endpoint", "problem", "no endpoint: `extractor_url` is not set", remedy)
    if (told := _without_a_request(run, args, ask)) is not None:
        return told
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
            return Check("endpoint", "problem", mask_text(str(error)))
        except EqualError as error:  # the prompt, a key of the endpoint
            return Check("extractor", "problem", mask_text(str(error)))
        finally:
            if extractor is not None:
                extractor.close()
        seconds = time.monotonic() - began
    return _of_a_document(run, args, endpoints, extraction, seconds)


def _without_a_request(run: RunArguments, args: CollectorConfig, ask: bool) -> Check | None:
    """What can be told before anything is generated, which may be billed; `None` where a request has to tell."""
    from equal_hf.cli.factories import make_prompt

    needs_prices = args.max_cost is not None and run.prices.free and len(run.endpoint.url or ()) == 1
    if ask and not needs_prices:
        return None
    try:
        found = survey((), run.endpoint, make_prompt(run, None, args.seed))
    except EqualError as error:
        return Check("extractor", "problem", mask_text(str(error)))
    if needs_prices and found.server is not None and found.server.listed_prices is None:
        return Check("endpoint", "problem", *NO_PRICES)
    if ask:
        return None
    if found.problem is not None:
        return Check("endpoint", "problem", mask_text(found.problem))
    return Check("endpoint", "note", "it answers; nothing was asked of its model yet")


def _of_a_document(
    run: RunArguments,
    args: CollectorConfig,
    endpoints: Sequence[Mapping[str, Any]],
    extraction: Extraction,
    seconds: float,
) -> Check:
    """What one short document tells of the endpoints: their limits, their speed, and what to do about either."""
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


def _asked(endpoint: Mapping[str, Any]) -> str:
    """How an endpoint is asked: what became of the schema, and of what it refuses.

    >>> found = {"schema": "heeded", "schema_form": "json_schema", "limit_field": "max_tokens", "left_out": ["seed"]}
    >>> _asked(found | {"thinks": True})
    'schema heeded (as json_schema), without seed, thinks before it replies'
    """
    form, limit = endpoint["schema_form"], endpoint["limit_field"]
    parts = [f"schema {endpoint['schema']}" + (f" (as {form})" if form else "")]
    if form == JSON_MODE:
        parts = ["schema refused, in JSON mode"]
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
