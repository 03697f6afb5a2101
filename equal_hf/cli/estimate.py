"""What a run will take, estimated from a sample of its documents: calls, tokens, money, time, and what was assumed.

>>> from equal_hf.extraction.budget import nano
>>> sample = SampledDocument(prompt_tokens=900, document_tokens=500, requests=1)
>>> plan = estimate([sample], documents=1000, allowance=Allowance(cost=nano(1.0)), load=Load(prices=Prices(1.0, 2.0)))
>>> plan.documents, plan.ends_by, plan.prompt_tokens, plan.completion_tokens, round(plan.cost, 2)
(714, 'max_cost', 642600, 178500, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from equal_hf.extraction.budget import NANO, TIERS, Prices
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.survey import SampledDocument
from equal_hf.types import Allowance, Usage
from equal_hf.utils.waiting import duration

# Where no reply of the model is stored yet. A reply restates part of the document: half its length is much.
REPLY_SHARE = 0.5
# What grades add to a reply: six tokens for each pair of some 120.
GRADE_SHARE = 0.05
# A request's own speed on a busy GPU; what a server does at once comes on top.
TOKENS_PER_S = 30.0
# A batch, where none of the model is stored yet. Providers promise a day and mostly take minutes to a few hours.
BATCH_S = 3600.0
# How many requests a server takes at a time, if it does not tell, shows only under load.
CONCURRENCY_IF_UNKNOWN = 64


@dataclass(frozen=True, slots=True)
class Extracted:
    """Documents of the sample that were extracted, to know what that takes.

    Args:
        sample (`Sequence[SampledDocument]`): What was expected of them; at least one.
        usage ([`Usage`]): What all requests about them used, second passes included.
    """

    sample: Sequence[SampledDocument]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Load:
    """How requests are made.

    Args:
        prices ([`Prices`]): What tokens cost.
        endpoint ([`EndpointConfig`]): Longest reply, second passes, service tier, caps of each endpoint.
        reply_tokens (`float`, *optional*): Mean length of a reply, where replies of the model are known.
        request_s (`float`, *optional*): Mean time of a request, where it is known.
        concurrency (`int`): Requests under way.
        grades (`bool`): Whether pairs are graded in the reply.
        a_round (`int`, *optional*): Documents of a round. Where a round is a batch, `request_s` is the time of one.
        extracted ([`Extracted`], *optional*): What some of the documents took.
    """

    prices: Prices = Prices()  # noqa: RUF009
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    reply_tokens: float | None = None
    request_s: float | None = None
    concurrency: int = 256
    grades: bool = False
    a_round: int | None = None
    extracted: Extracted | None = None

    @property
    def second_passes(self) -> int:
        """Requests about the pairs of each first one: refine, judge."""
        return self.endpoint.refine + self.endpoint.judge

    @property
    def tier(self) -> str:
        """The service tier, if it is one of a price of its own; else empty."""
        asked = "batch" if self.endpoint.batch else self.endpoint.service_tier or self.endpoint.body_tier
        return asked if asked in TIERS else ""

    def per_minute(self, what: str) -> int | None:
        """The cap of all endpoints together on `"requests"` or `"tokens"`."""
        cap = getattr(self.endpoint, f"{what}_per_minute")
        return None if cap is None else cap * max(1, len(self.endpoint.url or []))


@dataclass(frozen=True, slots=True)
class _Needs:
    """What one document takes, on average."""

    calls: float
    prompt: float
    completion: float
    cached: float = 0.0

    def cost(self, load: Load) -> float:
        """In the currency."""
        scale = 1_000_000  # so that parts of a token count
        prompt, completion, cached = (round(scale * part) for part in (self.prompt, self.completion, self.cached))
        return load.prices.cost(Usage(prompt, completion, cached_tokens=cached), load.tier) / NANO / scale


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimate.

    Args:
        documents (`int`): Documents that will be extracted.
        ends_by (`str`): The setting that ends the run.
        calls (`int`): Requests to the endpoint.
        prompt_tokens, completion_tokens (`int`): What they use.
        cost (`float`): What they cost.
        seconds (`float`): Time spent in extraction.
        assumptions (`tuple[str, ...]`): What the numbers rest on.
    """

    documents: int
    ends_by: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    seconds: float
    assumptions: tuple[str, ...] = field(default=())


def mean_request_s(spans: Sequence[tuple[float, float]], at_most: int) -> float | None:
    """Mean time of a request, without the time that it waited for its turn.

    Requests are booked before they have one. Where an endpoint answers fewer at a time than were booked, the time that
    it was at work, over what it answered in that time, tells how long each took.

    >>> mean_request_s([(0, 40), (0, 80), (0, 120), (0, 160)], at_most=1)
    40.0
    >>> mean_request_s([(0, 40), (10, 50), (100, 140)], at_most=64)
    40.0

    Args:
        spans (`Sequence[tuple[float, float]]`): When each request was booked, and when its reply was stored.
        at_most (`int`): How many requests the endpoint answers at a time.

    Returns:
        `float`: Seconds; `None` where there are no spans.
    """
    if not spans:
        return None
    at_work, until = 0.0, -math.inf
    for booked, stored in sorted(spans):
        at_work += max(0.0, stored - max(booked, until))
        until = max(until, stored)
    return min(fmean(stored - booked for booked, stored in spans), at_most * at_work / len(spans))


