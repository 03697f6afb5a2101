"""What is stored and booked of an answer, the same whether it came by itself or in a batch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from equal_hf.extraction.budget import TIERS, Prices
from equal_hf.extraction.responses.ledger import Response, ResponseReceived, refusal_key
from equal_hf.extraction.transport.chat_response import ChatResponse
from equal_hf.extraction.transport.faults import Refusal
from equal_hf.types import Usage


@dataclass(frozen=True, slots=True)
class Terms:
    """What an answer of one server is stored under, and what it costs.

    >>> terms = Terms("org/m", "openai", "s", "http://localhost:8080", 16, Prices(1.0, 2.0), "batch")
    >>> Terms.read(terms.text()) == terms
    True

    Args:
        model (`str`): Model id.
        dialect (`str`): The server's dialect.
        server (`str`): What decides which documents it refuses.
        endpoint (`str`): Where it is, as it may be shown.
        max_new_tokens (`int`): Limit of a reply.
        prices ([`Prices`]): What tokens cost there.
        tier (`str`, *optional*, defaults to `""`): The service tier that all of them are answered at.
        untold_tier (`str`, *optional*, defaults to `""`): The tier of one that tells none.
    """

    model: str
    dialect: str
    server: str
    endpoint: str
    max_new_tokens: int
    prices: Prices
    tier: str = ""
    untold_tier: str = ""

    def cost(self, usage: Usage) -> int:
        """What tokens cost, in billionths of the currency."""
        return self.prices.cost(usage, self.tier)

    def text(self) -> str:
        """As JSON, for the store."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Terms:
        """Read what [`text`] wrote."""
        values = json.loads(text)
        known = {one.name for one in fields(Prices)}  # it may be of another version
        prices = Prices(**{name: value for name, value in values["prices"].items() if name in known})
        return cls(**(values | {"prices": prices}))


def received(key: str, bound: int, attempt: int, answer: ChatResponse | Refusal, terms: Terms) -> ResponseReceived:
    """What is written of an answer.

    Args:
        key (`str`): Key of the response; a refusal is written under a key of its own.
        bound (`int`): Upper bound of the prompt's tokens, which counts where the server does not.
        attempt (`int`): The attempt that brought it.
        answer ([`ChatResponse`] or [`Refusal`]): The answer.
        terms ([`Terms`]): Of the server.
    """
    limit = terms.max_new_tokens
    if isinstance(answer, Refusal):
        response, cost, tier = Response(str(answer), "refused", Usage(requests=1)), 0, terms.tier
        key = refusal_key(key, terms.server)
    else:
        usage = answer.usage(bound, limit)
        finish_reason = "length" if answer.cut_short else "stopped_early" if answer.ended_early else "stop"
        if answer.refused:
            finish_reason, key = "refused", refusal_key(key, terms.server)
        # What was served is what is billed; where the provider does not tell, the dearest is the safe one.
        served = answer.tier or terms.untold_tier
        tier = terms.tier or (served if served in TIERS else "")
        cost = answer.price(terms.prices, usage, tier)
        response = Response(answer.text, finish_reason, usage, answer.reasoning, cost)
    return ResponseReceived(key, response, limit, terms.dialect, terms.model, attempt, cost, terms.endpoint, tier)
