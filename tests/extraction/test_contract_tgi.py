"""What we send and what we read, against TGI's own API description; and the façade that the other tests stand on."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.types import Allowance, Document, Usage
from tests.extraction.endpoints import PAIRS, completion
from tests.servers import ROOT, spawn
from tests.servers.faults import CHAT, Fault, FaultyServer

API = Path(os.environ.get("EQUAL_DATA", ROOT.parent / "shared" / "data")) / "tgi_openapi.json"
pytestmark = pytest.mark.skipif(not API.exists(), reason=f"needs TGI's API description at {API}; set EQUAL_DATA")

REPLIES = {
    CHAT: "ChatCompletion",
    "/info": "Info",
    "/tokenize": "TokenizeResponse",
    "/chat_tokenize": "ChatTokenizeResponse",
}
NUMBERS = itertools.count()


def values(schema: dict[str, Any], components: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Any value that a schema of TGI's description allows."""
    if "$ref" in schema:
        return values(components[schema["$ref"].rpartition("/")[2]], components)
    if "allOf" in schema:
        parts = st.tuples(*(values(part, components) for part in schema["allOf"]))
        return parts.map(lambda found: {key: value for part in found for key, value in part.items()})
    if alternatives := schema.get("oneOf") or schema.get("anyOf"):
        return st.one_of([values(alternative, components) for alternative in alternatives])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        fields = {name: values(field, components) for name, field in schema.get("properties", {}).items()}
        required = {name: fields.pop(name) for name in schema.get("required", []) if name in fields}
        return st.fixed_dictionaries(required, optional=fields)
    if kind == "array":
        return st.lists(values(schema["items"], components), max_size=2)
    if kind == "integer":
        return st.integers(schema.get("minimum", -(2**31)), 2**31 - 1)
    kinds = {"number": st.floats(width=32, allow_nan=False, allow_infinity=False), "boolean": st.booleans()}
    return {**kinds, "string": st.text(max_size=10), "null": st.none(), None: st.integers()}[kind]


@pytest.fixture(scope="module")
def components() -> dict[str, Any]:
    """TGI's schema components, with OpenAPI's `nullable` read as JSON Schema."""

    def translate(node: Any) -> Any:
        if isinstance(node, list):
            return [translate(item) for item in node]
        if not isinstance(node, dict):
            return node
        translated = {key: translate(value) for key, value in node.items() if key != "nullable"}
        return {"anyOf": [translated, {"type": "null"}]} if node.get("nullable") is True else translated

    return translate(json.loads(API.read_text())["components"]["schemas"])


