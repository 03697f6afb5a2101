"""The forms in which servers take a JSON schema, and which are tried first with which kind of server.

| form | field | who heeds it |
|---|---|---|
| `json_schema` | `response_format: {"type": "json_schema", "json_schema": …}` | OpenAI, and most today |
| `json_object` | `response_format: {"type": "json_object", "schema": …}` | llama.cpp, and some hosted services |
| `structured_outputs` | `structured_outputs: {"json": …}` | vLLM |
| `json` | `response_format: {"type": "json", "value": …}` | Text Generation Inference |
| `json_mode` | `response_format: {"type": "json_object"}` | DeepSeek, some models of Groq: JSON, whatever is in it |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMA_FIELDS = ("response_format", "structured_outputs")
_LADDERS = {
    "tgi": ("json",),
    "llama.cpp": ("json_object", "json_schema"),
    "vllm": ("structured_outputs", "json_schema"),
    "sglang": ("json_schema",),
    "ollama": ("json_schema",),
    "openai": ("json_schema", "json_object"),
}
# All that OpenAI's strict subset and those of Azure and Groq have in common; the bounds of lengths are not among it.
_STRICT = {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "description"}
_NAME = "reply"
JSON_MODE = "json_mode"  # where no form is taken; the schema is not sent, so that it is no part of a reply's key


def schema_forms(dialect: str) -> tuple[str, ...]:
    """The forms that a server of this dialect may take, in the order in which they are tried.

    >>> schema_forms("openai")
    ('json_schema', 'json_object')
    """
    return _LADDERS[dialect]


def guided(form: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Body fields that ask for a reply along a JSON schema.

    Args:
        form (`str`): One of [`schema_forms`].
        schema (`Mapping[str, Any]`): The schema.

    >>> guided("structured_outputs", {"type": "object"})
    {'structured_outputs': {'json': {'type': 'object'}}}
    """
    if form == JSON_MODE:
        return {"response_format": {"type": "json_object"}}
    if form == "json":
        # TGI compiles a schema to an automaton, where each repetition of a bound is another state.
        return {"response_format": {"type": "json", "value": _without(schema, ("maxItems", "maxLength"))}}
    if form == "structured_outputs":
        return {"structured_outputs": {"json": schema}}
    if form == "json_object":
        return {"response_format": {"type": "json_object", "schema": schema}}
    wrapped = {"name": _NAME, "strict": True, "schema": strict_schema(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": wrapped}}


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema within OpenAI's strict subset: every property required, no others allowed, no bounds of lengths.

    >>> strict_schema({"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}})["required"]
    ['a']
    """
    strict = {name: value for name, value in schema.items() if name in _STRICT}
    if isinstance(properties := strict.get("properties"), Mapping):
        strict["properties"] = {name: strict_schema(one) for name, one in properties.items()}
        strict |= {"required": list(properties), "additionalProperties": False}
    if isinstance(items := strict.get("items"), Mapping):
        strict["items"] = strict_schema(items)
    if isinstance(branches := strict.get("anyOf"), list):
        strict["anyOf"] = [strict_schema(branch) for branch in branches]
    return strict


def _without(schema: Any, keywords: tuple[str, ...]) -> Any:
    if isinstance(schema, Mapping):
        return {key: _without(value, keywords) for key, value in schema.items() if key not in keywords}
    return schema
