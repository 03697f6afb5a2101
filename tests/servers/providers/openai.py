"""OpenAI's chat completions, for models that think and such that do not, and Azure's."""

from __future__ import annotations

from dataclasses import replace

from tests.servers.bill import Rates
from tests.servers.providers.rules import Problem, Rules, openai_usage

# All parameters of the published description.
KNOWN = frozenset(
    "messages model store reasoning_effort verbosity metadata frequency_penalty logit_bias logprobs top_logprobs "
    "max_tokens max_completion_tokens n modalities prediction audio presence_penalty response_format seed "
    "service_tier stop stream stream_options temperature top_p tools tool_choice parallel_tool_calls user "
    "safety_identifier prompt_cache_key prompt_cache_retention prompt_cache_options web_search_options "
    "function_call functions moderation".split()
)


def unsupported(name: str, instead: str = "") -> Problem:
    """A parameter that a model does not know."""
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return Problem(400, f"{message} Use '{instead}' instead." if instead else message, name, "unsupported_parameter")


def model_page(*names: str, owner: str = "system") -> dict:
    """A list of models, as OpenAI gives it."""
    data = [{"id": name, "object": "model", "created": 1_744_316_542, "owned_by": owner} for name in names]
    return {"object": "list", "data": data}


CHAT = Rules(
    name="openai",
    model="gpt-4.1-mini",
    snapshot="gpt-4.1-mini-2025-04-14",
    key="sk-standin",
    forms={"text": "ignored", "json_object": "json", "json_schema": "guided", "json_object+schema": "refused"},
    strict_subset=True,
    wants_word_json=True,
    refused={
        "reasoning_effort": Problem(400, "Unrecognized request argument supplied: reasoning_effort"),
    },
    unknown_refused=True,
    known=KNOWN,
    caches_from=1024,
    tiers=("auto", "default", "priority"),
    forbidden="refusal",
    pages={"/v1/models": model_page("gpt-4.1-mini", "gpt-4.1", "gpt-5-mini", "o4-mini", "text-embedding-3-small")},
    usage=openai_usage,
    message={"refusal": None, "annotations": []},
    reply={"system_fingerprint": "fp_standin"},
    headers={"openai-processing-ms": "12", "x-request-id": "req_standin", "x-ratelimit-remaining-requests": "9999"},
    rates=Rates(prompt=0.4, cached=0.1, completion=1.6),
)

REASONING = replace(
    CHAT,
    name="openai-reasoning",
    model="gpt-5-mini",
    snapshot="gpt-5-mini-2025-08-07",
    refused={
        "max_tokens": unsupported("max_tokens", "max_completion_tokens"),
        "top_p": unsupported("top_p"),
        "logprobs": unsupported("logprobs"),
        "presence_penalty": unsupported("presence_penalty"),
        "frequency_penalty": unsupported("frequency_penalty"),
    },
    only_defaults={"temperature": 1},
    limits=("max_completion_tokens",),
    reasoning="hidden",
    thinks={"default": 64, "none": 0, "minimal": 0, "low": 32, "medium": 64, "high": 256},
    tiers=("auto", "default", "priority", "flex"),
    rates=Rates(prompt=0.25, cached=0.025, completion=2.0),
)

# The older ones know no temperature at all, whatever its value.
O_SERIES = replace(
    REASONING,
    name="openai-o-series",
    model="o4-mini",
    snapshot="o4-mini-2025-04-16",
    refused=REASONING.refused | {"temperature": unsupported("temperature"), "seed": unsupported("seed")},
    only_defaults={},
    no_room=Problem(
        400,
        "Could not finish the message because max_tokens or model output limit was reached. Please try again with "
        "higher max_tokens.",
    ),
    rates=Rates(prompt=1.1, cached=0.275, completion=4.4),
)

ALL = (CHAT, REASONING, O_SERIES)
