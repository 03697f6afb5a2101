"""What is read of a chat completion."""

from __future__ import annotations

import pytest

from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.faults import TransportFault
from equal_hf.types import Usage


def read(content: object) -> str:
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    return ChatResponse.read({"choices": [choice], "usage": None}).text


def test_a_content_in_parts_is_joined_without_what_was_thought():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]}
    assert read([thought, {"type": "text", "text": '{"pairs"'}, {"type": "text", "text": ": []}"}]) == '{"pairs": []}'
    assert read([thought]) == read([]) == read([{"type": "text", "text": 7}]) == ""


@pytest.mark.parametrize("content", [7, ["text"], {"type": "text"}])
def test_a_content_of_another_kind_is_no_completion(content):
    with pytest.raises(TransportFault, match="no chat completion"):
        read(content)


@pytest.mark.parametrize("refusal", [None, "", 7, ["no"]])
def test_a_reply_with_an_empty_field_for_a_refusal_is_a_reply(refusal):
    message = {"content": '{"pairs": []}', "refusal": refusal}
    read = ChatResponse.read({"choices": [{"message": message, "finish_reason": "stop"}], "usage": None})
    assert read.text == '{"pairs": []}' and not read.refused


@pytest.mark.parametrize(
    ("usage", "seen"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 6}}, Usage(9, 7, 1, 6, 0)),
        ({"completion_tokens_details": {"reasoning_tokens": 5}}, Usage(9, 7, 1, 0, 5)),
        ({"prompt_cache_hit_tokens": 8, "reasoning_tokens": 2}, Usage(9, 7, 1, 8, 2)),  # DeepSeek; SGLang
        # xAI counts thoughts beside the reply.
        ({"completion_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 21}, Usage(9, 12, 1, 0, 5)),
        ({"prompt_tokens_details": {"cached_tokens": 99}, "completion_tokens_details": 7}, Usage(9, 7, 1, 9, 0)),
        ({"prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": -1}}, Usage(9, 7, 1)),
    ],
)
def test_cached_and_reasoning_tokens_are_counted_within_the_others(usage, seen):
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    counts = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16} | usage
    assert ChatResponse.read({"choices": [choice], "usage": counts}).usage(50, 50) == seen


@pytest.mark.parametrize(
    ("cost", "read"), [(0.25, 0.25), (0, 0.0), (-1, None), (True, None), ("1", None), (1e999, None)]
)
def test_a_providers_own_cost_is_read(cost, read):
    assert ChatResponse.read({"choices": [{"message": {"content": "x"}}], "usage": {"cost": cost}}).cost == read


@pytest.mark.parametrize(
    "message",
    [
        {"content": "x", "reasoning": "Let me see."},
        {"content": "x", "reasoning": None, "reasoning_content": "Let me see."},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]}]},
        {"content": None, "reasoning_content": "Let me see."},
    ],
)
def test_what_a_model_thought_is_kept_apart(message):
    read = ChatResponse.read({"choices": [{"message": message, "finish_reason": "length"}]})
    assert read.reasoning == "Let me see." and read.text == ("x" if message["content"] == "x" else "")


def test_a_provider_that_counts_thoughts_in_the_total_alone():
    counts = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 21}
    answer = {"choices": [{"message": {"content": "x"}}], "usage": counts, "service_tier": "flex"}
    assert ChatResponse.read(answer, thoughts_in_total=True).usage(50, 50) == Usage(9, 12, 1, 0, 5)
    plain = ChatResponse.read(answer)
    assert plain.usage(50, 50) == Usage(9, 7, 1) and plain.tier == "flex"
