"""The forms in which a schema is sent."""

from __future__ import annotations

import jsonschema
import pytest

from equal_hf.extraction.prompts.parse_reply import PAIRS_SCHEMA
from equal_hf.extraction.prompts.refine_judge import JUDGE, REFINE
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.transport.dialects import DIALECTS
from equal_hf.extraction.transport.schema_forms import guided, schema_forms, strict_schema
from tests.servers.strict_schema import problems

GRADED = PromptTemplate(grade=True, grade_items=(("What is 2 + 3?", "5"),)).schema
BOUNDS = ("minLength", "maxLength", "minItems", "maxItems")


PAIR = {"question": "q", "answer": "a"}


@pytest.mark.parametrize(
    ("schema", "reply"),
    [
        (PAIRS_SCHEMA, {"pairs": [PAIR]}),
        (GRADED, {"pairs": [PAIR | {"fit": 3}]}),
        (REFINE.schema, {"pairs": [PAIR]}),
        (JUDGE.schema, {"scores": [1, 5]}),
    ],
)
def test_what_is_sent_as_strict_is_legal_and_takes_what_the_schema_takes(schema: dict, reply: dict) -> None:
    assert any(f"'{bound}'" in str(schema) for bound in BOUNDS), "else this shows nothing"
    sent = guided("json_schema", schema)["response_format"]["json_schema"]
    assert sent["strict"] is True and problems(sent["schema"]) == []
    assert not any(bound in str(sent["schema"]) for bound in BOUNDS), "which Azure and Groq refuse"
    jsonschema.validate(reply, schema)
    jsonschema.validate(reply, sent["schema"])


def test_a_schema_is_made_strict_all_the_way_down() -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}}
    inner = {"anyOf": [loose, {"type": "null"}], "default": None}
    strict = strict_schema({"type": "object", "properties": {"l": {"type": "array", "items": inner}}})
    assert problems(loose) and problems(strict) == []
    assert strict["properties"]["l"]["items"]["anyOf"][0]["required"] == ["a"]


def test_every_dialect_has_forms_and_each_carries_the_schema() -> None:
    for dialect in DIALECTS:
        for form in schema_forms(dialect):
            assert "pairs" in str(guided(form, PAIRS_SCHEMA)), (dialect, form)
