"""Replies that are read as they are written: ended early, counted as they were used, stored once and for all."""

from __future__ import annotations

import json
import time
from contextlib import closing

import pytest

from equal_hf.extraction.budget import Prices
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Document
from tests.extraction.endpoints import extractor
from tests.servers.streaming import Reply, StreamingServer

ENTRY = '{"question": "What is a set?", "answer": "A collection of things."}'
LOOP = [*'{"pairs": [', *[letter for _ in range(40) for letter in ENTRY + ", "]]
GOOD = json.dumps({"pairs": [{"question": "How many apples?", "answer": "Twelve."}]})
DOCUMENTS = [Document("d0", "Anna buys 12 apples.")]


def extract(server: StreamingServer, tmp_path, **options):
    with closing(extractor(server.url, store=tmp_path / "store.sqlite", **options)) as endpoint:
        extractions = endpoint.extract(DOCUMENTS)
        return extractions[0], endpoint.paid(), endpoint.describe()


@pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])
def test_a_reply_that_repeats_itself_is_ended_and_counts_what_was_written(dialect, tmp_path):
    with StreamingServer([Reply(LOOP)], dialect, pause_s=0.0005) as server:
        extraction, paid, described = extract(server, tmp_path, prices=Prices(1.0, 2.0), max_new_tokens=4000)
        sent = server.sent[0]
        # The same again is served from the store.
        again, paid_again, _ = extract(server, tmp_path, prices=Prices(1.0, 2.0), max_new_tokens=8000)
    assert described["endpoints"][0]["streamed"]
    assert 4 * len(ENTRY) < extraction.usage.completion_tokens <= sent < len(LOOP) / 2
    assert extraction.usage.prompt_tokens == 100
    assert [pair.question for pair in extraction.pairs] == ["What is a set?"]
    assert extraction.dropped == {"stopped_early": 1, "repeated_pair": 3} and extraction.finish_reason == "stop"
    assert paid.usage == extraction.usage and paid.cost == Prices(1.0, 2.0).cost(extraction.usage)
    assert again == extraction and paid_again == paid and len(server.sent) == 1
    with ResponseStore(tmp_path / "store.sqlite") as store:
        reply = store.get(extraction.pairs[0].response_key, 1)
    assert reply.finish_reason == "stopped_early" and reply.text.endswith(ENTRY) and reply.text.count(ENTRY) == 4


def test_where_usage_is_not_told_an_ended_reply_counts_as_its_worst_case(tmp_path):
    with StreamingServer([Reply(LOOP)], "openai", pause_s=0.0005) as server:
        extraction, paid, described = extract(server, tmp_path, stream="true", max_new_tokens=3000)
        assert not server.bodies[0].get("stream") and server.bodies[-1]["stream_options"] == {"include_usage": True}
        assert server.sent[0] < len(LOOP) / 2
    assert described["endpoints"][0]["streamed"] and extraction.usage.completion_tokens == 3000
    assert paid.usage == extraction.usage


def test_a_whole_reply_is_as_if_it_came_in_one_piece(tmp_path):
    pieces = [GOOD[start : start + 3] for start in range(0, len(GOOD), 3)]
    with StreamingServer([Reply(pieces)]) as server:
        extraction, _, _ = extract(server, tmp_path)
    assert [pair.answer for pair in extraction.pairs] == ["Twelve."] and not extraction.rejected
    assert extraction.usage.completion_tokens == len(pieces)


