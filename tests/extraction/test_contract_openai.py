"""What the stand-ins for OpenAI give, against its published description and its rules for strict schemas."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema
import pytest

from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.types import Document
from tests.extraction.openai_description import Description, needs_description
from tests.extraction.test_matrix import connected
from tests.servers.marked import FORBIDDEN, PAIRS, marked_document
from tests.servers.standin import StandIn
from tests.servers.strict_schema import problems

STRICT = {"type": "json_schema", "json_schema": {"name": "pairs", "strict": True, "schema": PAIRS}}
MESSAGES = [{"role": "user", "content": "Give pairs as JSON.\n" + marked_document(3)}]
BODY: dict[str, Any] = {"model": "gpt-5-mini", "messages": MESSAGES, "max_completion_tokens": 400}


@pytest.fixture(scope="module")
def validate():
    return Description.load().validate


@pytest.fixture(scope="module")
def thinker() -> Iterator[StandIn]:
    with StandIn("openai-reasoning") as server:
        yield server


@pytest.fixture(scope="module")
def chat() -> Iterator[StandIn]:
    with StandIn("openai") as server:
        yield server


def post(server: StandIn, body: dict[str, Any]) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {server.rules.key}"}
    return httpx2.post(f"{server.url}/chat/completions", json=body, headers=headers, trust_env=False)


@needs_description
@pytest.mark.parametrize("change", [{}, {"response_format": STRICT}, {"service_tier": "flex"}, {"seed": 7}])
def test_whole_requests_and_replies_are_as_described(change, validate, thinker) -> None:
    validate("CreateChatCompletionRequest", BODY | change)
    reply = post(thinker, BODY | change)
    assert reply.status_code == 200
    validate("CreateChatCompletionResponse", reply.json())
    assert reply.json()["usage"]["completion_tokens_details"]["reasoning_tokens"] == 64
    models = httpx2.get(f"{thinker.url}/models", headers={"Authorization": "Bearer sk-standin"}, trust_env=False)
    validate("ListModelsResponse", models.json())


@needs_description
@pytest.mark.parametrize(
    ("change", "described"),
    [
        ({"max_tokens": 100}, True),  # a rule of the server, for models that think
        ({"temperature": 0.0}, True),
        ({"temperature": 3}, False),
        ({"response_format": {"type": "json_object", "schema": PAIRS}}, False),
        ({"response_format": {"type": "json", "value": PAIRS}}, False),
        ({"response_format": {"type": "json_schema"}}, False),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": PAIRS}}}, False),
        ({"structured_outputs": {"json": PAIRS}}, False),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"messages": []}, False),
        ({"reasoning_effort": "a lot"}, False),
        ({"service_tier": "cheap"}, False),
    ],
)
def test_canary_requests_are_refused(change, described, validate, thinker) -> None:
    """By the description, unless it is a rule of the server alone; and by the stand-in."""
    body = BODY | change
    if described:
        validate("CreateChatCompletionRequest", body)
    else:
        with pytest.raises(jsonschema.ValidationError):
            validate("CreateChatCompletionRequest", body)
    charged = thinker.bill.total
    reply = post(thinker, body)
    assert reply.status_code == 400 and thinker.bill.total == charged
    validate("ErrorResponse", reply.json())


@needs_description
@pytest.mark.parametrize(
    "damage",
    [
        lambda reply: reply.pop("choices"),
        lambda reply: reply.pop("id"),
        lambda reply: reply["choices"][0].pop("finish_reason"),
        lambda reply: reply["choices"][0].update(finish_reason="eos_token"),
        lambda reply: reply["choices"][0]["message"].update(reasoning_content="I think."),
        lambda reply: reply["choices"][0]["message"].update(content=["text"]),
        lambda reply: reply["choices"][0]["message"].pop("refusal"),
        lambda reply: reply["usage"].update(cost=0.1),
        lambda reply: reply["usage"].update(prompt_tokens="12"),
        lambda reply: reply.update(object="text_completion"),
    ],
)
def test_canary_replies_are_refused(damage, validate, thinker) -> None:
    reply = post(thinker, BODY).json()
    validate("CreateChatCompletionResponse", copy.deepcopy(reply))
    damage(reply)
    with pytest.raises(jsonschema.ValidationError):
        validate("CreateChatCompletionResponse", reply)


@needs_description
def test_refusals_and_replies_cut_short_are_as_described(validate, thinker) -> None:
    forbidden = [{"role": "user", "content": f"JSON of {FORBIDDEN}"}]
    refused = post(thinker, BODY | {"messages": forbidden}).json()
    short = post(thinker, BODY | {"max_completion_tokens": 16}).json()
    assert post(thinker, BODY | {"model": "gpt-9"}).status_code == 404
    wrong_key = httpx2.post(f"{thinker.url}/chat/completions", json=BODY, trust_env=False)
    validate("CreateChatCompletionResponse", refused)
    validate("CreateChatCompletionResponse", short)
    assert (refused["choices"][0]["message"]["content"], short["choices"][0]["finish_reason"]) == (None, "length")
    assert wrong_key.status_code == 401
    validate("ErrorResponse", wrong_key.json())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda pair: pair["properties"]["question"].update(minLength=1), "minLength"),
        (lambda pair: pair["properties"]["question"].update(maxLength=9), "maxLength"),
        (lambda pair: pair.pop("additionalProperties"), "additionalProperties"),
        (lambda pair: pair.update(additionalProperties={"type": "string"}), "additionalProperties"),
        (lambda pair: pair["required"].pop(), "required"),
        (lambda pair: pair["required"].append("grade"), "grade"),
        (lambda pair: pair["properties"]["answer"].update(default=""), "default"),
        (lambda pair: pair["properties"]["answer"].pop("type"), "type"),
        (lambda pair: pair["properties"]["answer"].update(type="text"), "text"),
        (lambda pair: pair["properties"]["answer"].update(format="prose"), "prose"),
        (lambda pair: pair["properties"].update(grade={"type": "array"}), "grade"),
        (lambda pair: pair.update(allOf=[{"type": "object"}]), "allOf"),
        (lambda pair: pair.update(minProperties=1), "minProperties"),
        (lambda pair: pair["properties"].update(grade={"oneOf": [{"type": "integer"}]}), "oneOf"),
    ],
)
def test_canary_schemas_are_refused(change, named, chat) -> None:
    assert problems(PAIRS) == []
    schema = copy.deepcopy(PAIRS)
    change(schema["properties"]["pairs"]["items"])
    assert any(named in problem for problem in problems(schema))
    strict = {"type": "json_schema", "json_schema": {"name": "pairs", "strict": True, "schema": schema}}
    reply = post(chat, {"model": "gpt-4.1-mini", "messages": MESSAGES, "response_format": strict})
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "invalid_json_schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": PAIRS},
        {"anyOf": [PAIRS]},
        {"type": ["object", "null"]},
        None,
        "pairs",
        {
            "type": "object",
            "properties": {str(n): {"type": "null"} for n in range(5001)},
            "required": [str(n) for n in range(5001)],
            "additionalProperties": False,
        },
    ],
)
def test_canary_roots_are_refused(schema) -> None:
    assert problems(schema)


@needs_description
@pytest.mark.parametrize("provider", ["openai", "openai-reasoning", "openai-o-series", "azure", "azure-deployment"])
@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": PromptTemplate(grade=True, grade_items=(("How many lamps?", "Nine."),))},
        {"temperature": 0.5, "refine": True, "judge": True},
        {"body": {"verbosity": "low", "metadata": {"project": "pairs"}, "prompt_cache_key": "pairs"}},
    ],
    ids=["grade", "refine-judge", "body"],
)
def test_every_body_that_is_sent_is_as_described(settings, provider, validate) -> None:
    """The first contact, documents, second requests and asking again; in a strict schema that the rules allow."""

    def spoilt(reply: dict[str, Any]) -> dict[str, Any]:
        if len(server.chats) % 3 == 0:
            reply["choices"][0]["message"]["content"] = "no JSON"
        return reply

    documents = [Document(f"d{number}", marked_document(number)) for number in range(4)]
    with StandIn(provider) as server:
        endpoint = connected(server, **settings)
        endpoint.check()
        refused = len(server.chats) - server.bill.total.requests
        server.change_reply = spoilt
        assert any(one.pairs for one in endpoint.extract(documents))
        bodies = [seen.body for seen in server.chats]
        assert len(bodies) > 5 and len(bodies) - server.bill.total.requests == refused, "refusals are of the probe"
        for body in bodies:
            validate("CreateChatCompletionRequest", body)
            wrapped = body["response_format"]["json_schema"]
            assert wrapped["strict"] is True and problems(wrapped["schema"]) == []
        endpoint.close()


def test_prompts_that_begin_alike_are_cached_and_billed_so() -> None:
    long = "word " * 1300
    with StandIn("openai") as server:
        for number in range(3):
            messages = [{"role": "user", "content": f"{long}\n{marked_document(number)}"}]
            usage = post(server, {"model": "gpt-4.1-mini", "messages": messages}).json()["usage"]
            assert usage["prompt_tokens_details"]["cached_tokens"] == (1280 if number else 0)
        total = server.bill.total
        assert (total.requests, total.cached) == (3, 2560)
        assert total.cost == (total.prompt - 2560) * 400 + 2560 * 100 + total.completion * 1600
        assert sum(row["cost"] for row in server.bill.rows()) == total.cost
