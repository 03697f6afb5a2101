"""OpenAI's published description of its API, to hold bodies and replies against.

    validate = Description.load().validate
    validate("CreateChatCompletionRequest", body)

Fields that the description does not name are refused: it says nothing of them, and the server refuses them too.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.servers import ROOT

API = Path(os.environ.get("EQUAL_DATA", ROOT.parent / "shared" / "data")) / "openai_openapi.json"
needs_description = pytest.mark.skipif(
    not API.exists(), reason=f"needs OpenAI's API description at {API}; set EQUAL_DATA"
)
_PREFIX = "#/components/schemas/"
# A component as a part of another, which may name further fields.
_PART = "~part"


@dataclass(frozen=True)
class Description:
    """Its schema components, as JSON Schema."""

    components: dict[str, Any]

    @classmethod
    def load(cls) -> Description:
        found = json.loads(API.read_text())["components"]["schemas"]
        whole = {name: _translated(schema) for name, schema in found.items()}
        parts = {name + _PART: _translated(schema, part=True) for name, schema in found.items()}
        return cls(whole | parts)

    def validate(self, component: str, value: Any) -> None:
        """Check a value against a component by its name.

        Raises:
            `jsonschema.ValidationError`: If it is none.
        """
        schema = {"$ref": _PREFIX + component, "components": {"schemas": self.components}}
        jsonschema.Draft202012Validator(schema).validate(value)


def _translated(node: Any, *, part: bool = False) -> Any:
    """A schema with OpenAPI's `nullable` read as JSON Schema, and its objects closed."""
    if isinstance(node, list):
        return [_translated(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        reference = {"$ref": node["$ref"] + (_PART if part else "")}
        return {"anyOf": [reference, {"type": "null"}]} if node.get("nullable") is True else reference
    # What stands under `properties` are names of fields, which may be called like a keyword.
    found = {
        key: {name: _translated(field) for name, field in value.items()}
        if key == "properties"
        else [_translated(branch, part=True) for branch in value]
        if key == "allOf"
        else _translated(value)
        for key, value in node.items()
        if key not in ("nullable", "example", "default", "enum")
    }
    if "enum" in node:
        found["enum"] = node["enum"]
    if not part and "additionalProperties" not in node and ("properties" in node or "allOf" in node):
        found["unevaluatedProperties"] = False
    return {"anyOf": [found, {"type": "null"}]} if node.get("nullable") is True else found
