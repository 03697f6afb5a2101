"""The text of PDF files; why others give none."""

from __future__ import annotations

import pytest

from equal_hf.corpus.formats import pdf_file
from equal_hf.corpus.formats.html_page import NotReadable
from equal_hf.corpus.formats.pdf_file import pdf_document
from tests.corpus.formats.documents import LINE, encrypted, page, pdf

GOOD = pdf([[LINE, "Second line."], [], ["Last page."]])


def test_the_pages_are_one_text_with_what_the_file_says_of_itself():
    assert pdf_document(GOOD) == {
        "text": f"{LINE}\nSecond line.\n\nLast page.",
        "title": "A title",
        "author": "Ada Example",
        "date": "2024-01-02",
        "pages": 3,
    }
    assert pdf_document(pdf([[LINE]], flate=True))["text"] == LINE


def test_a_file_that_only_takes_a_password_to_be_changed_is_read():
    assert pdf_document(encrypted(GOOD, ""))["text"].startswith(LINE)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (encrypted(GOOD, "secret"), "it is encrypted; save it without its password"),
        (pdf([[], []]), "no text, only pictures.*OCR"),
        (GOOD[: len(GOOD) // 2], "cut off or damaged"),
        (GOOD[:300], "cut off or damaged"),
        (b"%PDF-1.4\n" + bytes(range(256)) * 50, "damaged"),
        (page().encode(), r"it is HTML, .* end in \.html"),
        (b"\0" * 5000, "it is no PDF file"),
        (pdf([["x" * 90_000_000]], flate=True), "page 1: Limit reached while decompressing"),
        (pdf([["\x01\x02\x03\x04\x05" * 30 + "text"]]), "fonts do not say which characters"),
    ],
    ids="encrypted scan half head junk html zeros bomb garbled".split(),
)
def test_a_file_without_readable_text_says_why(file, problem):
    with pytest.raises(NotReadable, match=problem):
        pdf_document(file)


def test_a_page_many_times_ends_at_a_limit(monkeypatch):
    monkeypatch.setattr(pdf_file, "MAX_CHARACTERS", 1000)
    with pytest.raises(NotReadable, match="page 14: more than 1,000 characters"):
        pdf_document(pdf([[LINE]], repeat=50))
