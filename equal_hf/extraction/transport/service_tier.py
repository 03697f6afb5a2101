"""The service tier that a request asks for: flex costs half, and answers where there is capacity to spare.

>>> tier = ServiceTier("flex", falls_back=True)
>>> tier.fields(), tier.lacks_capacity(TransportFault("HTTP 498", kind="busy", capacity=True), 0.0), tier.fields()
({'service_tier': 'flex'}, True, {})
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from equal_hf.extraction.transport.faults import TransportFault
from equal_hf.utils.retry import backoff_s


@dataclass
class ServiceTier:
    """The tier of one request over its attempts.

    Args:
        name (`str`): What it asks for; empty for the provider's usual one.
        falls_back (`bool`, *optional*, defaults to `False`): Whether it asks for the usual one where there is no
            capacity.
        patience_s (`float`, *optional*, defaults to `0.0`): How long it waits for capacity; later such answers count
            as any others.
    """

    name: str
    falls_back: bool = False
    patience_s: float = 0.0
    _since_s: float | None = None
    _waits: int = 0

    def fields(self) -> dict[str, str]:
        """What it adds to a body."""
        return {"service_tier": self.name} if self.name else {}

    def lacks_capacity(self, fault: TransportFault, now: float) -> bool:
        """Whether a fault says only that the tier has no capacity now: it is asked again, and nothing is counted.

        Args:
            fault (`TransportFault`): The fault.
            now (`float`): Seconds, by any clock.
        """
        if not self.name or not fault.capacity:
            return False
        if self.falls_back:
            self.name = ""
            return True
        self._since_s = now if self._since_s is None else self._since_s
        self._waits += 1
        return now - self._since_s < self.patience_s

    def is_refused(self, fault: TransportFault) -> bool:
        """Whether a fault says that there is no such tier."""
        return bool(self.name) and fault.kind == "odd" and "service_tier" in str(fault)

    def pause_s(self, fault: TransportFault, random: Random) -> float:
        """How long to wait before it is asked again."""
        if not self.name:
            return 0.0
        return fault.retry_after_s or backoff_s(self._waits, random)
