"""One endpoint among several: what it is, how much it takes, how fast it answers, whether it is there at all."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace

from equal_hf.extraction.transport.chat_body import STREAM_FIELDS, Capabilities
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.concurrency import ConcurrencyLimit
from equal_hf.extraction.transport.dialects import Server
from equal_hf.extraction.transport.rate_limit import RateLimiter
from equal_hf.extraction.transport.schema_forms import SCHEMA_FIELDS
from equal_hf.utils.hashing import fingerprint

logger = logging.getLogger(__name__)

# Weight of the last request in the latency: one slow reply is no slow endpoint, ten are.
_SMOOTHING = 0.2
# An endpoint that was slow is tried again in minutes, not in hours.
_FORGET_S = 60.0


@dataclass
class Permit:
    """Leave to send one request.

    Args:
        endpoint ([`EndpointState`]): Where to.
        ticket (`int`): Its slot at the endpoint.
        since_s (`float`): When it was given.
        tokens (`list[float]`): Its entry in the endpoint's limit of tokens.
    """

    endpoint: EndpointState
    ticket: int
    since_s: float
    tokens: list[float]


@dataclass
class EndpointState:
    """An endpoint and the state of its traffic.

    Args:
        client ([`ChatClient`]): Talks to it.
        server ([`Server`]): What it is.
        concurrency ([`ConcurrencyLimit`]): How many requests it takes at a time.
        requests_limit, tokens_limit ([`RateLimiter`]): Its limits per minute.
        streams (`bool`): Whether replies are read as they are written.
        capabilities ([`Capabilities`]): What it takes in a chat request.

    Attributes:
        state (`str`): `"up"`, `"loading"`, `"down"`, or `"lost"` for good.
        resume_at_s (`float`): Nothing is sent before; set by `Retry-After`.
        answered_at_s (`float`): When it last answered a request.
    """

    client: ChatClient
    server: Server
    concurrency: ConcurrencyLimit
    requests_limit: RateLimiter
    tokens_limit: RateLimiter
    streams: bool = False
    capabilities: Capabilities = field(default_factory=Capabilities)
    state: str = "up"
    state_since_s: float = 0.0
    resume_at_s: float = 0.0
    answered_at_s: float = 0.0
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    _latency_s: float | None = None
    _under_way: dict[int, float] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What decides which documents it refuses: where it is, what it serves and how much it takes."""
        server = self.server
        return fingerprint(
            [self.client.address.shown, server.dialect, server.max_input_tokens, server.max_total_tokens]
        )

    def give_up(self, sent: Capabilities, parameter: str) -> bool:
        """It refuses a parameter of a request: leave it out from here on, or rename it; returns whether that is
        possible.

        Args:
            sent ([`Capabilities`]): By which that request was made.
            parameter (`str`): The parameter.
        """
        of_schema = parameter in SCHEMA_FIELDS
        if sent.schema_form is None if of_schema else sent.without(parameter) is None:
            return False
        now = self.capabilities
        adapted = replace(now, schema_form=None) if of_schema else now.without(parameter) or now
        if adapted != now:  # others that were under way are refused for the same
            self.capabilities = adapted
            logger.warning(
                "%s refuses `%s`, which it took before: %s.",
                self.client.address.shown,
                parameter,
                f"sent as `{adapted.limit_field}`"
                if adapted.limit_field != now.limit_field
                else "left out from here on",
            )
        return True

    def stop_streaming(self, parameter: str) -> bool:
        """It refuses a parameter of a request that was to be streamed; returns whether it can do without.

        Args:
            parameter (`str`): The parameter.
        """
        if parameter not in STREAM_FIELDS:
            return False
        if self.streams:
            self.streams = False
            logger.warning("%s refuses `%s`: replies are read in one piece.", self.client.address.shown, parameter)
        return True

    def wait_s(self, now: float, tokens: int) -> float:
        """Seconds until it may be sent so many tokens, whatever its concurrency limit says."""
        waits = (self.resume_at_s - now, self.requests_limit.wait_s(now, 1), self.tokens_limit.wait_s(now, tokens))
        return max(0.0, *waits)

    def latency_s(self, now: float) -> float:
        """How long a request takes here, by what was seen; 0 before anything was.

        A request that is still under way counts with its age, so an endpoint that hangs looks slow before it times
        out. What was seen halves with each minute without an answer, so one that was slow is tried again in time.
        """
        age = self.oldest_s(now)
        if self._latency_s is None:
            return age
        return max(age, self._latency_s * 0.5 ** ((now - self.answered_at_s) / _FORGET_S))

    def oldest_s(self, now: float) -> float:
        """For how long the first of the requests under way is; 0 where there is none."""
        return now - next(iter(self._under_way.copy().values()), now)  # a copy: other threads ask too

    def acquire(self, now: float, tokens: int) -> Permit:
        """Count a request that is sent now."""
        ticket = self.concurrency.acquire()
        self._under_way[ticket] = now
        self.requests_limit.take(now, 1)
        return Permit(self, ticket, now, self.tokens_limit.take(now, tokens))

    def on_response(self, permit: Permit, now: float, tokens: int) -> None:
        """A request was answered, whatever the answer said."""
        took = now - self._under_way.pop(permit.ticket)
        self._latency_s = took if self._latency_s is None else self._latency_s + _SMOOTHING * (took - self._latency_s)
        self.answered_at_s = now
        self.tokens_limit.correct(permit.tokens, tokens)
        self.concurrency.on_response(permit.ticket)

    def on_error(self, permit: Permit, now: float, kind: str) -> None:
        """A request came to nothing; `kind` is that of the [`TransportFault`], or `"given_up"`."""
        took = now - self._under_way.pop(permit.ticket)
        if kind == "timeout":
            self._latency_s = max(took, self._latency_s or 0.0)
            self.answered_at_s = now
        if kind in ("busy", "unavailable", "timeout"):
            self.concurrency.on_overload(permit.ticket)
        else:
            self.concurrency.on_error(permit.ticket)
        if kind in ("busy", "unavailable", "refused"):
            self.tokens_limit.correct(permit.tokens, 0)
