"""Whether to send a request again, and when: what the server asks for, else longer each time.

Looked at: tenacity, backoff and stamina repeat a function and sleep in between. Here the wait is the server's, holds
for every request to it, and each attempt is written down before it is sent; what would be left of them is one line.

>>> asked_wait_s({"Retry-After": "0.5"}), asked_wait_s({"x-ratelimit-reset-requests": "1m30s"})
(0.5, 90.0)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

# A server that asks for more is asked again after an hour: the wait may have been shortened, or meant otherwise.
MAX_ASKED_WAIT_S = 3600.0
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?|\.\d+)\s*(ns|us|µs|ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)\s*"
_DURATION = re.compile(rf"(?:{_PART})+", re.IGNORECASE)
# Larger numbers are moments: seconds, or milliseconds, since 1970.
_EPOCH_S, _EPOCH_MS = 1e9, 1e12


def is_transient(status: int) -> bool:
    """Whether an HTTP status is a passing trouble: 408, 424 (TGI: generation failed), 425, 429 and 5xx.

    >>> is_transient(429), is_transient(503), is_transient(422)
    (True, True, False)
    """
    return status in (408, 424, 425, 429) or status >= 500


def asked_wait_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """How long a response asks its client to wait, by the headers that servers and gateways use.

    These are `Retry-After` (RFC 9110, 10.2.3: seconds, or a date; many send fractions), `retry-after-ms`, and
    `x-ratelimit-reset…` in its many forms; of those, the longest that is not known to have something remaining.

    Args:
        headers (`Mapping[str, str]`): The response's headers.
        now (`datetime`, *optional*): The time to measure a date from; the present by default.

    Returns:
        `float`, *optional*: Seconds, an hour at most; `None` where nothing is asked that can be read.

    >>> asked_wait_s({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT"}, datetime(2015, 10, 21, 7, 28, tzinfo=UTC))
    10.0
    >>> asked_wait_s({"x-ratelimit-reset-tokens": "2ms", "x-ratelimit-reset-requests": "6s"})
    6.0
    >>> limits = {"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "6s"}
    >>> asked_wait_s(limits | {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "250ms"})
    0.25
    >>> asked_wait_s({"retry-after": "soon"}) is None
    True
    """
    found = {name.lower(): value.strip() for name, value in headers.items()}
    for name, unit in (("retry-after-ms", "ms"), ("x-ms-retry-after-ms", "ms"), ("retry-after", "")):
        seconds = wait_s(found.get(name, "") + unit, now)
        if seconds is not None:
            return min(seconds, MAX_ASKED_WAIT_S)
    # `RateLimit: "api";r=0;t=55`, as the Hugging Face Hub sends it.
    if (draft := re.search(r"\br=0\b.*\bt=(\d+)", found.get("ratelimit", ""))) is not None:
        return min(float(draft[1]), MAX_ASKED_WAIT_S)
    resets = [wait_s(value, now) for name, value in found.items() if _is_spent(name, found)]
    return min(max(known), MAX_ASKED_WAIT_S) if (known := [one for one in resets if one is not None]) else None


def wait_s(text: str, now: datetime | None = None) -> float | None:
    """Seconds that a text asks to wait: a number, a duration, or a moment; `None` where it is none of these.

    >>> [wait_s(text) for text in ("45.5", "1m30s", "250 ms", "-3", "nan", "")]
    [45.5, 90.0, 0.25, None, None, None]
    """
    text, now = text.strip(), now or datetime.now(UTC)
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text):
        number = float(text)
        if number < _EPOCH_S:
            return number
        return max(0.0, (number / 1000 if number >= _EPOCH_MS else number) - now.timestamp())
    if _DURATION.fullmatch(text):
        return sum(float(number) * _unit_s(unit) for number, unit in re.findall(_PART, text, re.IGNORECASE))
    moment = _moment(text)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def backoff_s(attempt: int, random: Random) -> float:
    """Exponential backoff with full jitter: uniform over 0 … min(30 s, 0.5 s · 2^attempt).

    Args:
        attempt (`int`): How many attempts failed before this wait, less one.
        random (`Random`): Source of the jitter.

    Returns:
        `float`: Seconds.

    >>> all(0 <= backoff_s(attempt, Random(0)) <= 30 for attempt in range(2000))
    True
    """
    return random.uniform(0.0, min(30.0, 0.5 * 2.0 ** min(attempt, 32)))


def _is_spent(name: str, headers: Mapping[str, str]) -> bool:
    """Whether a header tells when a limit is reset, of which nothing is known to remain."""
    if "ratelimit" not in name or "reset" not in name:
        return False
    remaining = headers.get(name.replace("reset", "remaining"), "0")
    return not remaining.isdecimal() or int(remaining) == 0


def _unit_s(unit: str) -> float:
    unit = unit.lower()
    if unit in _UNITS_S:
        return _UNITS_S[unit]
    return _UNITS_S["ms" if unit.startswith("milli") else unit[0]]


def _moment(text: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, OverflowError):
            continue
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return None
