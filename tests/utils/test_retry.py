"""Waits that servers ask for, in the forms that they have."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from equal_hf.utils.retry import MAX_ASKED_WAIT_S, asked_wait_s, wait_s

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "45"}, 45.0),
        ({"Retry-After": "0.493"}, 0.493),
        ({"Retry-After": ".5"}, 0.5),
        ({"Retry-After": "2m"}, 120.0),
        ({"Retry-After": "Sun, 01 Mar 2026 12:01:30 GMT"}, 90.0),
        ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "700", "retry-after": "9"}, 0.7),
        ({"x-ratelimit-reset-requests": "1m30s"}, 90.0),
        ({"x-ratelimit-reset-requests": "2ms"}, 0.002),
        ({"X-RateLimit-Reset-Tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-reset": "12.5"}, 12.5),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 20)}, 20.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() * 1000) + 20_000)}, 20.0),
        ({"anthropic-ratelimit-requests-reset": "2026-03-01T12:00:07Z"}, 7.0),
        ({"x-ratelimit-reset-requests": "1h", "x-ratelimit-remaining-requests": "3"}, None),
        (
            {
                "x-ratelimit-reset-requests": "1h",
                "x-ratelimit-remaining-requests": "3",
                "x-ratelimit-reset-tokens": "4s",
            },
            4.0,
        ),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=10;t=55'}, None),
        ({"Retry-After": "9" * 300}, MAX_ASKED_WAIT_S),
        ({"Retry-After": "tomorrow"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan", "x-ratelimit-reset": "inf"}, None),
        ({}, None),
    ],
)
def test_what_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    found = asked_wait_s(headers, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("13s", 13.0),
        ("1h2m3s", 3723.0),
        ("2 minutes", 120.0),
        ("500 milliseconds", 0.5),
        ("1 day", 86400.0),
        ("s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert wait_s(text, NOW) == seconds
