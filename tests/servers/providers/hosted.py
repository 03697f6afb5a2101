"""Services beside OpenAI's: Azure, Groq, DeepSeek, the router of Hugging Face, and OpenRouter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.servers.bill import Rates, Tokens
from tests.servers.providers.openai import CHAT, REASONING, model_page
from tests.servers.providers.rules import Problem, Rules, openai_error, openai_usage, plain_usage

_SAFE = {"filtered": False, "severity": "safe"}
_FILTERS = dict.fromkeys(("hate", "self_harm", "sexual", "violence"), _SAFE)

_NO_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)


def azure_error(problem: Problem) -> Any:
    if problem.status == 401:
        words = (
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key "
        )
        words += "for an active subscription and use a correct regional API endpoint for your resource."
        return {"error": {"code": "401", "message": words}}
    if problem.code == "unknown_url":
        return {"error": {"code": "404", "message": "Resource not found"}}
    if problem.code == "content_filter":
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": _FILTERS}
        named = {"type": None, "param": "prompt", "code": "content_filter", "status": 400, "innererror": inner}
        return {"error": {"message": problem.message} | named}
    return openai_error(problem)


# The older routes name the deployment in the path, want a version, and know no list of models beside it.
AZURE_DEPLOYMENT = replace(
    CHAT,
    name="azure-deployment",
    key="azure-standin",
    key_headers=("api-key",),
    prefix="/openai/deployments/gpt-4.1-mini",
    chat_path="/chat/completions",
    query="api-version=2024-10-21",
    checks_model=False,
    forbidden="filter",
    pages={},
    error=azure_error,
    choice={"content_filter_results": _FILTERS},
    reply={"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _FILTERS}]},
)

AZURE = replace(
    REASONING,
    name="azure",
    key="azure-standin",
    key_headers=("api-key", "bearer"),
    prefix="/openai",
    forbidden="filter",
    pages={"/v1/models": model_page("gpt-5-mini", "gpt-4.1-mini", owner="azure")},
    error=azure_error,
    choice={"content_filter_results": _FILTERS},
    reply={"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _FILTERS}]},
)


def groq_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    times = {"queue_time": 0.01, "prompt_time": 0.002, "completion_time": 0.05, "total_time": 0.052}
    found = plain_usage(tokens, cost) | times
    if tokens.cached:
        found["prompt_tokens_details"] = {"cached_tokens": tokens.cached}
    if tokens.reasoning:
        found["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    return found


_GROQ_LIMITS = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-limit-tokens": "18000",
    "x-ratelimit-remaining-tokens": "17997",
    "x-ratelimit-reset-tokens": "7.66s",
}
_GROQ_MODELS = model_page("openai/gpt-oss-20b", "llama-3.3-70b-versatile", "whisper-large-v3", owner="Groq")
for _model in _GROQ_MODELS["data"]:
    _model |= {"active": True, "context_window": 131_072, "public_apps": None, "max_completion_tokens": 65_536}

GROQ = Rules(
    name="groq",
    model="openai/gpt-oss-20b",
    prefix="/openai",
    key="gsk_standin",
    forms={"text": "ignored", "json_object": "json", "json_object+schema": "refused", "json_schema": "guided"},
    wants_word_json=True,
    strict_subset=True,
    schema_refusals={
        keyword: f"invalid schema for response format: response_format/json_schema/pairs: {keyword} is not supported"
        for keyword in ("minItems", "maxItems", "minLength", "maxLength")
    },
    unknown_refused=True,
    known=CHAT.known | {"include_reasoning", "reasoning_format"},
    reasoning="reasoning",
    thinks={"default": 64, "low": 32, "medium": 64, "high": 256},
    caches_from=1024,
    tiers=("auto", "on_demand", "flex", "performance"),
    pages={"/v1/models": _GROQ_MODELS},
    usage=groq_usage,
    reply={"system_fingerprint": "fp_standin", "x_groq": {"id": "req_standin"}},
    headers=_GROQ_LIMITS,
    # Its flex tier buys higher limits, not a lower price.
    rates=Rates(prompt=0.075, cached=0.0375, completion=0.3, tiers={"batch": 0.5}),
)

# A model there that knows JSON, but no schema.
GROQ_LLAMA = replace(
    GROQ,
    name="groq-json",
    model="llama-3.3-70b-versatile",
    forms={"text": "ignored", "json_object": "json", "json_object+schema": "refused"},
    refused={"reasoning_effort": Problem(400, "`reasoning_effort` is not supported with this model")},
    form_refusal=(
        "This model does not support response format `json_schema`. See supported models at "
        "https://console.groq.com/docs/structured-outputs#supported-models"
    ),
    reasoning="",
    strict_subset=False,
    rates=Rates(prompt=0.59, completion=0.79, tiers={"batch": 0.5}),
)


def deepseek_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    return plain_usage(tokens, cost) | {
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "prompt_cache_hit_tokens": tokens.cached,
        "prompt_cache_miss_tokens": tokens.prompt - tokens.cached,
    }


DEEPSEEK = Rules(
    name="deepseek",
    model="deepseek-reasoner",
    key="sk-deepseek",
    forms={"text": "ignored", "json_object": "json"},
    wants_word_json=True,
    form_refusal="This response_format type is unavailable now",
    limits=("max_tokens",),
    reasoning="reasoning_content",
    thinks={"default": 96},
    caches_from=64,
    pages={"/v1/models": model_page("deepseek-chat", "deepseek-reasoner", owner="deepseek")},
    usage=deepseek_usage,
    rates=Rates(prompt=0.28, cached=0.028, completion=0.42),
)


def _provider(name: str, context: int, prompt: float, completion: float, schema: bool) -> dict[str, Any]:
    return {
        "provider": name,
        "status": "live",
        "context_length": context,
        "pricing": {"input": prompt, "output": completion},
        "supports_tools": True,
        "supports_structured_output": schema,
        "is_model_author": False,
    }


def _router_model(name: str, *providers: dict[str, Any]) -> dict[str, Any]:
    shape = {"input_modalities": ["text"], "output_modalities": ["text"]}
    known = {"id": name, "object": "model", "created": 1_754_400_000, "owned_by": name.partition("/")[0]}
    return known | {"architecture": shape, "providers": list(providers)}


ROUTER_MODELS = {
    "object": "list",
    "data": [
        _router_model(
            "openai/gpt-oss-20b",
            _provider("groq", 131_072, 0.075, 0.3, True),
            _provider("together", 32_768, 0.05, 0.2, False),
            {"provider": "hf-inference", "status": "error"},
        ),
        _router_model("Qwen/Qwen3-8B", _provider("nscale", 40_960, 0.07, 0.18, True)),
    ],
}

ROUTER = Rules(
    name="router",
    model="openai/gpt-oss-20b:groq",
    key="hf_standin",
    forms={"text": "ignored", "json_object": "json", "json_schema": "guided"},
    reasoning="reasoning",
    thinks={"default": 64, "low": 32, "medium": 64, "high": 256},
    pages={"/v1/models": ROUTER_MODELS},
    usage=groq_usage,
    headers={"x-inference-provider": "groq"},
    rates=Rates(prompt=0.075, completion=0.3),
)

# Of the providers of this model none heeds a schema.
ROUTER_PLAIN = replace(
    ROUTER,
    name="router-together",
    model="openai/gpt-oss-20b:together",
    forms={"*": "ignored"},
    context=32_768,
    usage=plain_usage,
    headers={"x-inference-provider": "together"},
    rates=Rates(prompt=0.05, completion=0.2),
)


def openrouter_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    known = {"cost": cost / 10**9, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}
    return openai_usage(tokens, cost) | known


def openrouter_error(problem: Problem) -> Any:
    return {"error": {"message": problem.message, "code": problem.status}, "user_id": "user_standin"}


OPENROUTER = Rules(
    name="openrouter",
    model="openai/gpt-oss-20b",
    prefix="/api",
    key="sk-or-standin",
    forms={"text": "ignored", "json_object": "json", "json_schema": "guided", "*": "ignored"},
    reasoning="reasoning",
    thinks={"default": 64, "none": 0, "low": 32, "medium": 64, "high": 256},
    pages={
        "/v1/models": {
            "data": [
                {
                    "id": "openai/gpt-oss-20b",
                    "canonical_slug": "openai/gpt-oss-20b",
                    "name": "OpenAI: gpt-oss-20b",
                    "created": 1_754_414_229,
                    "context_length": 131_072,
                    "pricing": {"prompt": "0.00000005", "completion": "0.0000002", "request": "0", "image": "0"},
                    "top_provider": {"context_length": 131_072, "max_completion_tokens": 131_072},
                    "supported_parameters": ["max_tokens", "response_format", "seed", "structured_outputs"],
                }
            ]
        }
    },
    error=openrouter_error,
    usage=openrouter_usage,
    choice={"native_finish_reason": "stop"},
    reply={"provider": "Groq"},
    rates=Rates(prompt=0.05, completion=0.2),
)


def beside_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    """xAI counts thoughts beside the reply, and in the total."""
    return openai_usage(tokens, cost) | {"completion_tokens": tokens.completion - tokens.reasoning}


XAI = Rules(
    name="xai",
    model="grok-4-fast",
    key="xai-standin",
    forms={"text": "ignored", "json_object": "json", "json_schema": "guided"},
    refused={
        name: Problem(400, f"Model grok-4-fast does not support parameter {name}.")
        for name in ("presence_penalty", "frequency_penalty", "stop", "reasoning_effort")
    },
    reasoning="reasoning_content",
    thinks={"default": 64},
    caches_from=1024,
    pages={"/v1/models": model_page("grok-4-fast", owner="xai")},
    error=lambda problem: {"code": "Client specified an invalid argument", "error": problem.message},
    usage=beside_usage,
    message={"refusal": None},
    rates=Rates(prompt=0.2, cached=0.05, completion=0.5),
)


def gemini_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    """Gemini tells of thoughts in the total alone."""
    return plain_usage(tokens, cost) | {"completion_tokens": tokens.completion - tokens.reasoning}


def gemini_error(problem: Problem) -> Any:
    name = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND"}.get(problem.status, "UNKNOWN")
    return [{"error": {"code": problem.status, "message": problem.message, "status": name}}]


GEMINI = Rules(
    name="gemini",
    model="gemini-2.5-flash",
    prefix="/v1beta/openai",
    chat_path="/chat/completions",
    key="AIza-standin",
    forms={"text": "ignored", "json_object": "json", "json_schema": "guided"},
    refused={
        name: Problem(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        for name in ("seed", "structured_outputs", "chat_template_kwargs")
    },
    reasoning="hidden",
    thinks={"default": 64, "none": 0, "low": 32, "medium": 64, "high": 256},
    tiers=("default", "flex", "priority"),
    pages={"/models": model_page("models/gemini-2.5-flash", "models/gemini-2.5-pro", owner="google")},
    error=gemini_error,
    usage=gemini_usage,
    rates=Rates(prompt=0.3, completion=2.5),
)

ALL = (AZURE, AZURE_DEPLOYMENT, GROQ, GROQ_LLAMA, DEEPSEEK, ROUTER, ROUTER_PLAIN, OPENROUTER, XAI, GEMINI)
