"""A document that takes much is told of before it is sent."""

from __future__ import annotations

from equal_hf.extraction.requests.chunking import Chunk
from equal_hf.extraction.requests.documents import told_of_size
from equal_hf.extraction.requests.split_text import Span
from equal_hf.types import Allowance


def test_a_document_of_many_parts_is_told_of_with_its_share() -> None:
    chunk = Chunk(Span(0, 9), [], 2_000)
    told = told_of_size("books/all\x1b.txt", [chunk] * 60, Allowance(prompt_tokens=240_000))
    assert told is not None and "60 parts, up to 120,000 prompt tokens, 50% of what was left" in told
    assert "books/all" in told and "\x1b" not in told
    assert told_of_size("a", [chunk] * 3, Allowance(prompt_tokens=240_000)) is None
