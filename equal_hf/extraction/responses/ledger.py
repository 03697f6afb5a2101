"""What the response store holds: responses, the keys they are found by, and what became of each attempt.

>>> Response("", "stop", Usage()).serves(16, 1024), Response("", "length", Usage()).serves(16, 1024)
(True, False)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from equal_hf.extraction.responses.batch_table import BatchWrite
from equal_hf.types import Messages, Usage
from equal_hf.utils.hashing import content_hash


@dataclass(frozen=True, slots=True)
class Response:
    """An endpoint's response to one request.

    Args:
        text (`str`): The reply text, as the model wrote it; for a refusal, the server's error or the model's words.
        finish_reason (`str`): `"stop"`, `"length"` (cut short), `"stopped_early"` (ended
            here, as it had no more to give), or `"refused"` (it will be refused every time).
        usage (`Usage`): Tokens of this one request.
        reasoning (`str`): What the model thought before its reply, where the server tells it.
        cost (`int`, *optional*): What was paid for it when it was asked for, in billionths of the currency; `None`
            where that is not known. No part of what makes two responses equal.
    """

    text: str
    finish_reason: str
    usage: Usage
    reasoning: str = ""
    cost: int | None = field(default=None, compare=False)

    def serves(self, stored_max_new_tokens: int, max_new_tokens: int) -> bool:
        """Whether a response obtained under one limit answers a request under another."""
        if self.finish_reason == "length":
            return max_new_tokens <= stored_max_new_tokens
        if self.finish_reason == "refused":  # asking for fewer tokens may fit the context after all
            return max_new_tokens >= stored_max_new_tokens
        return True


def response_key(
    model: str,
    revision: str,
    messages: Messages,
    sampling: Mapping[str, Any],
    schema: Mapping[str, Any] | None = None,
    attempt: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """The key of a response: SHA-256 over everything that determines it.

    Args:
        model (`str`): Model id.
        revision (`str`): The model's revision, or `"unknown"`.
        messages (`list[dict[str, str]]`): The messages as sent.
        sampling (`Mapping[str, Any]`): Sampling parameters that change the response, such as `temperature` and `seed`.
        schema (`Mapping[str, Any]`, *optional*): The JSON schema that guides decoding.
        attempt (`int`, *optional*, defaults to `0`): 0 for the first request, 1 for its repair.
        extra (`Mapping[str, Any]`, *optional*): Further fields of the body; none leave the key as it is without.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    parts: list[Any] = [model, revision, messages, dict(sampling), None if schema is None else dict(schema), attempt]
    parts += [dict(extra)] if extra else []
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return content_hash(text, 64)


def refusal_key(key: str, server: str) -> str:
    """The key of a server's refusal: another server, or the same with other limits, is asked again.

    Args:
        key (`str`): From [`response_key`].
        server (`str`): What decides which documents it refuses.
    """
    return content_hash(f"{key} refused by {server}", 64)


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt is about to be sent.

    Args:
        attempt (`int`): Its id, unique in the store.
        run (`str`): The run that pays.
        key (`str`): Key of the response.
        worst (`Usage`): The most tokens it can use.
        cost (`int`): The most it can cost, in billionths of the currency.
        model (`str`): Model id.
        tier (`str`): Service tier it is sent at: `"flex"`, `"batch"`, `"priority"`, or empty.
        endpoint (`str`): Where it goes, as it may be shown; empty where that is not known yet.
    """

    attempt: int
    run: str
    key: str
    worst: Usage
    cost: int
    model: str = ""
    tier: str = ""
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A response, and the attempt that brought it.

    Args:
        key (`str`): From [`response_key`].
        response ([`Response`]): The response.
        max_new_tokens (`int`): How many tokens the request allowed.
        dialect, model (`str`): Dialect and model id, for information.
        attempt (`int`, *optional*): The attempt; `None` for a response that is put in without one.
        cost (`int`): What it cost, in billionths of the currency.
        endpoint (`str`): Where it came from, as it may be shown.
        tier (`str`, *optional*): The service tier it was answered at, where that is not the one it was sent at.
    """

    key: str
    response: Response
    max_new_tokens: int
    dialect: str = ""
    model: str = ""
    attempt: int | None = None
    cost: int = 0
    endpoint: str = ""
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt brought no response.

    Args:
        attempt (`int`): The attempt.
        maybe_billed (`bool`): Whether it may have been billed all the same; its worst case then stays in the ledger.
        usage ([`Usage`], *optional*): What it used, where the server tells; takes the place of the worst case.
        cost (`int`): What that cost, in billionths of the currency.
        endpoint (`str`): Where it was sent, as it may be shown; empty where it was not.
    """

    attempt: int
    maybe_billed: bool
    usage: Usage | None = None
    cost: int = 0
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class PaidBeside:
    """A request that was answered and paid for beside extraction, such as the first one to an endpoint.

    Args:
        attempt (`int`): Its id, unique in the store.
        run (`str`): Under what name it is booked.
        usage (`Usage`): What it used.
        cost (`int`): What it cost, in billionths of the currency.
        model (`str`): Model id.
        endpoint (`str`): Where it went, as it may be shown.
        tier (`str`): The service tier it was answered at: `"flex"`, `"priority"`, or empty.
    """

    attempt: int
    run: str
    usage: Usage
    cost: int
    model: str = ""
    endpoint: str = ""
    tier: str = ""


@dataclass(frozen=True, slots=True)
class LeaseWanted:
    """Somebody wants to ask for a response, if nobody else does.

    Args:
        key (`str`): Key of the response.
        owner (`str`): The asker, from [`owner_id`].
        max_new_tokens (`int`): How many tokens it allows.
    """

    key: str
    owner: str
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class LeaseReleased:
    """An asker has no response and asks no more.

    Args:
        key (`str`): Key of the response.
        owner (`str`): The asker.
    """

    key: str
    owner: str


Write = AttemptStarted | ResponseReceived | AttemptFailed | PaidBeside | LeaseWanted | LeaseReleased | BatchWrite


@dataclass(frozen=True, slots=True)
class Paid:
    """What a run paid, by the ledger.

    Args:
        cost (`int`): Billionths of the currency, worst cases included.
        usage (`Usage`): Tokens and requests that were answered.
        unanswered (`int`): Attempts in flight, or that a kill or a broken connection left unanswered.
        lost (`Usage`): What those used, where the server told; else the most that they can have used.
    """

    cost: int = 0
    usage: Usage = field(default_factory=Usage)
    unanswered: int = 0
    lost: Usage = field(default_factory=Usage)
