"""Models that take no schema, but promise JSON: asked for it, without another reply being paid for."""

from __future__ import annotations

import json

from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.responses.ledger import response_key
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Document
from tests.extraction.endpoints import SHORT, extractor
from tests.servers.faults import Fault
from tests.servers.marked import marked_document
from tests.servers.standin import StandIn

DOCUMENTS = [Document(f"d{number}", marked_document(number)) for number in range(3)]
JSON = {"type": "json_object"}


def make(server: StandIn, **settings):
    return extractor(server.url, api_key=server.rules.key, model=server.rules.model, model_revision="r", **settings)


def test_replies_are_stored_as_they_were_without_it(tmp_path) -> None:
    """What an earlier version stored was asked for by the prompt alone, and serves."""
    with StandIn("deepseek") as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = make(server, store=store)
        assert sum(len(extraction.pairs) for extraction in endpoint.extract(DOCUMENTS)) == 6
        assert [seen.body.get("response_format") for seen in server.chats[-3:]] == [JSON] * 3
        for document in DOCUMENTS:
            key = response_key(server.rules.model, "r", SHORT.messages(document.text), {"temperature": 0.0})
            assert store.get(key, 200) is not None


def test_a_prompt_that_does_not_name_json_is_not_sent_in_it(tmp_path) -> None:
    prompt = PromptTemplate("List question-answer pairs.\n{{ fence }}\n{{ document }}\n{{ fence }}")
    with StandIn("deepseek") as server:
        endpoint = make(server, prompt=prompt)
        endpoint.extract(DOCUMENTS[:1])
        assert "response_format" not in server.chats[-1].body
        assert endpoint.describe()["endpoints"][0]["schema"] == "refused"


def test_a_reply_that_groq_refuses_as_no_json_is_asked_for_without(tmp_path, caplog) -> None:
    """As of one that was cut short, which would be refused each time."""
    error = {"message": "Failed to generate JSON. Please adjust your prompt.", "code": "json_validate_failed"}
    with StandIn("groq-json") as server:
        server.judge = lambda body, _: (
            Fault(400, body=json.dumps({"error": error}))
            if body.get("response_format") == JSON and "as JSON" in str(body) and "hello" not in str(body)
            else None
        )
        endpoint = make(server, concurrency=1)
        assert sum(len(extraction.pairs) for extraction in endpoint.extract(DOCUMENTS)) == 6
        asked = [seen.body.get("response_format") for seen in server.chats]
        assert asked.count(JSON) == 2 and asked[-3:] == [None] * 3, "one to see whether it takes it, one refused"
    assert "refuses `response_format`, which it took before" in caplog.text
