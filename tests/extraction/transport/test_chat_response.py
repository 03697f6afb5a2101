"""What is read of a chat completion."""

from __future__ import annotations

import pytest

from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.faults import TransportFault


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
