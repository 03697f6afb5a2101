"""Chat requests over one endpoint or several: where they go, what is tried again, and when to stop."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from equal_hf.errors import EndpointError
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.transport.availability import Availability
from equal_hf.extraction.transport.chat_body import chat_body
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.endpoint_state import EndpointState, Permit
from equal_hf.extraction.transport.error_rate import PATIENT_ATTEMPTS, ErrorRateBreaker
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.extraction.transport.queue import RequestQueue
from equal_hf.extraction.transport.schema_forms import JSON_MODE
from equal_hf.extraction.transport.service_tier import ServiceTier
from equal_hf.extraction.transport.streamed_chat import Stream, Watch
from equal_hf.types import Messages, Usage
from equal_hf.utils.printable import escape
from equal_hf.utils.retry import backoff_s

logger = logging.getLogger(__name__)

# How often a question about the server looks whether an endpoint is there.
_POLL_S = 0.1
# A wait that somebody who watches would wonder about.
_LONG_WAIT_S = 60.0
# A wait too short to rely on: where a server is still busy after it, the next wait is longer.
_SHORT_WAIT_S = 1.0
# A client error that names no cause of its own passes at once, or is the document's own and never does.
_ODD_RETRIES = 4
# Writing an attempt down waits for the disk: the next few are written in advance, so that no slot stands empty. One
# for each slot is enough, and more would count as sent after a kill.
_BOOKED_AHEAD = 16


class AttemptLog(Protocol):
    """Keeps the books of one request over all its attempts."""

    async def sending(self) -> None:
        """An attempt is next in line to be sent."""

    async def unanswered(self, *, maybe_billed: bool, usage: Usage | None = None, endpoint: str = "") -> bool:
        """It got no usable answer; returns whether another attempt can be paid for.

        Args:
            maybe_billed (`bool`): Whether the server may have generated a reply.
            usage ([`Usage`], *optional*): What it used, where that is known.
            endpoint (`str`): Where it was sent, as it may be shown; empty where it was not.
        """


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request.

    Args:
        messages (`list[dict[str, str]]`): The conversation.
        max_tokens (`int`): Limit of the reply.
        prompt_tokens (`int`): Upper bound of the prompt.
        sampling (`dict[str, Any]`): Sampling parameters.
        schema (`dict[str, Any]`, *optional*): What the reply is guided by, put in the form that the server takes.
        watch (`Callable`, *optional*): Makes a [`Watch`] that says where a reply that is streamed may be ended.
        extra (`dict[str, Any]`): Further fields of the body.
        tier (`str`): The service tier that is asked for; empty for the provider's usual one.
    """

    messages: Messages
    max_tokens: int
    prompt_tokens: int
    sampling: dict[str, Any]
    schema: dict[str, Any] | None
    watch: Callable[[], Watch] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    tier: str = ""


