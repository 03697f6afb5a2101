"""Which parameter an error refuses, in the words of many servers."""

from __future__ import annotations

import json

import pytest

from equal_hf.extraction.transport.faults import judge
from equal_hf.extraction.transport.refused_parameters import refused_parameter


def error(message: str, **more: object) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", **more}})


INSTEAD = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
DEFAULT = "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) is supported."


@pytest.mark.parametrize(
    ("status", "text", "parameter"),
    [
        (400, error(INSTEAD, param="max_tokens", code="unsupported_parameter"), "max_tokens"),
        (400, error(INSTEAD), "max_tokens"),
        (400, error(DEFAULT, param="temperature", code="unsupported_value"), "temperature"),
        (400, error("Unrecognized request argument supplied: seed"), "seed"),
        (400, error("Invalid value", param="response_format.type", code="unsupported_value"), "response_format"),
        (400, '[{"error": {"code": 400, "message": "Unknown name \\"seed\\": Cannot find field."}}]', "seed"),
        (422, '{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]}', "seed"),
        (422, '{"message": {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}}', "seed"),
        (400, '{"error": "temperature is deprecated for this model"}', "temperature"),
        (400, error("Unknown parameter: 'seed'."), "seed"),
        (400, "got an unexpected keyword argument 'seed'", "seed"),
        (400, "max_completion_tokens is not supported", "max_completion_tokens"),
        # About something else:
        (400, error("max_tokens is too large: 99999. This model supports at most 16384.", param="max_tokens"), None),
        (400, error("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p"), None),
        (400, error("temperature must be between 0 and 2"), None),
        (500, error(DEFAULT), None),
        (400, error("Unexpected token near 'seed'"), None),
        (400, error("Unknown error while reading: plant one seed"), None),
        (400, error("This is not allowed: " + "so it goes, " * 10 + "they planted a seed"), None),
        (400, "unsupported " + "x" * 1000 + " seed", None),
        (400, "[" * 100_000, None),
        (400, "", None),
    ],
)
def test_a_refused_parameter_is_named(status: int, text: str, parameter: str | None) -> None:
    assert refused_parameter(status, text) == parameter
    if parameter is not None:
        assert judge(status, {}, text).parameter == parameter
