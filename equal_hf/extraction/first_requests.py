"""The first chat requests to an endpoint: which parameters it takes, whether it heeds a schema, whether it thinks.

The forms of a schema are tried one after the other until a reply fits (`schema_forms`), then JSON mode. What a model
refuses is renamed or left out from there on (`Capabilities.without`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from equal_hf.extraction.first_ledger import FirstLedger
from equal_hf.extraction.prompts.parse_reply import parse_pairs
from equal_hf.extraction.transport.chat_body import Capabilities, chat_body
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.client import ChatClient
from equal_hf.extraction.transport.dialects import Server
from equal_hf.extraction.transport.faults import Refusal, TransportFault, leaves_no_room
from equal_hf.extraction.transport.schema_forms import JSON_MODE, SCHEMA_FIELDS, schema_forms
from equal_hf.utils.retry import backoff_s

logger = logging.getLogger(__name__)

# A question nobody answers in JSON unless made to, so the reply shows whether the schema was heeded.
MESSAGES = [{"role": "user", "content": "Say hello in one short sentence."}]
# Providers take no request for JSON without that word.
JSON_MESSAGES = [{"role": "user", "content": "Say hello in one short sentence, as JSON."}]
_MAX_TOKENS = 16
# Few, for all forms together: a server that is broken from the start is better told of at once.
_RETRIES = 4
_ABOUT_SCHEMA = re.compile(r"response_format|schema|json|grammar|guided|structured", re.IGNORECASE)
_BEGINNING = '{"pairs":'


@dataclass(frozen=True, slots=True)
class FirstReplies:
    """What the first chat requests told.

    Args:
        capabilities ([`Capabilities`]): What the server takes.
        schema (`str`): `"heeded"`, `"ignored"` (validation alone will tell), `"refused"` (it is not sent),
            `"json_mode"` (it is not sent, but replies are JSON), or `"unknown"` where there was no reply to tell by.
        prompt_tokens (`int`, *optional*): How many tokens of `MESSAGES` the server counted.
        thinks (`bool`): Whether the model thinks before it replies.
    """

    capabilities: Capabilities
    schema: str
    prompt_tokens: int | None
    thinks: bool


class FirstRequests:
    """Asks an endpoint for the first time.

    Args:
        client ([`ChatClient`]): The endpoint.
        server ([`Server`]): What it is.
        sampling (`Mapping[str, Any]`): Sampling parameters.
        extra (`Mapping[str, Any]`): Further fields of every body.
        completion_limit (`int`): Limit of a reply of the run, thoughts included.
        schema (`Mapping[str, Any]`): What replies of the run are guided by.
        json_mode (`bool`, *optional*, defaults to `False`): Whether its prompts can be sent in JSON mode.
        ledger ([`FirstLedger`], *optional*): Where they are booked.
    """

    def __init__(
        self,
        client: ChatClient,
        server: Server,
        sampling: Mapping[str, Any],
        extra: Mapping[str, Any],
        completion_limit: int,
        schema: Mapping[str, Any],
        json_mode: bool = False,
        ledger: FirstLedger | None = None,
    ) -> None:
        self.client, self.server, self.sampling, self.extra = client, server, sampling, extra
        self.schema = schema
        self.json_mode, self.ledger = json_mode, ledger
        self._messages = MESSAGES
        self.completion_limit = completion_limit
        self.capabilities = Capabilities()
        self._max_tokens = min(_MAX_TOKENS, completion_limit)
        self._thinks = False
        self._retries = 0
        self._random = Random()

    async def ask(self) -> FirstReplies:
        """Try the forms of a schema in turn, and none at last.

        Raises:
            `TransportFault`: If no usable answer comes.
            `EndpointError`: If the endpoint cannot be used.
        """
        shown = self.client.address.shown
        ignored: tuple[Capabilities, ChatResponse] | None = None
        problem: Exception | None = None
        for form in schema_forms(self.server.dialect):
            self.capabilities = replace(self.capabilities, schema_form=form)
            try:
                response = await self._reply()
            except (Refusal, TransportFault) as refused:
                if isinstance(refused, TransportFault) and refused.kind not in ("odd", "failed"):
                    raise
                problem = problem or refused
                continue
            if not response.text.strip():
                self._tell_of_no_reply(response)
                return self._found("unknown", response)
            if _fits(response):
                return self._found("heeded", response)
            ignored = ignored or (self.capabilities, response)
        if ignored is not None:
            self.capabilities = replace(self.capabilities, schema_form=ignored[0].schema_form)
            logger.warning(
                "%s ignores the JSON schema: replies follow the prompt alone, and more of them may be invalid.", shown
            )
            return self._found("ignored", ignored[1])
        if self.json_mode and (in_json := await self._in_json_mode()) is not None:
            logger.info("%s refuses a JSON schema (%s): replies are asked for in JSON mode.", shown, problem)
            return self._found(JSON_MODE, in_json)
        self.capabilities = replace(self.capabilities, schema_form=None)
        try:
            response = await self._reply()
        except Refusal as again:
            raise self.client.error(f"it refuses a simple request: {again}. Look at the server's log.") from again
        logger.warning("%s refuses a JSON schema (%s): replies follow the prompt alone.", shown, problem)
        if not response.text.strip():
            self._tell_of_no_reply(response)
        return self._found("refused", response)

    async def _in_json_mode(self) -> ChatResponse | None:
        """A reply in JSON mode; `None` where it is refused, or no JSON."""
        self.capabilities, self._messages = replace(self.capabilities, schema_form=JSON_MODE), JSON_MESSAGES
        try:
            response = await self._reply()
        except (Refusal, TransportFault) as refused:
            if isinstance(refused, TransportFault) and refused.kind not in ("odd", "failed"):
                raise
            return None
        finally:
            self._messages = MESSAGES
        return response if response.text.lstrip().startswith("{") else None

    def _found(self, schema: str, response: ChatResponse) -> FirstReplies:
        capabilities, shown = self.capabilities, self.client.address.shown
        if capabilities.left_out:
            logger.warning(
                "%s refuses %s with %s: left out of every request.",
                shown,
                " and ".join(f"`{name}`" for name in sorted(capabilities.left_out)),
                self.server.model,
            )
        if capabilities.limit_field != Capabilities().limit_field:
            logger.info("%s is sent `%s` in place of `max_tokens`.", shown, capabilities.limit_field)
        return FirstReplies(capabilities, schema, response.prompt_tokens, self._thinks)

    def _tell_of_no_reply(self, response: ChatResponse) -> None:
        shown = self.client.address.shown
        if not (response.cut_short and self._thinks):
            logger.warning("%s gave an empty reply to a simple request. Look at the server's log.", shown)
            return
        logger.warning(
            "%s: %s thinks until the limit of %d tokens and leaves none for a reply, even to a simple request. Let it "
            'think less by `extractor_body` ({"reasoning_effort": "low"}, or {"chat_template_kwargs": '
            '{"enable_thinking": false}} for vLLM and SGLang), or give it more by `extractor_max_reasoning_tokens`.',
            shown,
            self.server.model,
            self.completion_limit,
        )

    async def _reply(self) -> ChatResponse:
        """A reply in the form that is tried; with as many tokens as the run allows where a few gave none."""
        while True:
            response = await self._once()
            self._thinks |= response.thought
            if response.text.strip() or not response.cut_short or self._max_tokens == self.completion_limit:
                return response
            self._max_tokens = self.completion_limit

    async def _once(self) -> ChatResponse:
        try:
            return await self._persist()
        except Refusal as refusal:
            if not leaves_no_room(refusal.status, str(refusal).lower()):
                raise
            self._thinks = True
            return ChatResponse("", True, None, None)

    async def _persist(self) -> ChatResponse:
        while True:
            schema = None if self.capabilities.schema_form is None else self.schema
            model = self.server.requested_model
            body = chat_body(
                self.capabilities, model, self._messages, schema, self._max_tokens, self.sampling, self.extra
            )
            try:
                if self.ledger is None:
                    return await self.client.chat(body)
                return await self.ledger.ask(self.client, self.server, body, self._max_tokens)
            except TransportFault as fault:
                if fault.parameter is not None and (adapted := self.capabilities.without(fault.parameter)) is not None:
                    self.capabilities = adapted
                    continue
                # What answers something else altogether is no model server, and will not become one; one that names
                # the schema will not take it.
                about_schema = fault.parameter in SCHEMA_FIELDS or _ABOUT_SCHEMA.search(str(fault))
                hopeless = fault.kind == "malformed" or (fault.kind == "odd" and about_schema)
                self._look_for_extra(fault)
                if hopeless or self._retries == _RETRIES:
                    raise
                await asyncio.sleep(fault.retry_after_s or backoff_s(self._retries, self._random))
            self._retries += 1

    def _look_for_extra(self, fault: TransportFault) -> None:
        """A field of the user's own that is refused is for the user to correct."""
        if fault.kind != "odd":
            return
        for name in self.extra:
            if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", str(fault)):
                raise self.client.error(
                    f"it refuses `{name}` of `extractor_body`: {fault}. Correct it there, or take it out."
                )


def _fits(response: ChatResponse) -> bool:
    """Whether a reply is what the schema asks for, or its beginning where it was cut short.

    >>> _fits(ChatResponse('{"pairs": []}', False, 1, 1)), _fits(ChatResponse('{"pa', True, 1, 1))
    (True, True)
    >>> _fits(ChatResponse('{"pairs": "none"}', False, 1, 1)), _fits(ChatResponse('{"pa', False, 1, 1))
    (False, False)
    """
    text = "".join(response.text.split())
    if not text.startswith(_BEGINNING):
        return response.cut_short and bool(text) and _BEGINNING.startswith(text)
    return response.cut_short or parse_pairs(response.text).reason in (None, "no_pairs")
