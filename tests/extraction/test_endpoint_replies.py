"""Replies that are no use, or of little."""

from __future__ import annotations

import json

import pytest

from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Usage
from tests.extraction.endpoints import MODELS, PAIRS, completion, extractor
from tests.servers.faults import Fault, FaultyServer


def test_a_server_that_ignores_the_schema_is_told_of(llama, documents, caplog) -> None:
    def without_schema(body: dict) -> dict:
        return {key: value for key, value in body.items() if key != "response_format"}

    with FaultyServer(llama, change_request=without_schema) as server:
        extractions = extractor(server.url, temperature=0.9, max_new_tokens=40).extract(documents[:3])
    assert "ignores the JSON schema" in caplog.text
    for extraction in extractions:
        assert not extraction.pairs
        assert set(extraction.dropped) <= {"not_json", "wrong_schema", "empty_reply", "truncated"}
        assert all(rejection.raw for rejection in extraction.rejected)


def test_a_server_that_refuses_the_schema_is_asked_without(documents, caplog) -> None:
    refusal = Fault(400, body='{"error": "response_format is not supported"}')
    with FaultyServer(pages=MODELS, faults=[*[refusal] * 3, completion("Hello!"), completion()]) as server:
        (extraction,) = extractor(server.url).extract(documents[:1])
        assert [pair.answer for pair in extraction.pairs] == ["Twelve."]
        sent = [seen.body.get("response_format", {}).get("type") for seen in server.chats]
        assert sent == ["json_schema", "json_object", "json_object", None, None], "the third without a schema"
    assert "refuses a JSON schema" in caplog.text


def test_an_invalid_reply_is_asked_for_once_more_and_both_are_counted(documents) -> None:
    with FaultyServer(pages=MODELS, faults=[completion(), completion("Sorry, no."), completion()]) as server:
        (extraction,) = extractor(server.url).extract(documents[:1])
        assert len(extraction.pairs) == 1 and extraction.dropped == {}
        assert extraction.usage == Usage(10, 4, 2)
        first, again = (seen.body["messages"][0]["content"] for seen in server.chats[1:])
        assert again.startswith(first) and len(again) > len(first)


def test_one_repair_and_no_more(documents) -> None:
    with FaultyServer(pages=MODELS, faults=[completion(), *[completion("Sorry, no.")] * 5]) as server:
        (extraction,) = extractor(server.url).extract(documents[:1])
        assert (extraction.dropped, extraction.finish_reason) == ({"not_json": 1}, "stop")
        assert extraction.rejected[0].raw == "Sorry, no."
        assert len(server.chats) == 3 and extraction.usage.requests == 2


def test_a_reply_cut_short_keeps_its_whole_pairs(documents) -> None:
    cut = completion(PAIRS[:-2] + ', {"question": "And how ma', choices=None)
    body = json.loads(cut.body)
    message = {"role": "assistant", "content": PAIRS[:-2] + ', {"question": "And how ma'}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "length"}]
    with FaultyServer(pages=MODELS, faults=[completion(), Fault(body=json.dumps(body))]) as server:
        (extraction,) = extractor(server.url).extract(documents[:1])
    assert extraction.finish_reason == "length"
    assert [pair.answer for pair in extraction.pairs] == ["Twelve."]
    assert extraction.dropped == {"truncated": 1}


def test_broken_pairs_are_counted(documents) -> None:
    reply = '{"pairs": [{"question": "q", "answer": "a"}, {"question": "only"}, 7]}'
    with FaultyServer(pages=MODELS, faults=[completion(), completion(reply)]) as server:
        (extraction,) = extractor(server.url).extract(documents[:1])
    assert len(extraction.pairs) == 1 and extraction.dropped == {"invalid_pair": 2}


