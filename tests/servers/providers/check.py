"""Whether a provider takes a chat request, and how it will hold the reply to a schema."""

from __future__ import annotations

import json
from typing import Any

from tests.servers.marked import HARD
from tests.servers.providers.rules import Problem, Rules
from tests.servers.strict_schema import problems

# More than any limit.
ENDLESS = 10**6


class Refused(Exception):
    """A request is answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def check(rules: Rules, body: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """How the reply is to be held to which schema: `"guided"`, `"json"`, or anything else for not at all.

    Raises:
        `Refused`: If the provider takes no such body.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise _missing("messages")
    if body.get("model") != rules.model and rules.checks_model:
        message = f"The model `{body.get('model')}` does not exist or you do not have access to it."
        raise Refused(Problem(404, message, code="model_not_found"))
    for name, value in body.items():
        if name in rules.refused:
            raise Refused(rules.refused[name])
        if name in rules.only_defaults and value != (default := rules.only_defaults[name]):
            message = f"Unsupported value: '{name}' does not support {value} with this model. Only the default "
            raise Refused(Problem(400, f"{message}({default}) value is supported.", name, "unsupported_value"))
        if rules.unknown_refused and name not in rules.known and name not in rules.forms:
            raise Refused(Problem(400, f"Unrecognized request argument supplied: {name}"))
    limits = [name for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
    if rules.unknown_refused and len(limits) == 2:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Refused(Problem(400, message, "max_tokens", "invalid_parameter_combination"))
    for name in limits:
        if not isinstance(body[name], int) or body[name] < 1:
            message = f"Invalid '{name}': integer below minimum value."
            raise Refused(Problem(400, message, name, "integer_below_min_value"))
    effort = body.get("reasoning_effort")
    if effort is not None and rules.unknown_refused and effort not in rules.thinks:
        values = ", ".join(f"'{value}'" for value in rules.thinks if value != "default")
        message = f"Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. Supported "
        raise Refused(Problem(400, f"{message}values are: {values}.", "reasoning_effort", "unsupported_value"))
    tier = body.get("service_tier")
    if tier is not None and rules.tiers and tier not in rules.tiers:
        raise Refused(Problem(400, f"Invalid service_tier argument: {tier}", "service_tier", "invalid_value"))
    return _form(rules, body)


def thinking(rules: Rules, body: dict[str, Any], prompt: str, form: str) -> int:
    """How many tokens the model would think before a text that is held to this form."""
    if not rules.reasoning or (form == "guided" and not rules.guided_thinks):
        return 0
    effort = body.get("reasoning_effort", "default")
    switch = body.get(rules.think_switch) if rules.think_switch else None
    if isinstance(switch, dict) and switch.get("enable_thinking", switch.get("thinking")) is False:
        return 0
    if HARD in prompt and effort not in ("none", "minimal"):
        return ENDLESS
    return rules.thinks.get(effort, rules.thinks["default"])


def _form(rules: Rules, body: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """What `response_format`, or a field of the provider's own, asks for."""
    for name in ("structured_outputs", "guided_json"):
        if name in rules.forms and isinstance(body.get(name), dict):
            return rules.forms[name], body[name].get("json") if name == "structured_outputs" else body[name]
    asked = body.get("response_format")
    if asked is None:
        return "free", None
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind not in rules.forms and "*" in rules.forms:
        return rules.forms["*"], None
    if kind not in rules.forms:
        if rules.form_refusal:
            raise Refused(Problem(400, rules.form_refusal))
        names = ", ".join(f"'{name}'" for name in rules.forms if name in ("text", "json_object", "json_schema"))
        message = f"Invalid value: '{kind}'. Supported values are: {names}."
        raise Refused(Problem(400, message, "response_format.type", "invalid_value"))
    schema = None
    if kind == "json_object" and isinstance(asked.get("schema"), dict) and "json_object+schema" in rules.forms:
        kind, schema = "json_object+schema", asked["schema"]
    elif kind == "json_schema":
        schema = _schema(rules, asked.get("json_schema"))
    elif kind == "json" and not isinstance(schema := asked.get("value"), dict):
        raise _missing("value")
    if rules.forms[kind] == "refused":
        at = "response_format.schema"
        raise Refused(Problem(400, f"Unknown parameter: '{at}'.", at, "unknown_parameter"))
    if kind == "json_object" and rules.wants_word_json and "json" not in str(body["messages"]).lower():
        words = "must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        raise Refused(Problem(400, f"'messages' {words}", "messages"))
    return rules.forms[kind], schema


def _schema(rules: Rules, wrapped: Any) -> dict[str, Any]:
    """The schema of `json_schema`, if it is one that the provider takes."""
    name = wrapped.get("name") if isinstance(wrapped, dict) else None
    if not isinstance(name, str) or not name:
        raise _missing("response_format.json_schema.name")
    schema = wrapped.get("schema")
    found = problems(schema) if rules.strict_subset and wrapped.get("strict") else []
    if found:
        message = f"Invalid schema for response_format '{name}': {found[0]}"
        raise Refused(Problem(400, message, "response_format", "invalid_json_schema"))
    for keyword, message in rules.schema_refusals.items():
        if f'"{keyword}":' in json.dumps(schema):
            raise Refused(Problem(400, message))
    return schema or {}


def _missing(name: str) -> Refused:
    return Refused(Problem(400, f"Missing required parameter: '{name}'.", name, "missing_required_parameter"))
