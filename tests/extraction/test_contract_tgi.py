"""What we send and what we read, against TGI's own API description; and the façade that the other tests stand on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from equal_hf.extraction.endpoint import EndpointExtractor
from equal_hf.types import Allowance, Document
from tests.servers import ROOT
from tests.servers.faults import CHAT, Fault, FaultyServer

API = Path(os.environ.get("EQUAL_DATA", ROOT.parent / "shared" / "data")) / "tgi_openapi.json"
pytestmark = pytest.mark.skipif(not API.exists(), reason=f"needs TGI's API description at {API}; set EQUAL_DATA")


@pytest.fixture(scope="module")
def validate():
    """Checks a value against a component by its name, with OpenAPI's `nullable` read as JSON Schema."""
    api = json.loads(API.read_text())

    def translate(node: Any) -> Any:
        if isinstance(node, list):
            return [translate(item) for item in node]
        if not isinstance(node, dict):
            return node
        translated = {key: translate(value) for key, value in node.items() if key != "nullable"}
        return {"anyOf": [translated, {"type": "null"}]} if node.get("nullable") is True else translated

    schemas = translate(api["components"]["schemas"])

    def check(component: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{component}", "components": {"schemas": schemas}}
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
    components = {
        CHAT: "ChatCompletion",
        "/info": "Info",
        "/tokenize": "TokenizeResponse",
        "/chat_tokenize": "ChatTokenizeResponse",
    }
    for path, _, reply in traffic:
        validate(components[path], reply)


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
    import httpx2

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
    import httpx2

    body = {"messages": [{"role": "user", "content": "x"}], "response_format": response_format}
    with pytest.raises(jsonschema.ValidationError):
        validate("ChatRequest", body)
    assert httpx2.post(tgi + CHAT, json=body, trust_env=False).status_code == 422
