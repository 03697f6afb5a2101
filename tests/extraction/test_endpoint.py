"""EndpointExtractor against real servers: what it finds out about them, what it gives, how it splits."""

from __future__ import annotations

import asyncio
import json
import re
import threading

import pytest

from equal_hf.types import Allowance, Document, Extraction
from tests.extraction.endpoints import extractor
from tests.servers.faults import Fault, FaultyServer


def test_tgi_gives_pairs_with_their_provenance(tgi, documents) -> None:
    endpoint = extractor(tgi, prompt=None)
    extractions = endpoint.extract(documents[:6])
    assert [extraction.document_id for extraction in extractions] == [document.id for document in documents[:6]]
    assert {extraction.finish_reason for extraction in extractions} == {"stop"}
    pairs = [pair for extraction in extractions for pair in extraction.pairs]
    assert len(pairs) >= 3
    for pair in pairs:
        document = documents[int(pair.document_id[1:])]
        assert (pair.cluster, pair.span, pair.method) == (document.cluster, (0, len(document.text)), "endpoint")
        assert (pair.model, pair.prompt_hash) == ("equal-hf/tiny-random", endpoint.prompt.prompt_hash)
        assert re.fullmatch("[0-9a-f]{40}", pair.model_revision)
    for extraction in extractions:
        assert extraction.usage.requests == 1
        assert extraction.usage.prompt_tokens > 100 and extraction.usage.completion_tokens > 3
        # A random model writes pairs without a letter, too.
        assert extraction.pairs or extraction.dropped in ({"no_pairs": 1}, {"no_question": 1})


def test_tgi_gives_the_same_whatever_the_concurrency(tgi, documents) -> None:
    at_once = extractor(tgi, concurrency=12).extract(documents)
    assert at_once == extractor(tgi, concurrency=1).extract(documents)
    assert at_once == extractor(tgi).extract(documents[::-1])[::-1]


def test_llama_cpp_in_its_own_dialect(llama, documents, caplog) -> None:
    endpoint = extractor(llama, temperature=0.9, seed=1)
    extractions = endpoint.extract(documents)
    assert {extraction.finish_reason for extraction in extractions} <= {"stop", "length"}
    assert sum(len(extraction.pairs) for extraction in extractions) >= 3
    identity = endpoint.identity()
    assert identity["model"] == "tiny-random.gguf", "no folder of the server's machine"
    assert identity["model_revision"] == "unknown"
    assert "`extractor_model_revision`" in caplog.text
    assert "ignores the JSON schema" not in caplog.text


def test_any_other_server_with_openai_routes(llama, documents, caplog) -> None:
    pages = {path: Fault(404) for path in ("/info", "/props", "/version", "/health")}
    with FaultyServer(llama, pages=pages) as server:
        extractions = extractor(server.url, temperature=0.9, seed=1).extract(documents, Allowance(20_000, 20_000))
        assert sum(len(extraction.pairs) for extraction in extractions) >= 3
        assert not [seen for seen in server.seen if "tokenize" in seen.path]
    assert "ignores the JSON schema" not in caplog.text


def test_vllm_in_its_own_dialect(llama, documents) -> None:
    # vLLM cannot run here: llama.cpp generates, behind the routes that vLLM documents.
    pages = {
        "/version": Fault(body='{"version": "0.11.0"}'),
        "/v1/models": Fault(body='{"data": [{"id": "org/model", "owned_by": "vllm", "max_model_len": 2048}]}'),
        "/tokenize": Fault(body=json.dumps({"count": 300, "max_model_len": 2048, "tokens": [1] * 300})),
    } | {path: Fault(404) for path in ("/info", "/props")}

    def as_llama(body: dict) -> dict:
        schema = body.pop("structured_outputs")["json"]
        return body | {"response_format": {"type": "json_object", "schema": schema}, "model": ""}

    with FaultyServer(llama, pages=pages, change_request=as_llama) as server:
        endpoint = extractor(server.url, temperature=0.9, seed=1)
        extractions = endpoint.extract(documents[:4], Allowance(prompt_tokens=100_000))
        assert {extraction.finish_reason for extraction in extractions} <= {"stop", "length"}
        assert endpoint.identity()["max_prompt_tokens"] == 2048 - 200
        bodies = [seen.body for seen in server.seen if seen.path == "/tokenize"]
        assert bodies and all(body["model"] == "org/model" for body in bodies)
        assert "response_format" not in server.chats[-1].body


def test_identity_names_what_changes_the_pairs_and_nothing_else(tgi) -> None:
    plain = extractor(tgi, api_key="secret-key").identity()
    assert json.loads(json.dumps(plain)) == plain
    assert plain == extractor(tgi + "/v1/", seed=7, concurrency=3).identity(), "at temperature 0 no seed counts"
    assert plain == extractor(tgi, model_revision="main").identity(), "what the server tells goes first"
    assert "127.0.0.1" not in str(plain) and "secret-key" not in str(plain)
    assert plain != extractor(tgi, temperature=0.5).identity() != extractor(tgi, temperature=0.5, seed=7).identity()
    assert plain != extractor(tgi, max_new_tokens=100).identity()


def test_extraction_works_inside_a_running_loop_and_in_a_thread(tgi, documents) -> None:
    expected = extractor(tgi).extract(documents[:2])

    async def inside() -> list[Extraction]:
        return extractor(tgi).extract(documents[:2])

    assert asyncio.run(inside()) == expected
    got = []
    thread = threading.Thread(target=lambda: got.extend(extractor(tgi).extract(documents[:2])))
    thread.start()
    thread.join()
    assert got == expected


def test_no_documents_take_no_request() -> None:
    assert extractor("http://127.0.0.1:9").extract([]) == []


def prose(sentences: int) -> str:
    return "".join(
        f"Anna buys {n} bags of 12 apples. {'She eats one.' if n % 3 else ''}" + ("\n\n" if n % 5 == 0 else " ")
        for n in range(sentences)
    )


@pytest.mark.parametrize("counting", [True, False])
def test_long_documents_are_split_to_the_servers_limit(counting: bool, tgi) -> None:
    text = prose(300 if counting else 100)
    pages = {} if counting else {"/chat_tokenize": Fault(404), "/tokenize": Fault(404)}
    with FaultyServer(tgi, pages=pages) as server:
        (extraction,) = extractor(server.url).extract([Document("long", text)])
        contents = [seen.body["messages"][0]["content"] for seen in server.chats[1:]]
    assert extraction.finish_reason == "stop" and "refused" not in extraction.dropped
    assert extraction.usage.requests == len(contents) > 2
    parts = {re.search(r"===\n(.*)\n===", content, re.DOTALL)[1] for content in contents}
    assert "".join(sorted(parts, key=text.index)) == text, "the parts cover the document"
    spans = {pair.span for pair in extraction.pairs}
    assert spans and {text[start:end] for start, end in spans} <= parts
    if counting:
        assert extraction.usage.prompt_tokens > 0.6 * 1792 * (len(contents) - 1), "a part is as long as fits"


def test_a_user_limit_below_the_servers(tgi) -> None:
    text = prose(40)
    (whole,) = extractor(tgi).extract([Document("d", text)])
    (split,) = extractor(tgi, max_input_tokens=300).extract([Document("d", text)])
    assert whole.usage.requests < split.usage.requests
