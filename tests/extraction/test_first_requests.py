"""What the first requests find out about a server, and what is sent from there on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from equal_hf.errors import ConfigError
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.responses.ledger import response_key
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Document
from tests.extraction.endpoints import MODELS, PAIRS, completion, extractor
from tests.servers.faults import Fault, FaultyServer
from tests.servers.marked import HARD, marked_document, marked_pairs
from tests.servers.providers.hosted import DEEPSEEK
from tests.servers.providers.openai import CHAT, REASONING
from tests.servers.standin import StandIn

MARKED = [Document(f"m{number}", marked_document(number)) for number in range(3)]
EXPECTED = [pair for document in MARKED for pair in marked_pairs(document.text)]


def connect(server: StandIn, **options):
    return extractor(
        server.url,
        **(
            {"api_key": server.rules.key, "model": server.rules.model, "model_revision": "x", "prompt": None} | options
        ),
    )


def found(endpoint) -> dict:
    return endpoint.describe()["endpoints"][0]


def pairs(extractions) -> list[tuple[str, str]]:
    return [(pair.question, pair.answer) for extraction in extractions for pair in extraction.pairs]


def test_a_reasoning_model_is_sent_what_it_takes(tmp_path, caplog) -> None:
    with StandIn(REASONING) as server:
        endpoint = connect(server, store=tmp_path / "store.sqlite", max_reasoning_tokens=100)
        assert pairs(endpoint.extract(MARKED)) == EXPECTED
        told = found(endpoint)
        assert (told["schema"], told["schema_form"]) == ("heeded", "json_schema")
        assert (told["limit_field"], told["left_out"], told["thinks"]) == (
            "max_completion_tokens",
            ["temperature"],
            True,
        )
        body = server.chats[-1].body
        assert body["max_completion_tokens"] == 300 and not {"max_tokens", "temperature"} & set(body)
        assert endpoint.identity()["sampling"] == {}, "what was not sent is no part of what was done"
        assert len([seen for seen in server.chats if "max_tokens" in seen.body]) == 1, "refused once, not sent again"
    assert "refuses `temperature` with gpt-5-mini" in caplog.text


def test_replies_from_when_a_parameter_was_taken_serve_on(tmp_path) -> None:
    taking = replace(REASONING, only_defaults={})
    with StandIn(taking) as server, ResponseStore(tmp_path / "store.sqlite") as store:
        first = connect(server, store=store).extract(MARKED)
        sent = len(server.chats)
        server.rules = REASONING
        again = connect(server, store=store)
        assert again.extract(MARKED) == first and again.identity()["sampling"] == {}
        # The probe's few alone: nothing of the documents was asked for again.
        assert all("Say hello" in str(seen.body) for seen in server.chats[sent:])
        assert again.raw_reply(first[0].pairs[0])


def test_a_refusal_in_mid_run_is_heeded_from_there_on(tmp_path, caplog) -> None:
    with StandIn(replace(REASONING, only_defaults={}, refused={})) as server:
        server.rules = replace(server.rules, limits=("max_tokens", "max_completion_tokens"))
        endpoint = connect(server, concurrency=1, max_retries=0, store=tmp_path / "store.sqlite")
        endpoint.check()
        server.rules = REASONING
        asked = len(server.chats)
        assert pairs(endpoint.extract(MARKED)) == EXPECTED
        assert len(server.chats) - asked == 2 + len(MARKED), "one refusal for each parameter"
        told = found(endpoint)
        assert (told["limit_field"], told["left_out"]) == ("max_completion_tokens", ["temperature"])
        assert endpoint.paid().unanswered == 0, "a refusal costs nothing"
        endpoint.close()
        # Another run finds the parameter refused at once, and the replies all the same.
        sent = len(server.chats)
        assert pairs(connect(server, store=tmp_path / "store.sqlite").extract(MARKED)) == EXPECTED
        assert all("Say hello" in str(seen.body) for seen in server.chats[sent:])
    assert "refuses `temperature`, which it took before" in caplog.text


def test_a_form_that_fails_is_followed_by_the_next() -> None:
    odd = Fault(500, {"Retry-After": "0.01"}, '{"error": "unknown response_format"}')
    with FaultyServer(pages=MODELS, faults=[*[odd] * 5, completion(PAIRS)]) as server:
        told = found(extractor(server.url))
        assert (told["schema"], told["schema_form"]) == ("heeded", "json_object")
        assert server.chats[-1].body["response_format"]["schema"]


@pytest.mark.parametrize(
    ("content", "finish", "schema"),
    [
        (PAIRS, "stop", "heeded"),
        ('{"pairs": [{"ques', "length", "heeded"),
        ('{"', "length", "heeded"),
        ('{"pairs": [{"ques', "stop", "ignored"),
        ('{"pairs": "none"}', "stop", "ignored"),
        ('{"greeting": "Hello!"}', "stop", "ignored"),
        ("Hello!", "stop", "ignored"),
        (None, "stop", "unknown"),
        ("", "stop", "unknown"),
        (" \n" * 20, "length", "unknown"),
    ],
)
def test_heeded_is_a_reply_that_is_there_and_fits(content, finish: str, schema: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    with FaultyServer(pages=MODELS, faults=[completion(choices=[choice])] * 2) as server:
        assert found(extractor(server.url))["schema"] == schema


def test_a_model_that_thinks_until_the_limit_is_named_with_the_remedy(caplog) -> None:
    with StandIn(replace(DEEPSEEK, forms=CHAT.forms, thinks={"default": 10_000})) as server:
        told = found(connect(server))
        assert (told["schema"], told["thinks"]) == ("unknown", True)
        assert [seen.body["max_tokens"] for seen in server.chats] == [16, 200]
    for word in ("thinks until the limit of 200", "reasoning_effort", "enable_thinking", "`extractor_max_reasoning"):
        assert word in caplog.text


@pytest.mark.parametrize("provider", ["openai-reasoning", "vllm-reasoning", "vllm-reasoning-content", "transformers"])
def test_thoughts_without_a_reply_are_a_reason_of_their_own(provider: str, tmp_path, caplog) -> None:
    hard = Document("h", f"{marked_document(7)}{HARD}")
    with StandIn(provider) as server:
        endpoint = connect(server, store=tmp_path / "store.sqlite")
        asked = len(server.chats)
        easy, thought = endpoint.extract([MARKED[0], hard])
        assert pairs([easy]) == marked_pairs(MARKED[0].text) and thought.dropped == {"thought_only": 1}
        sent = [seen for seen in server.chats[asked:] if HARD in str(seen.body)]
        assert len(sent) == 1, "it is not asked again"
        assert thought.usage.completion_tokens == 200 and "`thought_only`" in caplog.text
        # More tokens ask again; thoughts are kept beside the reply.
        again = connect(server, store=tmp_path / "store.sqlite", max_reasoning_tokens=100)
        assert again.extract([hard])[0].usage.completion_tokens == 300
        stored = again._store.get(easy.pairs[0].response_key, 200)
        assert ("I look at" in stored.reasoning) == (provider != "openai-reasoning")
        assert stored.text.strip().startswith(("{", "Here"))


def test_a_refusal_to_reply_with_so_few_tokens_counts_as_thoughts(caplog) -> None:
    words = "Could not finish the message because max_tokens or model output limit was reached. Please try again."
    fault = Fault(400, body=json.dumps({"error": {"message": words, "type": "invalid_request_error"}}))
    with FaultyServer(pages=MODELS, faults=[fault, completion()]) as server:
        told = found(extractor(server.url))
        assert (told["schema"], told["thinks"], len(server.chats)) == ("heeded", True, 2)


def test_ollama_is_bounded_by_the_context_that_it_tells(caplog) -> None:
    with StandIn("ollama") as server:
        assert found(connect(server))["max_prompt_tokens"] == 4096 - 200
        assert "cuts prompts beyond its context" in caplog.text and "OLLAMA_CONTEXT_LENGTH" in caplog.text
        pages = dict(server.rules.pages)
        pages["/api/ps"] = {"models": [{"name": server.rules.model, "context_length": 32_768}]}
        server.rules = replace(server.rules, pages=pages)
        assert found(connect(server))["max_prompt_tokens"] == 32_768 - 200
        del pages["/api/ps"]
        assert found(connect(server))["max_prompt_tokens"] == 4096 - 200, "the default, where it does not tell"
        assert found(connect(server, max_input_tokens=9000))["max_prompt_tokens"] == 9000, "the user knows better"


def test_a_body_of_ones_own_goes_with_every_request_and_tells_replies_apart(tmp_path) -> None:
    body = {"reasoning_effort": "none", "service_tier": "flex"}
    with StandIn(REASONING) as server, ResponseStore(tmp_path / "store.sqlite") as store:
        endpoint = connect(server, body=body, store=store)
        assert pairs(endpoint.extract(MARKED)) == EXPECTED
        assert all(seen.body.items() >= body.items() for seen in server.chats)
        assert found(endpoint)["thinks"] is False
        plain = connect(server, store=store)
        assert endpoint.identity() != plain.identity() and "flex" not in str(endpoint.identity())
        sent = len(server.chats)
        plain.extract(MARKED[:1])
        assert any("reasoning_effort" not in seen.body and "Chapter" in str(seen.body) for seen in server.chats[sent:])


def test_a_reply_without_a_body_of_ones_own_keeps_its_key() -> None:
    parts = ("m", "r", [{"role": "user", "content": "c"}], {"temperature": 0.0}, {"type": "object"}, 1)
    key = "65e529885cc01c67656dc5921c4b0187ab174eae0815b0ca5e88f12c92a89772"
    assert response_key(*parts) == response_key(*parts, {}) == key
    assert response_key(*parts, {"a": 1}) not in (key, response_key(*parts, {"a": 2}))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": []}, "`extractor_prompt`"),
        ({"model": "m"}, "`extractor_model`"),
        ({"max_completion_tokens": 7}, "`extractor_max_new_tokens`"),
        ({"temperature": 1}, "`extractor_temperature`"),
        ({"n": 3}, "one is read"),
        ("[1]", "no JSON object"),
        ("{s3cret", "no JSON object"),
        ({"x": {1, 2}}, "no JSON can hold"),
        (["a"], "a mapping"),
    ],
)
def test_a_body_that_cannot_be_is_refused(body, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        EndpointConfig(url=["http://a"], body=body)
    assert "extractor_body" in str(caught.value) and "s3cret" not in str(caught.value)
    assert EndpointConfig(url=["http://a"], body=json.dumps({"a": {"b": 1}})).extra_body == {"a": {"b": 1}}