def estimate(
    sample: Sequence[SampledDocument], documents: int, allowance: Allowance, load: Load, ends_by: str = "max_documents"
) -> Plan:
    """Scale a sample up to a run.

    Args:
        sample (`Sequence[SampledDocument]`): At least one document.
        documents (`int`): Documents the run would draw if tokens and money did not end it.
        allowance ([`Allowance`]): What else may end it.
        load ([`Load`]): How requests are made.
        ends_by (`str`, *optional*, defaults to `"max_documents"`): What sets `documents`.
    """
    assumptions: list[str] = []
    needs = (
        _guessed(sample, load, assumptions) if load.extracted is None else _seen(sample, load.extracted, assumptions)
    )
    calls, prompt, completion = needs.calls, needs.prompt, needs.completion
    cost = needs.cost(load)
    if load.tier:
        factor = getattr(load.prices, load.tier)
        assumptions.append(f"every reply is paid at the {load.tier} tier, {factor:.0%} of the full price")

    caps = {
        "max_prompt_tokens": (allowance.prompt_tokens, prompt),
        "max_completion_tokens": (allowance.completion_tokens, completion),
        "max_cost": (None if allowance.cost is None else allowance.cost / NANO, cost),
    }
    for name, (cap, each) in caps.items():
        if cap is not None and each * documents > cap:
            documents, ends_by = int(cap / each), name
    assumptions.append("no reply has to be asked for again, and none of theirs is in the response store yet")
    seconds = _seconds(load, documents, needs, assumptions)
    tokens = round(documents * prompt), round(documents * completion)
    return Plan(documents, ends_by, round(documents * calls), *tokens, documents * cost, seconds, tuple(assumptions))


def _seconds(load: Load, documents: int, needs: _Needs, assumptions: list[str]) -> float:
    """How long the extraction of so many documents takes; adds what was assumed."""
    if load.tier == "batch":
        batch_s = BATCH_S if load.request_s is None else load.request_s
        known = "nothing is known of how long one takes" if load.request_s is None else "the mean of the stored ones"
        assumptions.append(
            f"a batch takes {duration(batch_s)}, {known}; a provider may take 24 hours for each. With "
            "`feedback_lag: 0` the trainer waits for it"
        )
        batches = math.ceil(documents / (load.a_round or documents or 1)) * (1 + load.second_passes)
        return batches * batch_s
    reply = needs.completion / max(needs.calls, 1e-9)
    if load.request_s is None:
        request_s = max(1.0, reply / TOKENS_PER_S)
        assumptions.append(
            f"a request takes {request_s:.0f} s, at {TOKENS_PER_S:.0f} tokens a second for each: nothing is known of "
            "this endpoint's speed, which `--timed 4` measures"
        )
    else:
        request_s = load.request_s
        assumptions.append(
            f"a request takes {request_s:.1f} s, the mean of the stored attempts of this model: "
            f"{reply / max(request_s, 1e-3):,.0f} tokens a second for each"
        )
    assumptions.append(f"{load.concurrency} requests are under way at a time")
    minutes = [0.0]
    if (cap := load.per_minute("requests")) is not None:
        minutes.append(documents * needs.calls / cap)
    if (cap := load.per_minute("tokens")) is not None:
        minutes.append(documents * (needs.prompt + needs.completion) / cap)
    return max(documents * needs.calls * request_s / load.concurrency, 60 * max(minutes))


def _guessed(sample: Sequence[SampledDocument], load: Load, assumptions: list[str]) -> _Needs:
    """What a document takes by its size, and by the replies that are stored; `assumptions` takes down what was
    assumed."""
    requests = fmean(document.requests for document in sample)
    first_prompt = fmean(document.prompt_tokens for document in sample)
    limit, second_passes = load.endpoint.max_new_tokens, load.second_passes
    if load.reply_tokens is None:
        share = REPLY_SHARE * (1 + GRADE_SHARE * load.grades)
        reply = fmean(min(limit, share * document.document_tokens / document.requests) for document in sample)
        assumptions.append(
            f"a reply has {REPLY_SHARE:.0%} of the tokens of what it is about, at most `extractor_max_new_tokens`: "
            f"{reply:.0f} on average" + (f", grades included ({GRADE_SHARE:.0%} of it)" if load.grades else "")
        )
        assumptions.append(
            "no reply of this model is known, so money may be far off, above all with a model that thinks: "
            "`--timed 10` pays for ten documents and goes by them"
        )
    else:
        reply = load.reply_tokens
        assumptions.append(f"a reply has {reply:.0f} tokens, the mean of the stored replies of this model")
    if second_passes:
        assumptions.append("every request finds pairs, and each second request quotes them and replies as long")
    calls = requests * (1 + second_passes)
    return _Needs(calls, first_prompt + second_passes * (first_prompt + requests * reply), calls * reply)


def _seen(sample: Sequence[SampledDocument], extracted: Extracted, assumptions: list[str]) -> _Needs:
    """What a document takes by those that were extracted, whose tokens the endpoint counted."""
    used, count = extracted.usage, len(extracted.sample)
    # The sample's documents may be longer than those extracted, and fall into more parts.
    longer = fmean(one.prompt_tokens for one in sample) / fmean(one.prompt_tokens for one in extracted.sample)
    parts = fmean(one.requests for one in sample) / fmean(one.requests for one in extracted.sample)
    calls, prompt = parts * used.requests / count, longer * used.prompt_tokens / count
    # The first request of a run finds nothing cached.
    cached = min(prompt, calls * used.cached_tokens / max(1, used.requests - 1))
    needs = _Needs(calls, prompt, parts * used.completion_tokens / count, cached)
    thoughts = f", {used.reasoning_tokens / count:,.0f} of them thoughts" if used.reasoning_tokens else ""
    found = f", {needs.cached:,.0f} of them cached" if used.cached_tokens else ""
    assumptions.append(
        f"a document takes what the {count:,} that were extracted took, by its length: {needs.prompt:,.0f} prompt "
        f"tokens{found}, and {needs.completion:,.0f} completion tokens{thoughts}"
    )
    return needs
