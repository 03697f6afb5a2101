"""A document that hangs, fills the memory or crashes its parser takes nothing else with it."""

from __future__ import annotations

import os

import pytest

from equal_hf.corpus.formats import parser_process
from equal_hf.corpus.formats.html_page import NotReadable
from equal_hf.corpus.formats.parser_process import ParserLimits, end_parsers, in_order, parse
from tests.corpus.formats.documents import LINE, page, pdf

LIMITS = ParserLimits(seconds=60)
GOOD = page().encode()
# One element with so many attributes that the parser compares each with all.
SLOW = b"<p " + b" ".join(b"a%d=''" % number for number in range(200_000)) + b">" + LINE.encode()


@pytest.fixture(autouse=True, scope="module")
def none_is_left():
    yield
    end_parsers()
    assert not parser_process._alive


def pids():
    return {worker._process.pid for worker in parser_process._alive}


def test_what_takes_too_long_ends_alone():
    with pytest.raises(NotReadable, match=r"more than 0\.2 s to read \(`parse_timeout_s`\)"):
        parse("html", SLOW, ParserLimits(seconds=0.2))
    assert LINE in parse("html", GOOD, LIMITS)["text"]


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="only Linux limits the memory of a process")
def test_what_takes_too_much_memory_ends_alone():
    assert LINE in parse("html", GOOD, LIMITS)["text"]
    with pytest.raises(NotReadable, match=r"more than 0\.03 GB of memory to read \(`max_parse_bytes`\)"):
        parse("pdf", pdf([[LINE + "x" * 40_000_000]], flate=True), ParserLimits(seconds=60, memory=30_000_000))
    assert LINE in parse("html", GOOD, LIMITS)["text"]


def test_a_crash_is_tried_once_more_in_a_new_process_and_told():
    parse("html", GOOD, LIMITS)
    before = pids()
    for worker in list(parser_process._alive):
        worker._process.kill()
    assert LINE in parse("html", GOOD, LIMITS)["text"]  # earlier documents were to blame
    assert pids() and not pids() & before


def test_what_a_document_says_of_the_machine_is_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    end_parsers()
    parse("html", GOOD, LIMITS)
    for pid in pids():
        with open(f"/proc/{pid}/environ", "rb") as environment:
            assert b"hf_secret" not in environment.read()


def test_results_come_in_order_from_several_processes(tmp_path):
    paths = [tmp_path / f"{number}.pdf" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(pdf([[f"{LINE} {number}"]] * (12 - number)))
    found = in_order(lambda path: parse("pdf", str(path), LIMITS)["pages"], paths, 2)
    assert list(found) == list(range(12, 0, -1))


def test_who_stops_listening_waits_for_nothing():
    def slow(number):
        return parse("html", SLOW if number else GOOD, LIMITS)

    results = in_order(slow, range(8), 2)
    assert LINE in next(results)["text"]
    results.close()
    assert not pids()


def test_an_error_of_one_ends_the_others():
    with pytest.raises(NotReadable, match="no PDF file"):
        list(in_order(lambda number: parse("pdf", b"nothing" if number == 1 else pdf([[LINE]]), LIMITS), range(9), 2))