@pytest.fixture(scope="module")
def validate(components):
    """Checks a value against a component by its name."""

    def check(component: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{component}", "components": {"schemas": components}}
        jsonschema.Draft202012Validator(schema).validate(value)

    return check


@pytest.fixture(scope="module")
def traffic(tgi) -> list[tuple[str, Any, Any]]:
    """Path, request and reply of all that one extraction sends: counting, splitting, sampling, asking again."""
    text = "".join(f"Anna buys {n} bags of 12 apples.\n\n" for n in range(300))
    replies: list[Any] = []

    class Recorder(FaultyServer):
        def _pass_on(self, handler, raw, body) -> Fault:
            reply = super()._pass_on(handler, raw, body)
            if handler.command == "POST" or handler.path == "/info":
                replies.append((handler.path, body, json.loads(reply.body)))
            return reply

    def spoilt(reply: dict[str, Any]) -> dict[str, Any]:
        reply["choices"][0]["message"]["content"] = "not JSON"
        return reply

    with Recorder(tgi) as server:
        endpoint = EndpointExtractor(server.url, max_new_tokens=100, temperature=0.5, seed=3, max_retries=0)
        endpoint.extract([Document("short", "Anna has 3 apples."), Document("long", text)], Allowance(10**6, 10**6))
        server.change_reply = spoilt
        endpoint.extract([Document("again", "Ben has 4 apples.")])
    return replies


def test_every_chat_request_is_one_tgi_describes(traffic, validate) -> None:
    bodies = [body for path, body, _ in traffic if path == CHAT]
    assert len(bodies) >= 6
    for body in bodies:
        validate("ChatRequest", body)
        assert body["response_format"]["type"] == "json", "TGI's own name for it, in every release"
        assert (body["temperature"], body["seed"]) == (0.5, 3)
        assert set(body) <= {"model", "messages", "max_tokens", "temperature", "seed", "response_format", "stream"}


def test_every_counting_request_is_one_tgi_describes(traffic, validate) -> None:
    assert {path for path, _, _ in traffic} == {CHAT, "/info", "/tokenize", "/chat_tokenize"}
    for path, body, _ in traffic:
        if path == "/tokenize":
            validate("GenerateRequest", body)
        elif path == "/chat_tokenize":
            validate("ChatRequest", body)


def test_every_reply_of_the_facade_is_one_tgi_describes(traffic, validate) -> None:
    for path, _, reply in traffic:
        validate(REPLIES[path], reply)


def test_every_reply_of_the_chaos_server_is_one_tgi_describes(validate, tmp_path) -> None:
    messages = [{"role": "user", "content": "Document number 7.\nQuestion: How many?\nAnswer: 12.\n"}]
    with spawn("tests.servers.chaos", "--state", str(tmp_path / "log"), "--mark", "END", "--no-faults") as url:
        validate(REPLIES["/info"], httpx2.get(f"{url}/info", trust_env=False).json())
        for path, body in ((CHAT, {"messages": messages}), ("/tokenize", {"inputs": "How many?"})):
            validate(REPLIES[path], httpx2.post(url + path, json=body, trust_env=False).json())
        reply = httpx2.post(f"{url}/chat_tokenize", json={"messages": messages}, trust_env=False).json()
        validate(REPLIES["/chat_tokenize"], reply)
        assert len(reply["tokenize_response"]) > len(messages[0]["content"].split())


@pytest.fixture(scope="module")
def ready(tgi) -> Iterator[tuple[FaultyServer, EndpointExtractor]]:
    """The façade behind a server whose next answer is set, and an extractor that knows them."""
    with FaultyServer(tgi) as server:
        endpoint = EndpointExtractor(server.url, max_new_tokens=200, max_retries=1)
        endpoint.check()
        yield server, endpoint


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_reply_tgi_describes_is_read(data, components, validate, ready) -> None:
    server, endpoint = ready
    reply = data.draw(values({"$ref": "#/components/schemas/ChatCompletion"}, components))
    complete = data.draw(values({"$ref": "#/components/schemas/ChatCompletionComplete"}, components))
    if "content" in complete["message"]:
        complete["message"]["content"] = PAIRS
    reply["choices"] = [complete, *reply["choices"]]
    validate("ChatCompletion", reply)
    server.faults = [Fault(body=json.dumps(reply)), completion()]
    (extraction,) = endpoint.extract([Document("d", f"Anna has {next(NUMBERS)} apples.")])
    server.faults = []
    assert [pair.answer for pair in extraction.pairs] == ["Twelve."]
    used = Usage(reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"], 1)
    if "content" in complete["message"]:
        assert extraction.usage == used
    else:  # a call of a tool that nobody offered is an empty reply: paid for, asked about once more
        assert extraction.usage == used + Usage(5, 2, 1)


def test_every_error_tgi_describes_is_told_apart(components, validate, ready) -> None:
    server, endpoint = ready
    described = json.loads(API.read_text())["paths"][CHAT]["post"]["responses"]
    assert {"422", "424", "429", "500"} <= set(described)
    for status in sorted(set(described) - {"200"}):
        body = described[status]["content"]["application/json"]["example"]
        validate("ErrorResponse", body)
        server.faults = [Fault(int(status), body=json.dumps(body)), completion()]
        (extraction,) = endpoint.extract([Document("d", f"Anna has {next(NUMBERS)} apples.")])
        server.faults = []
        if status == "422":  # for good
            assert extraction.dropped == {"refused": 1} and body["error"] in extraction.rejected[0].raw
        else:
            assert len(extraction.pairs) == 1, f"{status} was not tried again"


@pytest.mark.parametrize(
    "reply",
    [
        {"choices": None},
        {"choices": [{"index": 0, "message": None, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": 7}, "finish_reason": "stop"}]},
        {"error": "Request failed during generation", "error_type": "generation"},
        [],
    ],
)
def test_canary_replies_are_refused(reply, validate, ready) -> None:
    """They fail against the description, and the extractor takes them for faults: nothing is read out of them."""
    server, endpoint = ready
    whole = json.loads(completion().body) | reply if "choices" in reply else reply
    with pytest.raises(jsonschema.ValidationError):
        validate("ChatCompletion", whole)
    server.faults = [Fault(body=json.dumps(whole))] * 2
    (extraction,) = endpoint.extract([Document("d", f"Anna has {next(NUMBERS)} apples.")])
    server.faults = []
    assert (extraction.dropped, extraction.usage) == ({"transport_error": 1}, Usage())


@pytest.mark.parametrize(
    ("path", "body", "status", "described"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, 422, True),
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "max_tokens": 99999}, 422, True),
        (CHAT, {"messages": [{"role": "user", "content": "x " * 9000}], "max_tokens": 5}, 422, True),
        (CHAT, {"messages": "x"}, 422, False),
        (CHAT, {"inputs": "x"}, 422, False),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 2_000_001}]}, 413, False),
    ],
)
def test_every_refusal_of_the_facade_is_one_tgi_gives(path, body, status, described, tgi, validate) -> None:
    reply = httpx2.post(tgi + path, json=body, trust_env=False)
    assert reply.status_code == status
    if described:
        validate("ErrorResponse", reply.json())


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_schema", "json_schema": {"name": "pairs", "schema": {"type": "object"}}},
        {"type": "json_object"},
        {"type": "json_object", "schema": {"type": "object"}},
        {"type": "grammar", "value": {}},
    ],
)
def test_canary_requests_in_other_dialects_are_refused(response_format, tgi, validate) -> None:
    """OpenAI's and llama.cpp's forms fail against both the description and the façade: neither takes just anything."""
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": response_format}
    with pytest.raises(jsonschema.ValidationError):
        validate("ChatRequest", body)
    assert httpx2.post(tgi + CHAT, json=body, trust_env=False).status_code == 422
