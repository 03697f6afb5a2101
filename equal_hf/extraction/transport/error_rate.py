"""When to stop: the share of requests that keep failing, over the last so many.

A fault by itself says little: servers refuse, restart and drop connections, and the next attempt goes through. What
counts is a request that failed three times in a row; while it goes on failing, every further attempt counts again.

>>> failures = ErrorRateBreaker(share=0.5, size=4)
>>> for reason in (None, "HTTP 500", "HTTP 500", "HTTP 500"):
...     failures.add(reason)
>>> failures.tripped()
'75 % of the last 4 requests failed: 3 × HTTP 500'
"""

from __future__ import annotations

from collections import Counter, deque

# Faults in a row that say nothing of an endpoint: restarts and dropped connections take one or two attempts.
PATIENT_ATTEMPTS = 2
# What fits into a message that is read.
_SHOWN_REASONS = 3
_REASON_CHARACTERS = 160


class ErrorRateBreaker:
    """Outcomes of the last requests.

    Args:
        share (`float`): Failures above this share are too many; 1 allows any number.
        size (`int`): Requests that are looked at; fewer prove nothing.
    """

    def __init__(self, share: float, size: int) -> None:
        self.share = share
        self._outcomes: deque[str | None] = deque(maxlen=size)

    def add(self, reason: str | None) -> None:
        """Take in an outcome.

        Args:
            reason (`str`, *optional*): Why a request failed; `None` for one that was answered.
        """
        self._outcomes.append(reason)

    def clear(self) -> None:
        """Forget all outcomes."""
        self._outcomes.clear()

    def tripped(self, min_failed: int | None = None, what: str = "requests") -> str | None:
        """What is wrong, with the commonest reasons; `None` while failures are few.

        Args:
            min_failed (`int`, *optional*): So many failures prove something before the window is full.
            what (`str`, *optional*, defaults to `"requests"`): What is counted, for the message.
        """
        reasons = [reason[:_REASON_CHARACTERS] for reason in self._outcomes if reason is not None]
        count, size = len(self._outcomes), self._outcomes.maxlen or 0
        enough = count == size or (min_failed is not None and len(reasons) >= min_failed)
        if not enough or len(reasons) <= self.share * count:
            return None
        commonest = Counter(reasons).most_common(_SHOWN_REASONS)
        listed = "; ".join(f"{number} × {reason}" for reason, number in commonest)
        return f"{100 * len(reasons) / count:.0f} % of the last {count} {what} failed: {listed}"
