"""What one provider's server takes, refuses and says, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.servers.bill import Rates, Tokens

Form = Literal["guided", "json", "ignored", "refused"]


@dataclass(frozen=True)
class Problem:
    """An error, before it takes the form that the provider gives it.

    Args:
        status (`int`): HTTP status.
        message (`str`): What it says.
        param (`str`, *optional*): The parameter at fault.
        code (`str`, *optional*): Its name.
        kind (`str`, *optional*): Its type.
        headers (`dict[str, str]`): Headers of the answer.
    """

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    kind: str = "invalid_request_error"
    headers: Mapping[str, str] = field(default_factory=dict)


def openai_error(problem: Problem) -> Any:
    """The form of OpenAI, and of most that follow it."""
    names = {"param": problem.param, "code": problem.code}
    return {"error": {"message": problem.message, "type": problem.kind} | names}


def openai_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    """Token counts with all their details, as OpenAI gives them."""
    return plain_usage(tokens, cost) | {
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def plain_usage(tokens: Tokens, cost: int) -> dict[str, Any]:
    """Three counts and nothing else."""
    total = tokens.prompt + tokens.completion
    return {"prompt_tokens": tokens.prompt, "completion_tokens": tokens.completion, "total_tokens": total}


_TOO_LONG = Problem(
    400,
    "This model's maximum context length is {context} tokens. However, you requested {total} tokens ({prompt} in the "
    "messages, {limit} in the completion). Please reduce the length of the messages or completion.",
    "messages",
    "context_length_exceeded",
)


@dataclass(frozen=True)
class Rules:
    """A provider.

    Args:
        name (`str`): Its name.
        model (`str`): The model it serves.
        snapshot (`str`): The dated name under which it answers and charges, where that is another.
        prefix (`str`): What stands before its paths.
        chat_path (`str`): Where it takes chat requests.
        query (`str`): What their query has to be.
        key (`str`): The key it asks for; empty where it asks for none.
        key_headers (`tuple[str, ...]`): Where it looks for the key: `"bearer"` and names of headers.
        forms (`dict[str, str]`): By `response_format` type, `json_object+schema`, or name of a field of its own:
            whether the reply is held to the schema (`"guided"`), is JSON of whatever form (`"json"`), takes no notice
            of it (`"ignored"`), or the request is refused (`"refused"`). Types that are not there are treated as `*`
            is, or refused; fields that are not there are unknown parameters.
        form_refusal (`str`): What a refused type is told; by default, which ones there are.
        strict_subset (`bool`): Whether a strict schema has to keep to OpenAI's subset.
        wants_word_json (`bool`): Whether `json_object` needs the word in a message.
        schema_refusals (`dict[str, str]`): Keywords of a schema that are refused, with the message.
        refused (`dict[str, Problem]`): Parameters that are refused.
        only_defaults (`dict[str, Any]`): Parameters that are refused unless they have this value.
        unknown_refused (`bool`): Whether parameters that are not in `known` are refused, or ignored.
        known (`frozenset[str]`): Parameters.
        checks_model (`bool`): Whether another model than its own is refused.
        limits (`tuple[str, ...]`): Names of the limit of a reply that are heeded.
        reasoning (`str`): Where thoughts go: `""` (it does not think), `"hidden"`, `"think"` (before the text, in
            `<think>`), or the name of a field of the message.
        guided_thinks (`bool`): Whether it thinks before a text that is held to a schema.
        thinks (`dict[str, int]`): By `reasoning_effort`, how many tokens it thinks; `"default"` without one.
        think_switch (`str`): `"chat_template_kwargs"` where `enable_thinking: false` there ends thinking.
        context (`int`): Most tokens of prompt and reply.
        truncates (`bool`): Whether what is too long is cut without a word, or refused.
        caches_from (`int`): From so many equal leading tokens a prompt's beginning is cached; 0 caches nothing.
        tiers (`tuple[str, ...]`): Values of `service_tier`.
        forbidden (`str`): What becomes of a forbidden topic: `"refusal"` (in the message), `"filter"` (HTTP 400), or
            `"prose"` (in the text).
        bad_request (`int`): HTTP status of what it does not take.
        pages (`dict[str, Any]`): What other paths answer to GET: JSON, or a text.
        missing (`Any`): What paths that are not there answer with their 404; by default, an error like others.
        no_room ([`Problem`], *optional*): In place of an empty reply, where it thinks until the limit.
        too_long ([`Problem`]): Of a prompt and limit beyond the context; `{prompt}`, `{limit}`, `{total}` and
            `{context}` are filled in.
        counts (`str`): How it counts tokens for others: `""`, `"tgi"`, `"vllm"` or `"llama.cpp"`.
        error (`Callable`): Puts a [`Problem`] into the provider's form.
        usage (`Callable`): Puts token counts and the cost in billionths into the provider's form.
        message (`Callable`): Further fields of a message.
        reply (`dict[str, Any]`): Further fields of a reply.
        choice (`dict[str, Any]`): Further fields of a choice.
        headers (`dict[str, str]`): Headers of every chat answer.
        rates ([`Rates`]): Its prices.
    """

    name: str
    model: str
    snapshot: str = ""
    prefix: str = ""
    chat_path: str = "/v1/chat/completions"
    query: str = ""
    key: str = ""
    key_headers: tuple[str, ...] = ("bearer",)
    forms: Mapping[str, Form] = field(default_factory=dict)
    form_refusal: str = ""
    strict_subset: bool = False
    wants_word_json: bool = False
    schema_refusals: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, Problem] = field(default_factory=dict)
    only_defaults: Mapping[str, Any] = field(default_factory=dict)
    unknown_refused: bool = False
    known: frozenset[str] = frozenset()
    checks_model: bool = True
    limits: tuple[str, ...] = ("max_tokens", "max_completion_tokens")
    reasoning: str = ""
    guided_thinks: bool = True
    thinks: Mapping[str, int] = field(default_factory=lambda: {"default": 0})
    think_switch: str = ""
    context: int = 131_072
    truncates: bool = False
    caches_from: int = 0
    tiers: tuple[str, ...] = ()
    forbidden: Literal["refusal", "filter", "prose"] = "prose"
    bad_request: int = 400
    pages: Mapping[str, Any] = field(default_factory=dict)
    missing: Any = None
    no_room: Problem | None = None
    too_long: Problem = _TOO_LONG
    counts: str = ""
    error: Callable[[Problem], Any] = openai_error
    usage: Callable[[Tokens, int], dict[str, Any]] = plain_usage
    message: Mapping[str, Any] = field(default_factory=dict)
    reply: Mapping[str, Any] = field(default_factory=dict)
    choice: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    rates: Rates = field(default_factory=lambda: Rates(prompt=1.0, completion=4.0))
