"""The settings of [`EndpointExtractor`], each defined once: default, help and range.

A recipe's YAML and the command line have the same names with `extractor_` before them.

>>> EndpointConfig(url="http://localhost:8080", temperature=0.7).url
['http://localhost:8080']
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from equal_hf.errors import ConfigError
from equal_hf.extraction.transport.dialects import DIALECTS
from equal_hf.extraction.transport.url import Address
from equal_hf.utils.effective import AllNeeds
from equal_hf.utils.settings import check_settings, setting
from equal_hf.utils.typed_values import Range


@dataclass
class EndpointConfig:
    """Where the endpoints are, how to get in, what to ask of them and how hard.

    Args:
        url (`str` or `list[str]`): The server, such as `http://localhost:8080`; a trailing `/v1` is ignored.
            Credentials in it become basic authentication. Several must serve the same model and revision.
        model (`str`, *optional*): Model id. Needed where the server offers several; else what is served.
        model_revision (`str`, *optional*): The model's revision, where the server does not tell (TGI does).
        api_key (`str`, *optional*): Bearer token. Without one the Hugging Face token (`HF_TOKEN`) is sent, but to
            `https` hosts of Hugging Face only. Never logged, recorded or shown.
        headers (`dict[str, str]`, *optional*): Further headers of every request, for gateways that want some; as a
            flag, JSON. Never logged, recorded or shown either.
        body (`dict[str, Any]`, *optional*): Further fields of every chat request, such as `reasoning_effort`,
            `chat_template_kwargs` or `service_tier`; as a flag, JSON, or one field: `--extractor_body.service_tier
            flex`. Part of what identifies a reply; recorded, but for fields of secret names.
        dialect (`str`, *optional*, defaults to `"auto"`): `"tgi"`, `"llama.cpp"`, `"vllm"`, `"sglang"`, `"ollama"`,
            `"openai"`, or find out.
        max_new_tokens (`int`, *optional*, defaults to `1024`): Limit of a reply.
        max_reasoning_tokens (`int`, *optional*, defaults to `0`): So many tokens more for a model that thinks before
            it replies. They are sent as one limit, and counted and paid like a reply's.
        max_input_tokens (`int`, *optional*): Limit of a prompt, chat template included, below the server's own; for a
            server that tells no limit of its own.
        tokenizer (`str`, *optional*): Hub id or folder of the model's tokenizer, to count tokens here. Where it is
            left out the server counts, and where that cannot, bytes are the bound.
        temperature (`float`, *optional*, defaults to `0.0`): Sampling temperature.
        refine (`bool`, *optional*, defaults to `False`): Ask a second time about each document's pairs, to put them
            right or strike them out.
        judge (`bool`, *optional*, defaults to `False`): Ask for a grade from 1 to 5 for each pair.
        judge_min_score (`int`, *optional*, defaults to `3`): Pairs graded below are rejected.
        record_reasoning (`bool`, *optional*, defaults to `False`): Give every pair a column `reasoning`, with what the
            model thought before its reply. The response store keeps it in any case.
        stream (`str`, *optional*, defaults to `"auto"`): Read replies as they are written, and end one that repeats
            itself or goes on behind its last pair: `"true"`, `"false"`, or `"auto"`, where the server then stops
            generating and tells what was used (vLLM, SGLang, llama.cpp). Elsewhere an ended reply counts as long as it
            could have been.
        concurrency (`int`, *optional*, defaults to `256`): Maximum of requests in flight at each endpoint; how many
            there are is learned from what it takes.
        requests_per_minute, tokens_per_minute (`int`, *optional*): Caps of each endpoint, in any 60 seconds. Prompt
            and completion tokens count, by their upper bound until the response is there.
        timeout_s (`float`, *optional*, defaults to `300.0`): Limit of one request. Waiting for a slot here is not part
            of it.
        service_tier (`str`, *optional*): `"flex"` asks for half the price and slow answers, where a model has it. No
            part of what identifies a reply. What was served is booked, by the reply's own `service_tier`; where it
            tells none, the full price.
        flex_timeout_s (`float`, *optional*, defaults to `900.0`): Limit of one request of that tier, and of waiting
            for capacity before such answers count as failures.
        flex_fallback (`bool`, *optional*, defaults to `True`): Ask at the full price where that tier has no capacity;
            else wait.
        batch (`bool`, *optional*, defaults to `False`): Send the requests of a round as one batch by OpenAI's routes,
            at half the price where the provider has it so; it may take up to 24 hours. A run that is stopped leaves
            its batch running, and the same command takes it up.
        batch_poll_s (`float`, *optional*, defaults to `60.0`): Longest time between two looks at a batch.
        batch_max_requests (`int`, *optional*): Most requests of a batch; the next one of the round is sent when it is
            over. For accounts with a limit on what is queued.
        batch_min_requests (`int`, *optional*, defaults to `1`): Fewer requests than that, such as repairs, are sent
            one by one at the full price.
        max_retries (`int`, *optional*, defaults to `10`): How often a request is sent again before its document is
            given up with `transport_error`.
        max_error_rate (`float`, *optional*, defaults to `0.5`): Extraction stops when more than this share of the last
            `error_window` requests failed, each three times in a row or for good.
        error_window (`int`, *optional*, defaults to `100`): Number of requests that share is taken of.
        load_timeout_s (`float`, *optional*, defaults to `600.0`): How long to wait for a server that is loading, or
            that went away after it had responded.

    Raises:
        [`ConfigError`]: If a value is out of range.
    """

    needs: ClassVar[AllNeeds] = {
        "judge_min_score": {"judge": [True]},
        "stream": {"batch": [False]},
        "timeout_s": {"service_tier": [None]},
        "flex_timeout_s": {"service_tier": ["flex"]},
        "flex_fallback": {"service_tier": ["flex"]},
        "batch_poll_s": {"batch": [True]},
        "batch_max_requests": {"batch": [True]},
        "batch_min_requests": {"batch": [True]},
    }

    # Four that may hold secrets, and so are no part of what is printed.
    url: list[str] | None = field(default=None, repr=False, metadata={"help": "The endpoint's URL, or several."})
    api_key: str | None = field(
        default=None, repr=False, metadata={"help": "Prefer EQUAL_API_KEY in the environment."}
    )
    headers: dict[str, str] | str | None = field(
        default=None, repr=False, metadata={"help": "Further headers of every request, as JSON."}
    )
    body: dict[str, Any] | str | None = field(
        default=None, repr=False, metadata={"help": "Further fields of every chat request, as JSON."}
    )
    model: str | None = setting(None, "Model to ask the endpoint for.")
    model_revision: str | None = setting(None, "Its revision, where the endpoint does not tell.")
    dialect: str = setting("auto", "What kind of server it is.", choices=("auto", *DIALECTS))
    max_new_tokens: Annotated[int, Range(1)] = setting(1024, "Longest reply, in tokens.")
    max_reasoning_tokens: Annotated[int, Range(0)] = setting(0, "Tokens to think with before a reply.")
    max_input_tokens: Annotated[int, Range(1)] | None = setting(None, "Longest prompt, in tokens.")
    tokenizer: str | None = setting(None, "The model's tokenizer, to count tokens here.")
    temperature: Annotated[float, Range(0)] = setting(0.0, "Sampling temperature.")
    refine: bool = setting(False, "Ask again to put pairs right.")
    judge: bool = setting(False, "Ask for a grade of each pair.")
    judge_min_score: Annotated[int, Range(1, 5)] = setting(3, "Pairs graded below (1 to 5) are rejected.")
    record_reasoning: bool = setting(False, "Record what the model thought, in a column `reasoning` beside each pair.")
    stream: str = setting("auto", "End replies early that repeat themselves.", choices=("auto", "true", "false"))
    concurrency: Annotated[int, Range(1)] = setting(256, "Maximum of requests in flight, per endpoint.")
    requests_per_minute: Annotated[int, Range(1)] | None = setting(None, "Limit of each endpoint.")
    tokens_per_minute: Annotated[int, Range(1)] | None = setting(None, "Limit of each endpoint.")
    timeout_s: Annotated[float, Range(above=0)] = setting(300.0, "Seconds a request may take once sent.")
    service_tier: str | None = setting(None, "`flex`: half the price, slow answers.", choices=("flex",))
    flex_timeout_s: Annotated[float, Range(above=0)] = setting(900.0, "Seconds a flex request may take.")
    flex_fallback: bool = setting(True, "Pay the full price where flex has no capacity.")
    batch: bool = setting(False, "Send a round's requests as one batch.")
    batch_poll_s: Annotated[float, Range(above=0)] = setting(60.0, "Longest time between two looks at a batch.")
    batch_max_requests: Annotated[int, Range(1)] | None = setting(None, "Most requests of a batch, one at a time.")
    batch_min_requests: Annotated[int, Range(1)] = setting(1, "Fewer requests are sent one by one.")
    max_retries: Annotated[int, Range(0)] = setting(10, "How often a request is sent again.")
    max_error_rate: Annotated[float, Range(0, 1)] = setting(0.5, "Share of failures that ends the run.")
    error_window: Annotated[int, Range(1)] = setting(100, "Requests that share is taken of.")
    load_timeout_s: Annotated[float, Range(0)] = setting(600.0, "Seconds to wait for an endpoint that loads.")

    def __post_init__(self) -> None:
        if isinstance(self.headers, str):
            self.headers = _json_of_texts(self.headers)
        if isinstance(self.stream, bool):  # as YAML reads it
            self.stream = str(self.stream).lower()
        if isinstance(self.body, str):
            self.body = _json_object(self.body)
        check_settings(self, "extractor_")
        _check_body(self.extra_body)
        if self.tokens_per_minute is not None and self.tokens_per_minute <= self.completion_limit:
            also = " and `extractor_max_reasoning_tokens`" if self.max_reasoning_tokens else ""
            raise ConfigError(
                f"`extractor_tokens_per_minute` is {self.tokens_per_minute}. Set it above `extractor_max_new_tokens`"
                f"{also}, which is {self.completion_limit}."
            )
        if self.service_tier and (self.batch or "service_tier" in self.extra_body):
            other = "`extractor_batch`" if self.batch else "`service_tier` in `extractor_body`"
            raise ConfigError(f"`extractor_service_tier` and {other} are both set. Leave out one.")
        if self.batch and (count := len(set(self.url or ()))) > 1:
            raise ConfigError(
                f"`extractor_batch` is set and `extractor_url` names {count} endpoints. A batch goes to one: name it."
            )

    @property
    def request_timeout_s(self) -> float:
        """Limit of one request at the service tier that is asked for."""
        return self.flex_timeout_s if self.service_tier else self.timeout_s

    @property
    def completion_limit(self) -> int:
        """Most tokens of a reply and what the model thinks before it."""
        return self.max_new_tokens + self.max_reasoning_tokens

    @property
    def extra_body(self) -> dict[str, Any]:
        """Further fields of every chat request."""
        return self.body if isinstance(self.body, dict) else {}  # a text is parsed above

    @property
    def body_tier(self) -> str:
        """The service tier that `body` asks for; empty for none."""
        return str(self.extra_body.get("service_tier") or "")

    def addresses(self) -> list[Address]:
        """Where the endpoints are and how to get in, each once.

        Raises:
            [`ConfigError`]: If there is none, or one is no URL.
        """
        if not self.url:
            raise ConfigError("`extractor_url` names no endpoint. Set it to one such as http://localhost:8080.")
        headers = self.headers if isinstance(self.headers, dict) else None  # parsed above
        addresses = (Address.parse(url, self.api_key, headers) for url in self.url)
        return list({address.base: address for address in addresses}.values())


# Fields that are the library's own, and what sets them.
_NOT_IN_BODY = {
    "messages": "Set `extractor_prompt`",
    "model": "Set `extractor_model`",
    "max_tokens": "Set `extractor_max_new_tokens` and `extractor_max_reasoning_tokens`",
    "max_completion_tokens": "Set `extractor_max_new_tokens` and `extractor_max_reasoning_tokens`",
    "temperature": "Set `extractor_temperature`",
    "seed": "Set `seed`",
    "n": "Of several replies one is read",
    "stream": "It is not for you to set",
}


def _check_body(body: dict[str, Any]) -> None:
    for name, remedy in _NOT_IN_BODY.items():
        if name in body:
            raise ConfigError(f"`extractor_body` holds `{name}`. {remedy}; take it out of there.")
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"`extractor_body` has a value that no JSON can hold ({error}): correct it.") from None


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):  # the text itself may hold secrets
        raise ConfigError('`extractor_body` is no JSON object: write it like \'{"reasoning_effort": "low"}\'')
    return found


def _json_of_texts(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        # The text itself holds secrets.
        raise ConfigError('`extractor_headers` is no JSON object of texts: write it like \'{"X-Api-Key": "…"}\'')
    return found
