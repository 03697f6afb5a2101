"""Servers that people run themselves: vLLM, SGLang, Ollama, llama.cpp, TGI, and `transformers serve`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.servers.bill import Tokens
from tests.servers.providers.openai import model_page
from tests.servers.providers.rules import Problem, Rules, plain_usage

_KINDS = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 500: "InternalServerError"}
_THINKS = {"default": 64, "none": 0, "low": 32, "medium": 64, "high": 256}


def vllm_error(problem: Problem) -> Any:
    kind = _KINDS.get(problem.status, "BadRequestError")
    return {"error": {"message": problem.message, "type": kind, "param": problem.param, "code": problem.status}}


def sglang_error(problem: Problem) -> Any:
    kind = _KINDS.get(problem.status, "BadRequest")
    return {"object": "error", "message": problem.message, "type": kind, "param": None, "code": problem.status}


def ollama_error(problem: Problem) -> Any:
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(problem.status, "api_error")
    return {"error": {"message": problem.message, "type": kind, "param": None, "code": None}}


def llama_error(problem: Problem) -> Any:
    return {"error": {"code": problem.status, "message": problem.message, "type": problem.code or problem.kind}}


def tgi_error(problem: Problem) -> Any:
    return {"error": problem.message, "error_type": problem.code or "validation"}


def vllm_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    return plain_usage(tokens, cost) | {"prompt_tokens_details": None}


def vllm_thinking_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    return vllm_usage(tokens, cost) | {"completion_tokens_details": {"reasoning_tokens": tokens.reasoning}}


def vllm_cached_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    return plain_usage(tokens, cost) | {"prompt_tokens_details": {"cached_tokens": tokens.cached}}


def sglang_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    details = {"cached_tokens": tokens.cached} if tokens.cached else None
    return plain_usage(tokens, cost) | {"prompt_tokens_details": details, "reasoning_tokens": tokens.reasoning}


def llama_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    return plain_usage(tokens, cost) | {"prompt_tokens_details": {"cached_tokens": tokens.cached}}


def _models(name: str, owner: str, **more: Any) -> dict[str, Any]:
    page = model_page(name, owner=owner)
    page["data"][0] |= more
    return page


# Without a parser the text is held to a schema from its first token on, so a model that thinks cannot. One of an older
# release tells no details of its counts.
VLLM = Rules(
    name="vllm",
    model="Qwen/Qwen3-8B",
    forms={
        "text": "ignored",
        "json_object": "json",
        "json_object+schema": "json",
        "json_schema": "guided",
        "structured_outputs": "guided",
    },
    reasoning="think",
    guided_thinks=False,
    thinks=_THINKS,
    think_switch="chat_template_kwargs",
    context=32_768,
    pages={
        "/v1/models": _models("Qwen/Qwen3-8B", "vllm", root="Qwen/Qwen3-8B", parent=None, max_model_len=32_768),
        "/version": {"version": "0.19.1"},
        "/health": "",
        "/ping": "",
    },
    missing={"detail": "Not Found"},
    counts="vllm",
    too_long=Problem(
        400,
        "This model's maximum context length is {context} tokens. However, you requested {limit} output tokens and "
        "your prompt contains at least {prompt} input tokens, for a total of at least {total} tokens. Please reduce "
        "the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, "
        "value={prompt})",
    ),
    error=vllm_error,
    usage=vllm_usage,
    message={
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": [],
        "reasoning": None,
    },
    choice={"stop_reason": None, "token_ids": None},
    reply={
        "service_tier": None,
        "system_fingerprint": None,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "kv_transfer_params": None,
    },
)

VLLM_PARSER = replace(
    VLLM, name="vllm-reasoning", reasoning="reasoning", guided_thinks=True, usage=vllm_thinking_usage
)

# A release of 2025, asked to tell what it had cached.
VLLM_OLD = replace(
    VLLM_PARSER,
    name="vllm-reasoning-content",
    forms={"text": "ignored", "json_object": "json", "json_schema": "guided", "guided_json": "guided"},
    reasoning="reasoning_content",
    usage=vllm_cached_usage,
    caches_from=16,
    message={name: value for name, value in VLLM.message.items() if name != "reasoning"},
)

SGLANG = Rules(
    name="sglang",
    model="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    forms={"text": "ignored", "json_object": "json", "json_object+schema": "json", "json_schema": "guided"},
    checks_model=False,
    reasoning="reasoning_content",
    thinks=_THINKS,
    think_switch="chat_template_kwargs",
    context=32_768,
    pages={
        "/v1/models": _models("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "sglang", root=None, max_model_len=32_768),
        "/health": "",
        "/model_info": {"model_path": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "is_generation": True},
        "/get_model_info": {"model_path": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "is_generation": True},
        "/server_info": {"max_running_requests": 64, "context_length": 32_768, "version": "0.5.9"},
    },
    missing={"detail": "Not Found"},
    too_long=Problem(
        400,
        "Requested token count exceeds the model's maximum context length of {context} tokens. You requested a total "
        "of {total} tokens: {prompt} tokens from the input messages and {limit} tokens for the completion.",
    ),
    error=sglang_error,
    usage=sglang_usage,
    message={"tool_calls": None},
    choice={"matched_stop": None},
    reply={"metadata": {"weight_version": "default"}},
)

# Its OpenAI route knows `max_tokens` alone and leaves out what it does not know.
OLLAMA = Rules(
    name="ollama",
    model="qwen3:8b",
    forms={"json_object": "json", "json_object+schema": "json", "json_schema": "guided", "*": "ignored"},
    limits=("max_tokens",),
    reasoning="reasoning",
    thinks=_THINKS,
    context=4096,
    truncates=True,
    pages={
        "/": "Ollama is running",
        "/v1/models": model_page("qwen3:8b", owner="library"),
        "/api/version": {"version": "0.40.12"},
        "/api/tags": {"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "details": {"parameter_size": "8.2B"}}]},
        "/api/ps": {"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "context_length": 4096}]},
    },
    missing="404 page not found",
    error=ollama_error,
    reply={"system_fingerprint": "fp_ollama"},
)

LLAMA = Rules(
    name="llama.cpp",
    model="smollm2-135m-instruct-q8_0.gguf",
    forms={"text": "ignored", "json_object": "json", "json_object+schema": "guided", "json_schema": "guided"},
    checks_model=False,
    context=8192,
    pages={
        "/v1/models": _models("smollm2-135m-instruct-q8_0.gguf", "llamacpp", meta={"n_ctx_train": 8192}, aliases=[]),
        "/props": {"default_generation_settings": {"n_ctx": 8192}, "total_slots": 4, "model_path": "/models/a.gguf"},
        "/health": {"status": "ok"},
    },
    missing={"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}},
    counts="llama.cpp",
    too_long=Problem(
        400,
        "request ({prompt} tokens) exceeds the available context size ({context} tokens), try increasing it",
        code="exceed_context_size_error",
    ),
    error=llama_error,
    usage=llama_usage,
    reply={"system_fingerprint": "b7012-standin", "timings": {"cache_n": 0, "predicted_per_second": 200.0}},
)

TGI = Rules(
    name="tgi",
    model="Qwen/Qwen3-4B",
    forms={"json": "guided"},
    form_refusal="Failed to deserialize the JSON body into the target type: response_format: missing field `value`",
    checks_model=False,
    limits=("max_tokens",),
    context=8192,
    bad_request=422,
    pages={
        "/info": {
            "model_id": "Qwen/Qwen3-4B",
            "model_sha": "1cfa9a7208912126459214e8b04321603b3df60c",
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": 128,
            "max_best_of": 2,
            "max_stop_sequences": 4,
            "max_input_tokens": 7168,
            "max_total_tokens": 8192,
            "validation_workers": 2,
            "max_client_batch_size": 4,
            "router": "text-generation-router",
            "version": "3.3.6",
        },
        "/health": "",
    },
    missing="",
    counts="tgi",
    too_long=Problem(
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= {context}. Given: {prompt} `inputs` "
        "tokens and {limit} `max_new_tokens`",
    ),
    error=tgi_error,
    reply={"system_fingerprint": "3.3.6-native"},
)

# Knows no schema at all, and its models think aloud.
PLAIN = Rules(
    name="transformers",
    model="Qwen/Qwen3-1.7B",
    forms={"*": "ignored"},
    checks_model=False,
    reasoning="think",
    thinks=_THINKS,
    pages={"/v1/models": model_page("Qwen/Qwen3-1.7B", owner="Qwen"), "/health": {"status": "ok"}},
    missing={"detail": "Not Found"},
)

ALL = (VLLM, VLLM_PARSER, VLLM_OLD, SGLANG, OLLAMA, LLAMA, TGI, PLAIN)
