"""Whether to send a request again, and when.

>>> is_transient(429), is_transient(503), is_transient(422)
(True, True, False)
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

MAX_RETRY_AFTER_S = 3600.0


def is_transient(status: int) -> bool:
    """Whether an HTTP status is a passing trouble: 408, 424 (TGI: generation failed), 425, 429 and 5xx."""
    return status in (408, 424, 425, 429) or status >= 500


def retry_after_s(header: str | None, now: datetime | None = None) -> float | None:
    """Read a `Retry-After` header (RFC 9110, 10.2.3): seconds, or a date.

    Args:
        header (`str`, *optional*): The header's value.
        now (`datetime`, *optional*): The time to measure a date from; the present by default.

    Returns:
        `float`, *optional*: Seconds to wait, from 0 to an hour; `None` where the header is missing or unreadable.

    >>> retry_after_s("120")
    120.0
    >>> retry_after_s("Wed, 21 Oct 2015 07:28:10 GMT", datetime(2015, 10, 21, 7, 28, tzinfo=UTC))
    10.0
    >>> retry_after_s("soon") is None
    True
    """
    header = (header or "").strip()
    if header.isascii() and header.isdigit():
        seconds = float(header)
    else:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def backoff_s(attempt: int, random: Random, *, base_s: float = 0.5, cap_s: float = 30.0) -> float:
    """Exponential backoff with full jitter: uniform over 0 … min(cap, base · 2^attempt).

    Args:
        attempt (`int`): How many attempts failed before this wait, less one.
        random (`Random`): Source of the jitter.
        base_s (`float`, *optional*, defaults to `0.5`): Upper end of the first wait.
        cap_s (`float`, *optional*, defaults to `30.0`): Upper end of any wait.

    Returns:
        `float`: Seconds.

    >>> all(0 <= backoff_s(attempt, Random(0)) <= 30 for attempt in range(2000))
    True
    """
    return random.uniform(0.0, min(cap_s, base_s * 2.0 ** min(attempt, 32)))
