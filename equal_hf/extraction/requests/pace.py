"""What a round of extraction waits for, how fast it goes, and how long the rest takes, in one line."""

from __future__ import annotations

import time
from collections.abc import Sequence

from equal_hf.extraction.transport.endpoint_state import EndpointState
from equal_hf.utils.waiting import duration


def pace(done: int, total: int, seconds: float) -> str:
    """How far a round is, and how long the rest takes at its speed.

    Args:
        done (`int`): Documents done.
        total (`int`): Documents in all.
        seconds (`float`): Time that they took.

    >>> pace(3, 36, 250.0)
    '3 of 36 documents in 4 min 10 s; the rest at this speed: 45 min 50 s'
    >>> pace(0, 36, 12.0)
    '0 of 36 documents in 12 s'
    """
    text = f"{done:,} of {total:,} documents in {duration(seconds)}"
    return f"{text}; the rest at this speed: {duration((total - done) * seconds / done)}" if done else text


def waits_for(endpoints: Sequence[EndpointState]) -> str:
    """Which endpoints are waited for, and why.

    Args:
        endpoints (`Sequence[EndpointState]`): The endpoints.
    """
    now, reasons = time.monotonic(), []
    for endpoint in endpoints:
        if endpoint.state == "lost":
            continue
        about = [endpoint.state] if endpoint.state != "up" else []
        if (pause_s := endpoint.resume_at_s - now) >= 1:
            about.append(f"asked for a pause of {duration(pause_s)} more")
        if in_flight := endpoint.concurrency.in_flight:
            about.append(f"{in_flight:,} under way, the first for {duration(endpoint.oldest_s(now))}")
        reasons.append(f"{endpoint.client.address.shown} ({', '.join(about) or 'idle'})")
    more = f", and {len(reasons) - 2} more" if len(reasons) > 2 else ""
    return f"waiting for {', '.join(reasons[:2])}{more}"
