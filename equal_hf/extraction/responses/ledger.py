"""What is written to the response store: an attempt before it is sent, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from equal_hf.extraction.responses.reply import Reply
from equal_hf.types import Usage


@dataclass(frozen=True, slots=True)
class Sending:
    """An attempt is about to be sent.

    Args:
        attempt (`int`): Names it; unique in the store.
        run (`str`): The run that pays.
        key (`str`): Key of the reply it may bring.
        worst (`Usage`): The most tokens it can use.
        cost (`int`): The most it can cost, in billionths of the currency.
    """

    attempt: int
    run: str
    key: str
    worst: Usage
    cost: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and the attempt that brought it.

    Args:
        key (`str`): From [`response_key`].
        reply ([`Reply`]): The reply.
        max_new_tokens (`int`): How many tokens the request allowed.
        flavour, model (`str`): Dialect and model id, for information.
        attempt (`int`, *optional*): The attempt; `None` for a reply that is put in without one.
        cost (`int`): What it cost, in billionths of the currency.
    """

    key: str
    reply: Reply
    max_new_tokens: int
    flavour: str = ""
    model: str = ""
    attempt: int | None = None
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An attempt that came to nothing.

    Args:
        attempt (`int`): The attempt.
        maybe_billed (`bool`): Whether it may have been billed all the same; it then stays at its worst case.
    """

    attempt: int
    maybe_billed: bool


Write = Sending | Answer | Unanswered


@dataclass(frozen=True, slots=True)
class Paid:
    """What a run paid, by the ledger.

    Args:
        cost (`int`): Billionths of the currency, worst cases included.
        usage (`Usage`): Tokens and requests that were answered.
        unanswered (`int`): Attempts that are under way, or that a kill or a broken connection left unanswered.
    """

    cost: int = 0
    usage: Usage = field(default_factory=Usage)
    unanswered: int = 0