def test_a_tool_call_in_place_of_a_reply_is_read(tmp_path):
    calls = [
        {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": part}}]}}]} for part in (GOOD[:9], GOOD[9:])
    ]
    events = [b"data: " + json.dumps(call).encode() + b"\n\n" for call in calls]
    with StreamingServer([Reply(raw=[*events, b"data: [DONE]\n\n"])]) as server:
        extraction, _, _ = extract(server, tmp_path)
    assert [pair.answer for pair in extraction.pairs] == ["Twelve."]


def test_what_is_behind_a_finished_object_is_not_read(tmp_path):
    with StreamingServer([Reply([*GOOD, *"\nI hope that helps. " * 40])], pause_s=0.0005) as server:
        extraction, _, _ = extract(server, tmp_path)
        assert server.sent[0] < len(GOOD) + 300
    assert len(extraction.pairs) == 1 and not extraction.rejected and extraction.finish_reason == "stop"


def test_a_model_that_thinks_in_circles_is_ended(tmp_path):
    thoughts = list("Wait, let me look at that again. " * 60)
    with StreamingServer([Reply(thoughts, name="reasoning")], pause_s=0.0005) as server:
        extraction, _, _ = extract(server, tmp_path)
        assert server.sent[0] < len(thoughts) / 2
    assert extraction.dropped == {"stopped_early": 1}


@pytest.mark.parametrize(
    "broken",
    [
        Reply(LOOP[:40], breaks_after=20),
        Reply(raw=[b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n']),
        Reply(raw=[b'data: {"error": {"message": "CUDA out of memory", "code": 500}}\n\n', b"data: [DONE]\n\n"]),
        Reply(raw=[b"data: {no json\n\n"]),
        Reply(raw=[b"data: [1, 2]\n\n"]),
        Reply(raw=[b'data: {"error": {"code": 5}, "choices": [{"delta": {"tool_calls": [3], "content": {}}}]}\n\n']),
        Reply(
            raw=[b'data: {"usage": 3, "timings": {"prompt_n": 1}, "choices": [{"delta": {"tool_calls": 5}}, 7]}\n\n']
        ),
    ],
)
def test_a_stream_that_breaks_is_asked_for_again(broken, tmp_path):
    with StreamingServer([broken, Reply([GOOD])]) as server:
        extraction, _, _ = extract(server, tmp_path)
    assert [pair.answer for pair in extraction.pairs] == ["Twelve."] and len(server.sent) == 2


def test_a_server_that_refuses_streams_is_asked_without(tmp_path, caplog):
    with StreamingServer([Reply([GOOD])], refuses="stream_options") as server:
        extraction, _, described = extract(server, tmp_path)
        assert ["stream" in body for body in server.bodies[-2:]] == [True, False]
    assert extraction.finish_reason == "stop" and not described["endpoints"][0]["streamed"]
    assert any("refuses `stream_options`: replies are read in one piece" in line for line in caplog.messages)


def test_it_can_be_turned_off(tmp_path):
    with StreamingServer([Reply(LOOP)]) as server:
        _, _, described = extract(server, tmp_path, stream=False)
        assert not any(body.get("stream") for body in server.bodies)
    assert not described["endpoints"][0]["streamed"]


def test_a_real_server_stops_generating_when_a_reply_is_ended(llama, tmp_path):
    """The tiny model writes at random, so its words are watched by one who ends every reply at once."""
    import asyncio
    import urllib.request

    from equal_hf.extraction.transport.client import ChatClient
    from equal_hf.extraction.transport.streamed_chat import Stream
    from equal_hf.extraction.transport.url import Address

    class AtOnce:
        end = 3
        text = ""

        def feed(self, piece: str) -> str | None:
            self.text += piece
            return "repeats" if len(self.text) >= 3 else None

    async def ask():
        client = ChatClient(Address.parse(llama), 60.0)
        messages = [{"role": "user", "content": "Go on and on."}]
        body = {"messages": messages, "model": "m", "max_tokens": 1500, "temperature": 1.0, "ignore_eos": True}
        response = await client.chat(body, Stream("llama.cpp", AtOnce))
        await client.close()
        return response

    response = asyncio.run(ask())
    assert response.ended_early and len(response.text) == 3
    assert 0 < response.completion_tokens < 100 and response.prompt_tokens > 0
    # It would go on for seconds; it notices between two tokens.
    deadline = time.monotonic() + 1.0
    while any(slot["is_processing"] for slot in json.load(urllib.request.urlopen(f"{llama}/slots", timeout=10))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
