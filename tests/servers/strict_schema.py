"""OpenAI's rules for a JSON schema with `strict: true`, from its guide to structured outputs.

>>> problems({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
["In context=(), 'additionalProperties' is required to be supplied and to be false."]
"""

from __future__ import annotations

from typing import Any

# By type, the keywords that constrain a value. What stands in neither list is not permitted.
_KEYWORDS = {
    "string": {"pattern", "format"},
    "number": {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"},
    "integer": {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"},
    "boolean": set(),
    "null": set(),
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
}
_EVERYWHERE = {"type", "enum", "const", "anyOf", "$ref", "$defs", "definitions", "description", "title"}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
MAX_DEPTH, MAX_PROPERTIES, MAX_ENUM = 10, 5000, 1000


def problems(schema: Any) -> list[str]:
    """What OpenAI would refuse a strict schema for, in its words; empty where it takes it."""
    if not isinstance(schema, dict):
        return ["schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."]
    if schema.get("type") != "object" or "anyOf" in schema:
        return [f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."]
    counts = {"properties": 0, "enum": 0}
    found = _problems(schema, (), 1, counts)
    if counts["properties"] > MAX_PROPERTIES:
        found.append(f"schema has {counts['properties']} properties, more than {MAX_PROPERTIES}.")
    if counts["enum"] > MAX_ENUM:
        found.append(f"schema has {counts['enum']} enum values, more than {MAX_ENUM}.")
    return found


def _problems(schema: Any, path: tuple[str, ...], depth: int, counts: dict[str, int]) -> list[str]:
    where = f"In context={path}, "
    if not isinstance(schema, dict):
        return [f"{where}schema must be an object."]
    if depth > MAX_DEPTH:
        return [f"{where}schema exceeds {MAX_DEPTH} levels of nesting."]
    found = []
    types = schema.get("type")
    types = [types] if isinstance(types, str) else types
    if types is None:
        types = []
        if not {"anyOf", "$ref", "enum", "const"} & set(schema):
            found.append(f"{where}schema must have a 'type' key.")
    unknown = [one for one in types if one not in _KEYWORDS]
    found += [f"{where}'{one}' is not a valid type." for one in unknown]
    allowed = _EVERYWHERE.union(*(_KEYWORDS.get(one, set()) for one in types))
    found += [f"{where}'{keyword}' is not permitted." for keyword in schema if keyword not in allowed]
    counts["enum"] += len(schema.get("enum") or ())
    if schema.get("format", "date") not in _FORMATS:
        found.append(f"{where}'{schema['format']}' is not a valid format.")
    if "object" in types:
        found += _object(schema, path, depth, counts)
    if "array" in types:
        if "items" not in schema:
            found.append(f"{where}array schema missing items.")
        else:
            found += _problems(schema["items"], (*path, "items"), depth + 1, counts)
    for index, branch in enumerate(schema.get("anyOf") or ()):
        found += _problems(branch, (*path, "anyOf", str(index)), depth + 1, counts)
    for name, branch in (schema.get("$defs") or schema.get("definitions") or {}).items():
        found += _problems(branch, (*path, "$defs", name), depth + 1, counts)
    return found


def _object(schema: dict[str, Any], path: tuple[str, ...], depth: int, counts: dict[str, int]) -> list[str]:
    where = f"In context={path}, "
    found = []
    fields = schema.get("properties") or {}
    counts["properties"] += len(fields)
    if schema.get("additionalProperties") is not False:
        found.append(f"{where}'additionalProperties' is required to be supplied and to be false.")
    required = set(schema.get("required") or ())
    if missing := sorted(set(fields) - required):
        found.append(
            f"{where}'required' is required to be supplied and to be an array including every key in properties. "
            f"Missing '{missing[0]}'."
        )
    if extra := sorted(required - set(fields)):
        found.append(f"{where}'required' names '{extra[0]}', which is not in properties.")
    for name, field in fields.items():
        found += _problems(field, (*path, "properties", name), depth + 1, counts)
    return found
