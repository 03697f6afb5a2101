"""Grades in the same reply: what is asked, what is kept, and what earlier replies still serve."""

from __future__ import annotations

import json

from equal_hf.extraction.prompts.parse_reply import GRADED_SCHEMA
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.transport.schema_forms import strict_schema
from tests.extraction.endpoints import MODELS, PAIRS, completion, extractor
from tests.servers.faults import FaultyServer

TEXT = "{{ grading }}\n{{ fence }}\n{{ document }}\n{{ fence }}"
GRADED = PromptTemplate(TEXT, grade=True, grade_items=(("What is 2 + 3?", "5"),))
PLAIN = PromptTemplate(TEXT)


def reply(*fits: object) -> str:
    pairs = [{"question": f"How many are {n} apples?", "answer": f"{n}.", "fit": fit} for n, fit in enumerate(fits)]
    return json.dumps({"pairs": pairs})


def test_grades_come_with_the_pairs_in_one_reply(documents) -> None:
    faults = [completion(), completion(reply(3, 0, 7)), completion(PAIRS)]
    with FaultyServer(pages=MODELS, faults=faults) as server:
        endpoint = extractor(server.url, prompt=GRADED, concurrency=1)
        graded, ungraded = endpoint.extract(documents[:2])
        first, asked = server.chats[0].body, server.chats[1].body
        assert endpoint.identity()["prompt_hash"] == GRADED.prompt_hash == graded.pairs[0].prompt_hash
    assert [pair.grade for pair in graded.pairs] == [3, 0, None]
    assert [pair.grade for pair in ungraded.pairs] == [None]
    assert (graded.usage.requests, ungraded.usage.requests, ungraded.dropped) == (1, 1, {})
    assert "What is 2 + 3?" in asked["messages"][0]["content"] and first["response_format"] == asked["response_format"]
    assert '"fit"' in json.dumps(asked["response_format"])


def test_strict_servers_are_asked_for_the_grades_that_there_are() -> None:
    pair = strict_schema(GRADED_SCHEMA)["properties"]["pairs"]["items"]
    assert pair["properties"]["fit"] == {"type": "integer", "enum": [0, 1, 2, 3]}
    assert pair["required"] == ["question", "answer", "fit"] and "minLength" not in json.dumps(pair)


def test_stored_replies_serve_those_who_ask_the_same(documents, tmp_path) -> None:
    """A reply without grades goes on serving where none are asked for; where they are, the document is asked anew."""
    faults = [completion(), completion(reply(2)), completion(), completion(reply(3))]
    with FaultyServer(pages=MODELS, faults=faults) as server:

        def grades(prompt: PromptTemplate) -> list[int | None]:
            endpoint = extractor(server.url, prompt=prompt, store=tmp_path / "responses.sqlite")
            (extraction,) = endpoint.extract(documents[:1])
            endpoint.close()
            return [pair.grade for pair in extraction.pairs]

        assert grades(PLAIN) == [None]  # not asked for, though the model gave one
        assert grades(GRADED) == [3]
        asked = len(server.chats)
        server.faults = [completion(), completion()]
        assert (grades(PLAIN), grades(GRADED)) == ([None], [3])
        assert len(server.chats) == asked + 2  # each start's first contact


def test_second_requests_keep_grades_with_their_pairs(documents) -> None:
    refined = [{"question": "", "answer": ""}, {"question": "How many are 1 apples?", "answer": "One."}]
    refined.append({"question": "How many are 2 apples?", "answer": "Two."})
    faults = [completion(), completion(reply(3, 2, 0)), completion(json.dumps({"pairs": refined}))]
    faults.append(completion('{"scores": [1, 5]}'))
    with FaultyServer(pages=MODELS, faults=faults) as server:
        (extraction,) = extractor(server.url, prompt=GRADED, refine=True, judge=True).extract(documents[:1])
    assert extraction.dropped == {"refined_away": 1, "judged_low": 1}
    assert [(pair.answer, pair.grade) for pair in extraction.pairs] == [("Two.", 0)]