class LoadBalancer:
    """Endpoints that serve the same model, within one event loop.

    Args:
        endpoints (`Sequence[EndpointState]`): The endpoints.
        config ([`EndpointConfig`]): `max_retries` (a 429 or 503 counts only if the endpoint answered nobody since the
            last one), `load_timeout_s`, and the error rate to stop at.
    """

    def __init__(self, endpoints: Sequence[EndpointState], config: EndpointConfig) -> None:
        self.endpoints = list(endpoints)
        self.max_retries = config.max_retries
        self._falls_back, self._tier_patience_s = config.flex_fallback, config.flex_timeout_s
        self.breaker = ErrorRateBreaker(config.max_error_rate, config.error_window)
        self.queue = RequestQueue(self.endpoints)
        self.availability = Availability(self.endpoints, self.queue, config.load_timeout_s)
        self._booked = asyncio.Semaphore(min(_BOOKED_AHEAD, sum(one.concurrency.limit for one in endpoints)))
        self._random = Random()
        self._warned: set[str] = set()  # kinds of faults

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(endpoint.concurrency.in_flight for endpoint in self.endpoints)

    def stop(self, error: Exception) -> None:
        """Send nothing more: whoever waits gets this error. What is under way goes on."""
        self.queue.stop(error)

    def restart(self) -> None:
        """After a stop, give every endpoint another chance."""
        if self.queue.stopped is not None:
            self.queue.stopped = None
            self.breaker.clear()
            self.availability.restart()

    async def chat(self, ask: ChatRequest, attempts: AttemptLog) -> tuple[ChatResponse, EndpointState]:
        """Ask as often as it takes, wherever there is room.

        Raises:
            `TransportFault`: If no usable answer came in `max_retries + 1` attempts.
            `Refusal`: If a server refuses this request for good.
            `EndpointError`: If no endpoint can be used, or too many requests fail.
        """
        faults = 0
        refused_at_s = -math.inf  # when it last came to nothing
        avoid: EndpointState | None = None
        tier = ServiceTier(ask.tier, self._falls_back, self._tier_patience_s)
        while True:
            permit = await self._permit(ask, attempts, avoid)
            endpoint, server = permit.endpoint, permit.endpoint.server
            sent = endpoint.capabilities
            stream = Stream(server.dialect, ask.watch) if ask.watch is not None and endpoint.streams else None
            pause_s = 0.0
            try:
                body = chat_body(
                    sent, server.requested_model, ask.messages, ask.schema, ask.max_tokens, ask.sampling, ask.extra
                )
                body |= tier.fields()
                completion = await endpoint.client.chat(body, stream)
            except TransportFault as fault:
                if sent.schema_form == JSON_MODE and "json_validate_failed" in str(fault):
                    fault.parameter = "response_format"  # as of one that was cut short
                adapted = fault.parameter is not None and (
                    endpoint.give_up(sent, fault.parameter)
                    or (stream is not None and endpoint.stop_streaming(fault.parameter))
                )
                lacks_capacity = tier.lacks_capacity(fault, time.monotonic())
                endpoint.on_error(permit, time.monotonic(), "given_up" if lacks_capacity else fault.kind)
                if lacks_capacity:
                    await attempts.unanswered(maybe_billed=False)
                    pause_s = tier.pause_s(fault, self._random)
                elif tier.is_refused(fault):
                    await attempts.unanswered(maybe_billed=False)
                    raise self._no_tier(endpoint, fault) from fault
                else:
                    counts = await self._after(fault, endpoint, permit, refused_at_s)
                    refused_at_s = time.monotonic()
                    shown = endpoint.client.address.shown
                    billed = fault.maybe_billed
                    if not await attempts.unanswered(maybe_billed=billed, usage=fault.usage, endpoint=shown):
                        raise
                    if adapted:
                        continue
                    if counts:
                        faults += 1
                        if faults > PATIENT_ATTEMPTS:
                            self.count(str(fault))
                        if faults > self._retries(fault):
                            raise
                        if (fault.retry_after_s or 0.0) < _SHORT_WAIT_S:
                            pause_s = backoff_s(faults - 1, self._random)
                    self._warn(fault, endpoint)
                    avoid = endpoint
            except Refusal as refusal:
                endpoint.on_response(permit, time.monotonic(), ask.prompt_tokens)
                refusal.server = endpoint.identity
                self.count(str(refusal))
                raise
            except EndpointError as error:
                await attempts.unanswered(maybe_billed=False)
                endpoint.on_error(permit, time.monotonic(), "given_up")
                self.availability.lose(endpoint, error)
            except BaseException:
                endpoint.on_error(permit, time.monotonic(), "given_up")
                raise
            else:
                tokens = (completion.prompt_tokens or ask.prompt_tokens) + (completion.completion_tokens or 0)
                endpoint.on_response(permit, time.monotonic(), tokens)
                self.breaker.add(None)
                return completion, endpoint
            finally:
                self.queue.dispatch()
            # Only now: the slot is somebody else's while this request waits.
            await asyncio.sleep(pause_s)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post JSON to a path of whichever endpoint is there, and read JSON; tried again as [`chat`] is."""
        faults = 0
        while True:
            if self.queue.stopped is not None:
                raise self.queue.stopped
            # Only servers of the first one's kind have the path.
            dialect = self.endpoints[0].server.dialect
            alike = (endpoint for endpoint in self.endpoints if endpoint.server.dialect == dialect)
            endpoint = next((endpoint for endpoint in alike if endpoint.state == "up"), None)
            if endpoint is None:
                await asyncio.sleep(_POLL_S)
                continue
            asked_at_s = time.monotonic()
            try:
                return await endpoint.client.post(path, body, retries=0)
            except TransportFault as fault:
                if fault.kind in ("refused", "unavailable") and await self.availability.is_away(endpoint, asked_at_s):
                    continue
                faults += 1
                if faults > self._retries(fault):
                    raise
                await asyncio.sleep(fault.retry_after_s or backoff_s(faults - 1, self._random))

    async def _permit(self, ask: ChatRequest, attempts: AttemptLog, avoid: EndpointState | None) -> Permit:
        self.queue.waiting += 1
        try:
            async with self._booked:
                await attempts.sending()
                try:
                    return await self.queue.permit(ask.prompt_tokens + ask.max_tokens, avoid)
                except Exception:
                    await attempts.unanswered(maybe_billed=False)
                    raise
        finally:
            self.queue.waiting -= 1

    async def _after(
        self, fault: TransportFault, endpoint: EndpointState, permit: Permit, refused_at_s: float
    ) -> bool:
        """Act on a fault; returns whether it counts against the request."""
        logger.debug("%s: %s", endpoint.client.address.shown, fault)
        if fault.kind in ("refused", "unavailable") and await self.availability.is_away(endpoint, permit.since_s):
            return False
        if fault.retry_after_s is not None:
            # The server asks everyone to hold, so nobody is sent there before that.
            endpoint.resume_at_s = max(endpoint.resume_at_s, time.monotonic() + fault.retry_after_s)
            if fault.retry_after_s > _LONG_WAIT_S:
                logger.warning("%s asks to wait %.0f s.", endpoint.client.address.shown, fault.retry_after_s)
        # A server that answers others is busy, not broken: the window learns from that, the request just waits.
        return fault.kind not in ("busy", "unavailable") or endpoint.answered_at_s < refused_at_s

    def _warn(self, fault: TransportFault, endpoint: EndpointState) -> None:
        """Tell once of answers of no use that may be billed: asking again takes long, and nothing else shows it."""
        if fault.kind in ("malformed", "failed") and fault.maybe_billed and fault.kind not in self._warned:
            self._warned.add(fault.kind)
            address = endpoint.client.address
            logger.warning(
                "%s gave an answer of no use: %s. It is asked again; tokens of such answers count as used, since they "
                "may be billed.",
                address.shown,
                escape(address.redact(fault.shown)),
            )

    def _no_tier(self, endpoint: EndpointState, fault: TransportFault) -> EndpointError:
        return endpoint.client.error(
            f"it takes no `service_tier: flex` for this model: {fault}. Leave out `extractor_service_tier`."
        )

    def _retries(self, fault: TransportFault) -> int:
        return min(self.max_retries, _ODD_RETRIES) if fault.kind == "odd" else self.max_retries

    def count(self, failure: str) -> None:
        """Count a request that failed again and again, or for good.

        Args:
            failure (`str`): How.

        Raises:
            `EndpointError`: If too many did.
        """
        self.breaker.add(failure)
        if reason := self.breaker.tripped():
            error = self.too_many_failures(reason)
            self.queue.stop(error)
            raise error

    def too_many_failures(self, reason: str) -> EndpointError:
        """The error that stops a run.

        Args:
            reason (`str`): How many failed, and how.
        """
        shown = ", ".join(endpoint.client.address.shown for endpoint in self.endpoints)
        return EndpointError(
            f"Extraction from {shown} stopped: {reason}. What came is in the response store: mend the endpoint "
            "and run again to go on, or raise `extractor_max_error_rate`."
        )
