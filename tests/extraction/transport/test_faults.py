"""What an error is, by what it says before its number."""

from __future__ import annotations

import json

import pytest

from equal_hf.extraction.transport.faults import Blocked, Refusal, TransportFault, judge, judge_error
from equal_hf.types import Usage


def error(message: str, **fields: object) -> str:
    return json.dumps({"error": {"message": message, **fields}})


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (413, "<html>413 Request Entity Too Large</html>"),
        (400, error("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens")),
        (400, error("the request exceeds the available context size", type="exceed_context_size_error")),
        (400, error("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error")),
        (
            422,
            '{"error": "Input validation error: `inputs` must have less than 9 tokens", "error_type": "validation"}',
        ),
        (422, '{"error": "Template error: roles must alternate", "error_type": "template_error"}'),
        (500, '{"error": {"message": "Jinja Exception: Conversation roles must alternate user/assistant"}}'),
        (400, error("The response was filtered", code="content_filter")),
        (403, error("Your chosen model requires moderation on its input, which was flagged")),
        (
            429,
            error("Request too large for model in organization o on tokens per min (TPM): Limit 6000, Requested 9000"),
        ),
    ],
)
def test_what_is_the_document_s_own(status: int, text: str) -> None:
    assert isinstance(judge(status, {}, text), Refusal)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (402, ""),
        (402, '{"error": "You have exceeded your monthly included credits for Inference Providers."}'),
        (429, error("You exceeded your current quota, please check your plan.", code="insufficient_quota")),
        (400, error("Billing hard limit has been reached", code="billing_hard_limit_reached")),
        (400, error("Your credit balance is too low to access the API.", type="invalid_request_error")),
        (401, error("quota exhausted", code="insufficient_quota")),
        (403, '{"error": "Your team has either used all available credits or reached its monthly spending limit."}'),
        (403, error("Sorry, your account balance is insufficient")),
        (412, '{"error": {"message": "Account suspended: monthly spend limit exceeded"}}'),
        (400, '{"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}'),
    ],
)
def test_what_is_about_money(status: int, text: str) -> None:
    problem = judge(status, {}, text)
    assert isinstance(problem, Blocked) and "no money or quota left" in str(problem)


@pytest.mark.parametrize(
    "status", [408, 409, 415, 421, 423, 424, 425, 429, 498, 499, 500, 502, 503, 504, *range(520, 530)]
)
def test_what_passes(status: int) -> None:
    problem = judge(status, {"retry-after": "0.5"}, "<html>busy</html>")
    assert isinstance(problem, TransportFault) and problem.retry_after_s == 0.5
    assert problem.maybe_billed is (status in (408, 504, 524)), "somebody waited for a generation in vain"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (
            '[{"error": {"status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota, check your plan '
            'and billing details", "details": [{"retryDelay": "13s"}]}}]',
            13.0,
        ),
        (error("Rate limit reached for m. Please try again in 1m12.5s. Visit our site."), 72.5),
        (error("Too many requests, retry after 3 seconds"), 3.0),
    ],
)
def test_a_rate_limit_that_names_its_wait_is_not_about_money(text: str, seconds: float) -> None:
    problem = judge(429, {}, text)
    assert isinstance(problem, TransportFault) and problem.retry_after_s == seconds


@pytest.mark.parametrize(
    ("status", "text"),
    [(400, "Bad Request"), (400, ""), (422, "{}"), (406, "no"), (418, "teapot"), (403, "<html>Blocked</html>")],
)
def test_what_names_no_cause_is_no_refusal(status: int, text: str) -> None:
    problem = judge(status, {}, text)
    assert isinstance(problem, TransportFault) and problem.kind == "odd"


def test_a_document_that_a_server_quotes_tells_nothing() -> None:
    quoted = {
        "detail": [{"msg": "field required", "input": "Your credit balance is too low. The prompt is too long."}]
    }
    problem = judge(422, {}, json.dumps(quoted))
    assert isinstance(problem, TransportFault) and problem.kind == "odd"


def test_errors_inside_of_a_200() -> None:
    limited = judge_error({"code": 429, "message": "Provider is rate limited, try again in 2s"}, None)
    assert isinstance(limited, TransportFault)
    assert (limited.kind, limited.maybe_billed, limited.retry_after_s) == ("busy", False, 2.0)
    assert isinstance(judge_error({"code": 402, "message": "Insufficient credits"}, None), Blocked)
    assert isinstance(judge_error({"message": "maximum context length is 4096 tokens", "code": 400}, None), Refusal)
    unknown = judge_error("upstream went away", Usage(7, 3, 1))
    assert isinstance(unknown, TransportFault) and unknown.maybe_billed and unknown.usage == Usage(7, 3, 1)
