"""What requests may use and cost, and the ledger's entries of their attempts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Protocol

from equal_hf.extraction.budget import Admission
from equal_hf.extraction.requests.request import Request, Settings
from equal_hf.extraction.responses.ledger import AttemptFailed, AttemptStarted, Response
from equal_hf.extraction.responses.response_store import ResponseStore, StoreWriter
from equal_hf.extraction.transport.load_balancer import LoadBalancer
from equal_hf.types import Usage


class BudgetSpentError(Exception):
    """The allowance has no room to send a request once more whose last attempt may have been billed."""


@dataclass
class DocumentReservation:
    """What one document may use and cost, and what it lost; costs in billionths of the currency.

    Args:
        admission ([`Admission`]): Whose allowance it is.
        reserved (`Usage`): The most it can use.
        reserved_cost (`int`): The most it can cost.
        repairs (`bool`, *optional*, defaults to `True`): Whether that is enough to ask once more where a reply cannot
            be read.

    Attributes:
        paid (`int`): What it cost.
        lost (`Usage`): What attempts used that brought nothing, or can have used.
    """

    admission: Admission
    reserved: Usage = field(default_factory=Usage)
    reserved_cost: int = 0
    repairs: bool = True
    paid: int = 0
    lost: Usage = field(default_factory=Usage)

    def lose(self, usage: Usage, cost: int) -> bool:
        """Write an attempt off; returns whether another one fits the allowance."""
        self.paid += cost
        self.lost += usage
        if self.admission.more(usage, cost):
            self.reserved += usage
            self.reserved_cost += cost
            return True
        return False


@dataclass
class StepReservation:
    """A document's reservation, as the two requests of one step use it.

    Attributes:
        spare (`bool`): Whether the second of them is reserved and not spent.
    """

    document: DocumentReservation
    spare: bool = field(init=False)

    def __post_init__(self) -> None:
        self.spare = self.document.repairs

    def pay(self, cost: int) -> None:
        """Book what an answer cost, in billionths of the currency."""
        self.document.paid += cost

    def lose(self, usage: Usage, cost: int) -> bool:
        """Write an attempt off; returns whether another one is paid for: by the allowance, else by giving up the
        second request."""
        if self.document.lose(usage, cost):
            return True
        spare, self.spare = self.spare, False
        return spare


class Asker(Protocol):
    """Who asks for responses, as far as its parts need to know it: [`CachedRequests`]."""

    balancer: LoadBalancer
    store: ResponseStore
    writer: StoreWriter
    settings: Settings
    run: str
    owner: str
    only_endpoint: str
    in_flight: dict[int, LedgerAttemptLog]

    def look_up(self, request: Request) -> Response | None:
        """The stored response, if there is one that serves."""

    def look_at(self, response: Response, bound: int) -> None:
        """Tell once of what is odd about responses."""

    def keep_leases(self) -> None:
        """Renew all leases from here on."""


class LedgerAttemptLog:
    """The ledger entries of one request, over all its attempts."""

    def __init__(self, requests: Asker, request: Request, reservation: StepReservation, tier: str = "") -> None:
        self._requests, self._request, self._reservation, self._tier = requests, request, reservation, tier
        self.attempt = 0
        self.worst = Usage(request.bound, requests.settings.completion_limit, 1)
        # A flex request may be answered at the full price.
        self._worst_tier = tier if tier == "batch" else requests.settings.dearest_tier
        self.cost = requests.settings.prices.cost(self.worst, self._worst_tier)
        self.spent = False

    def begin(self) -> AttemptStarted:
        """An attempt, to be written down before it is sent."""
        # Processes share a store, so the name comes from no counter.
        self.attempt = secrets.randbits(62)
        requests = self._requests
        return AttemptStarted(
            self.attempt,
            requests.run,
            self._request.key,
            self.worst,
            self.cost,
            model=requests.settings.model,
            tier=self._tier,
            endpoint=requests.only_endpoint,
        )

    async def sending(self) -> None:
        started = self.begin()
        self._requests.in_flight[self.attempt] = self
        await self._requests.writer.write(started)

    async def unanswered(self, *, maybe_billed: bool, usage: Usage | None = None, endpoint: str = "") -> bool:
        cost = self.cost if usage is None else self._requests.settings.prices.cost(usage, self._worst_tier)
        await self._requests.writer.write(AttemptFailed(self.attempt, maybe_billed, usage, cost, endpoint))
        self._requests.in_flight.pop(self.attempt, None)
        if maybe_billed and not self._reservation.lose(usage or self.worst, cost):
            self.spent = True
            return False
        return True