def test_odd_but_whole_replies(documents, tmp_path) -> None:
    usages = [
        None,
        {},
        {"prompt_tokens": None},
        {"prompt_tokens": "5", "completion_tokens": True},
        {"prompt_tokens": -1},
    ]
    surrogate = completion(PAIRS.replace("Twelve.", "\\ud83d"))
    odd = [completion(usage=usage) for usage in usages] + [completion(surprise={"a": 1}), surrogate]
    with FaultyServer(pages=MODELS, faults=[completion(), *odd]) as server:
        endpoint = extractor(server.url, concurrency=1, store=tmp_path / "responses.sqlite")
        extractions = endpoint.extract(documents[: len(odd)])
        endpoint.close()
    assert [len(extraction.pairs) for extraction in extractions] == [1] * len(odd)
    for extraction in extractions[: len(usages)]:
        # Where nothing is told the bounds are booked.
        assert extraction.usage.prompt_tokens > 150 and extraction.usage.completion_tokens == 200


def test_an_empty_reply_is_invalid(documents) -> None:
    with FaultyServer(pages=MODELS, faults=[completion(), completion(None), completion("")]) as server:
        (extraction,) = extractor(server.url).extract(documents[:1])
    assert extraction.dropped == {"empty_reply": 1} and extraction.usage.requests == 2


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"message": {"content": None}, "finish_reason": "content_filter"}, "content_filter"),
        ({"message": {"content": '{"pairs": ['}, "finish_reason": "content_filter"}, 'content_filter: {"pairs": ['),
        ({"message": {"content": None, "refusal": "I won't."}, "finish_reason": "stop"}, "refusal: I won't."),
        ({"message": {"content": [{"type": "refusal", "refusal": "No."}]}, "finish_reason": "stop"}, "refusal: No."),
    ],
)
def test_a_refusal_in_place_of_a_reply_is_paid_for_once(choice: dict, said: str, documents, tmp_path) -> None:
    refusal = completion(choices=[{"index": 0, **choice}])
    with FaultyServer(pages=MODELS) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        server.faults = [completion(), refusal, *[completion()] * 3]
        endpoint = extractor(server.url, concurrency=1, store=store)
        first, second = endpoint.extract(documents[:2])
        assert (first.dropped, first.usage) == ({"refused": 1}, Usage(5, 2, 1))
        assert first.rejected[0].raw == said and len(second.pairs) == 1
        assert endpoint.extract(documents[:2]) == [first, second]
        assert len(server.chats) == 3 and store.paid(endpoint.run).usage == Usage(10, 4, 2)


def test_what_a_server_refuses_for_good_costs_that_document_only(tgi, documents, tmp_path) -> None:
    with FaultyServer(tgi) as server, ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = extractor(server.url, concurrency=1, store=store)
        endpoint.check()
        server.faults = [Fault(422, body='{"error": "Input validation error", "error_type": "validation"}')]
        first, second = endpoint.extract(documents[:2])
        assert (first.finish_reason, first.dropped) == ("error", {"refused": 1})
        assert first.rejected[0].raw.startswith("HTTP 422") and "Input validation error" in first.rejected[0].raw
        assert second.finish_reason == "stop"
        sent = len(server.chats)
        assert endpoint.extract(documents[:2]) == [first, second]
        assert len(server.chats) == sent, "a refusal for good is not asked for again"


def test_a_loop_of_blanks_is_told_from_a_reply_that_is_too_long(documents) -> None:
    pairs = '{"pairs": [{"question": "How many?", "answer": "12"}'
    with FaultyServer(pages=MODELS) as server:
        cut = [
            {"index": 0, "message": {"role": "assistant", "content": pairs + end}, "finish_reason": "length"}
            for end in (" \n" * 100, ', {"question": "Who bou')
        ]
        server.faults = [completion(), *(completion(choices=[choice]) for choice in cut)]
        looping, long = extractor(server.url, concurrency=1).extract(documents[:2])
    assert (looping.dropped, long.dropped) == ({"whitespace_loop": 1}, {"truncated": 1})
    assert len(looping.pairs) == len(long.pairs) == 1, "whole pairs are kept"
