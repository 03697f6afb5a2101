"""A chat completion as the server gave it: reply text, what it used, or what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from equal_hf.extraction.budget import Prices, nano
from equal_hf.extraction.prompts.thoughts import split_thoughts
from equal_hf.extraction.transport.faults import TransportFault, judge_error
from equal_hf.types import Usage
from equal_hf.utils.known_secrets import mask_known

# No request costs so much: larger numbers are nonsense, and no database holds them in billionths.
MOST_COST = 1e9


# OpenAI's word, and those of Anthropic, Cohere and Gemini where a gateway passes them on.
_CUT_SHORT = ("length", "max_tokens", "max_output_tokens", "model_length")


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """What is taken from a chat completion.

    >>> choice = {"message": {"content": "Hello!"}, "finish_reason": "stop"}
    >>> response = ChatResponse.read({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": None}})
    >>> response.text, response.usage(prompt_bound=12, completion_bound=16)
    ('Hello!', Usage(prompt_tokens=9, completion_tokens=16, requests=1, cached_tokens=0, reasoning_tokens=0))

    Args:
        text (`str`): The reply text without thoughts; empty where there is none.
        cut_short (`bool`): Whether it ended at the limit of tokens.
        prompt_tokens (`int`, *optional*): The server's count; `None` where it gave none.
        completion_tokens (`int`, *optional*): The same for the reply, thoughts included.
        refused (`bool`): Whether the model or a filter on its words refused; the text then says so.
        reasoning (`str`): What the model thought before it replied, where the server tells.
        cached_tokens (`int`): Those of the prompt that the server had cached.
        reasoning_tokens (`int`): Those of the reply that were thoughts.
        cost (`float`, *optional*): What the provider says that it costs.
        ended_early (`bool`): Whether it was ended here, before the model did.
        tier (`str`): The service tier that it was answered at, where the provider tells.
    """

    text: str
    cut_short: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    refused: bool = False
    reasoning: str = ""
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None
    ended_early: bool = False
    tier: str = ""

    @classmethod
    def read(cls, answer: Any, *, thoughts_in_total: bool = False) -> ChatResponse:
        """Read the JSON of a chat completion.

        Args:
            answer (`Any`): The JSON.
            thoughts_in_total (`bool`, *optional*, defaults to `False`): Whether tokens of thoughts are counted in the
                total alone, as Gemini does; they are billed like the reply's.

        Raises:
            `TransportFault`: If it holds no message: an error with status 200, or some other JSON. What it says
                that it used goes with it.
            `Refusal`, `Blocked`: If it is an error of theirs.
        """
        counts = _Counts.read(_field(answer, "usage"), thoughts_in_total)
        choices = _field(answer, "choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = _field(choice, "message")
        if not isinstance(message, dict) and (error := _field(answer, "error")):
            raise judge_error(error, counts.usage())
        if isinstance(error := _field(choice, "error"), dict):  # of the provider that a router has asked
            raise judge_error(error, counts.usage())
        parts = message.get("content") if isinstance(message, dict) else None
        content = _joined(parts) or _tool_arguments(message)
        if not isinstance(message, dict) or not isinstance(content, str | None):
            raise TransportFault("the answer is no chat completion", kind="malformed", usage=counts.usage())
        finish_reason = _field(choice, "finish_reason")
        cut_short = str(finish_reason).lower() in _CUT_SHORT
        text, thoughts = split_thoughts(content or "")
        reasoning = "\n".join(filter(None, (_reasoning(message), thoughts)))
        if not cut_short and not text.strip() and _is_object(reasoning):
            # Parsers of thoughts put a reply there whose model was told not to think.
            text, reasoning = reasoning, ""
        refusal = _refusal(message, finish_reason, text)
        return cls(
            _clean(refusal or text),
            cut_short and refusal is None,
            counts.prompt,
            counts.completion,
            refusal is not None,
            _clean(reasoning),
            counts.cached,
            counts.reasoning,
            counts.cost,
            tier=tier if isinstance(tier := _field(answer, "service_tier"), str) else "",
        )

    @property
    def thought(self) -> bool:
        """Whether the model thought before it replied, as far as the server tells."""
        return bool(self.reasoning) or self.reasoning_tokens > 0

    def price(self, prices: Prices, usage: Usage | None = None, tier: str = "") -> int:
        """What it costs, in billionths of the currency: what the provider says, else what the prices say.

        Args:
            prices ([`Prices`]): What tokens cost.
            usage ([`Usage`], *optional*): What it used; what the server counted by default.
            tier (`str`, *optional*, defaults to `""`): The service tier it was asked at; without one, the tier that it
                was answered at, where the provider tells.
        """
        return (
            prices.cost(usage or self.usage(0, 0), tier or self.tier)
            if self.cost is None
            else nano(self.cost, up=True)
        )

    def usage(self, prompt_bound: int, completion_bound: int) -> Usage:
        """What it used; where the server does not count, the bounds.

        Args:
            prompt_bound (`int`): The most tokens that the prompt can have.
            completion_bound (`int`): The most that the reply can have.
        """
        prompt = prompt_bound if self.prompt_tokens is None else self.prompt_tokens
        completion = completion_bound if self.completion_tokens is None else self.completion_tokens
        return Usage(prompt, completion, 1, self.cached_tokens, self.reasoning_tokens)


@dataclass(frozen=True, slots=True)
class _Counts:
    """The numbers of a completion's `usage`, whatever else is there."""

    prompt: int | None
    completion: int | None
    cached: int
    reasoning: int
    cost: float | None

    @classmethod
    def read(cls, usage: Any, thoughts_in_total: bool) -> _Counts:
        prompt, completion = (_count(_field(usage, f"{name}_tokens")) for name in ("prompt", "completion"))
        # OpenAI's name, then those of DeepSeek and of SGLang.
        of_prompt, of_reply = (_field(usage, f"{name}_tokens_details") for name in ("prompt", "completion"))
        cached = _count(_field(of_prompt, "cached_tokens")) or _count(_field(usage, "prompt_cache_hit_tokens")) or 0
        reasoning = _count(_field(of_reply, "reasoning_tokens")) or _count(_field(usage, "reasoning_tokens")) or 0
        total = _count(_field(usage, "total_tokens"))
        if prompt is not None and completion is not None and total is not None:
            beside = total - prompt - completion
            if beside > 0 and (thoughts_in_total or beside == reasoning):
                # xAI counts thoughts beside the reply, and bills them as the reply.
                completion, reasoning = completion + beside, beside
        cost = _field(usage, "cost")
        told = isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < MOST_COST
        return cls(
            prompt,
            completion,
            min(cached, prompt or 0),
            min(reasoning, completion or 0),
            float(cost) if told else None,
        )

    def usage(self) -> Usage | None:
        if self.prompt is None or self.completion is None:
            return None
        return Usage(self.prompt, self.completion, 1, self.cached, self.reasoning)


def _clean(text: str) -> str:
    # JSON can spell a lone surrogate, which no file can hold; a server may echo what it was sent.
    return mask_known(text.encode("utf-8", "replace").decode())


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _joined(content: Any) -> Any:
    """The text of a content that comes in parts, less those of other kinds, such as what a model thought."""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return content
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _reasoning(message: dict[str, Any]) -> str:
    """What a model thought: in a field, or in parts of its content."""
    for name in ("reasoning", "reasoning_content"):
        if isinstance(said := message.get(name), str) and said:
            return said
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    thoughts = [part.get("thinking") for part in parts if part.get("type") == "thinking"]
    texts = [_joined(thought) for thought in thoughts]
    return "".join(text for text in texts if isinstance(text, str))


def _is_object(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    try:
        return text.lstrip().startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _refusal(message: dict[str, Any], finish_reason: Any, content: str) -> str | None:
    """What is said of a refusal in place of a reply; `None` where there is none. Some gateways say more behind the
    name of a finish reason."""
    parts = message.get("content")
    words = [part.get("refusal") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    said = next((one for one in (message.get("refusal"), *words) if isinstance(one, str) and one), "")
    if isinstance(finish_reason, str) and finish_reason.lower().startswith(("content_filter", "refusal")):
        return f"{finish_reason}: {said or content}".removesuffix(": ")
    return f"refusal: {said}" if said and not content.strip() else None


def _tool_arguments(message: Any) -> str | None:
    """What a model answered in a tool call instead, as JSON."""
    calls = _field(message, "tool_calls")
    arguments = _field(_field(calls[0], "function"), "arguments") if isinstance(calls, list) and calls else None
    if isinstance(arguments, dict):
        return json.dumps(arguments)
    return arguments if isinstance(arguments, str) else None


def _count(value: Any) -> int | None:
    # No server counts so far: larger numbers are nonsense, and no database holds them.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
