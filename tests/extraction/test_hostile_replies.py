"""No reply, however malformed, raises out of the extractor: every document ends with pairs or a counted reason."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equal_hf.errors import EndpointError
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Allowance, Document, Extraction
from tests.extraction.endpoints import completion, extractor
from tests.extraction.hostile import ANSWERS, COMPLETIONS, CONTENTS
from tests.servers import spawn
from tests.servers.faults import Fault, FaultyServer

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    """A server that answers well unless told otherwise."""
    with spawn("tests.servers.load", "--latency-s", "0") as url, FaultyServer(url) as server:
        yield server


@pytest.fixture(scope="module")
def endpoint(server: FaultyServer, tmp_path_factory) -> EndpointExtractor:
    path = tmp_path_factory.mktemp("hostile") / "responses.sqlite"
    # Nearly everything fails here, and all of it is to be seen.
    ready = extractor(server.url, store=path, max_retries=0, max_error_rate=1.0, timeout_s=10.0, model_revision="main")
    ready.check()
    return ready


def ends_well(server: FaultyServer, endpoint: EndpointExtractor, answers: list[Fault]) -> list[Extraction]:
    """One new document an answer, each asked about once and perhaps once more, under an allowance."""
    documents = [Document(f"d{next(NUMBERS)}", f"Anna buys {next(NUMBERS)} apples.") for _ in answers]
    server.faults = list(answers)
    try:
        extractions = endpoint.extract(documents, Allowance(10**9, 10**9))
    finally:
        server.faults = []
    assert [extraction.document_id for extraction in extractions] == [document.id for document in documents]
    for extraction in extractions:
        assert extraction.pairs or extraction.dropped, "neither pairs nor a reason"
        for text in (text for pair in extraction.pairs for text in (pair.question, pair.answer)):
            text.encode()
            assert not any(unicodedata.category(letter) == "Cc" for letter in text if letter not in "\n\t")
    again = [document for document, kept in zip(documents, extractions, strict=True) if kept.finish_reason != "error"]
    read = endpoint.extract(again)
    assert read == [extraction for extraction in extractions if extraction.finish_reason != "error"], "paid, not kept"
    return extractions


@pytest.mark.parametrize("name", CONTENTS)
def test_contents(name: str, server, endpoint) -> None:
    ends_well(server, endpoint, [completion(CONTENTS[name])])


@pytest.mark.parametrize("place", sorted({name.split()[0] for name in COMPLETIONS}))
def test_completions(place: str, server, endpoint) -> None:
    ends_well(server, endpoint, [answer for name, answer in COMPLETIONS.items() if name.split()[0] == place])


@pytest.mark.parametrize("group", range(8))
def test_answers(group: int, server, endpoint) -> None:
    ends_well(server, endpoint, [answer for name, answer in ANSWERS.items() if crc32(name.encode()) % 8 == group])


def test_after_all_that_a_good_reply_is_read(server, endpoint) -> None:
    (extraction,) = ends_well(server, endpoint, [completion()])
    assert extraction.finish_reason == "stop" and len(extraction.pairs) == 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = st.sampled_from("choices message content role usage prompt_tokens finish_reason pairs question answer".split())
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
# Most of what is random is no completion at all, so most bodies are completions with something random in one place.
BODIES = st.one_of(
    JSON,
    st.builds(lambda value: {"choices": value}, JSON),
    st.builds(lambda value, usage: {"choices": [{"message": value}], "usage": usage}, JSON, JSON),
    st.builds(lambda value: {"choices": [{"message": {"content": json.dumps(value)}}]}, JSON),
    st.builds(lambda value: {"choices": [{"message": {"content": json.dumps({"pairs": value})}}]}, JSON),
    st.builds(
        lambda text, reason: {"choices": [{"message": {"content": text}, "finish_reason": reason}]}, st.text(), JSON
    ),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(BODIES, min_size=1, max_size=12), status=st.sampled_from([200] * 6 + [400, 422, 500]))
def test_any_json(bodies: list[Any], status: int, server, endpoint) -> None:
    ends_well(server, endpoint, [Fault(status, body=json.dumps(body)) for body in bodies])


FIRST = (
    "page",
    "empty",
    "spaces",
    "cut",
    "deep",
    "stream error in 200",
    "status 406",
    "not gzip",
    "bomb",
    "no HTTP",
    "redirect to itself",
)


@pytest.mark.parametrize("name", [*FIRST, "page everywhere"])
def test_at_first_contact_it_is_refused_in_words(name: str, server) -> None:
    """A server that answers like this from the start is no model server, or one that works: nothing else."""
    fault = ANSWERS.get(name, ANSWERS["page"])
    server.faults = [fault] * 3
    server.pages = {"/v1/models": fault, "/info": fault, "/props": fault} if name not in ANSWERS else {}
    try:
        extractor(server.url, max_retries=0, timeout_s=10.0, model="m").check()
    except EndpointError as error:
        assert server.url in str(error)
    finally:
        server.faults, server.pages = [], {}


def test_stored_replies_fit_the_store(endpoint) -> None:
    """Runs last: whatever was stored above can be read by another process."""
    with ResponseStore(endpoint._store.path) as store:
        assert len(store) > len(CONTENTS)
