"""The vocabulary that travels the whole road: documents in, question-answer pairs out, a record of every decision.

Everything here is plain, frozen data. Nothing imports a model, a network client or a file format.

>>> pair = QAPair("What is 2 + 2?", "4", document_id="d1", cluster=0)
>>> pair.messages()["completion"]
[{'role': 'assistant', 'content': '4'}]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the corpus.

    Args:
        id (`str`): Unique within the corpus.
        text (`str`): The whole text.
        cluster (`int`, *optional*, defaults to `-1`): The arm the document belongs to; -1 before clustering.
        metadata (`Mapping[str, Any]`, *optional*): The corpus columns that are carried over, such as source and
            licence.
    """

    id: str
    text: str
    cluster: int = -1
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QAPair:
    """A question and its answer, with where they came from.

    Args:
        question (`str`): What the user turn says.
        answer (`str`): What the assistant turn says.
        document_id (`str`): The document the pair was extracted from.
        cluster (`int`, *optional*, defaults to `-1`): That document's cluster.
        span (`tuple[int, int]`, *optional*): Character range of the document that the extractor was shown.
        method (`str`, *optional*): How it was extracted: `"endpoint"`, `"doctest"`, `"question_answer"`, …
        model (`str`, *optional*): Model id that wrote it, empty for an explicit pair.
        model_revision (`str`, *optional*): That model's revision, `"unknown"` where the server does not tell.
        prompt_hash (`str`, *optional*): Hash of the extraction prompt, empty for an explicit pair.
        response_key (`str`, *optional*): Key of its reply in the response store, empty for an explicit pair.
        grade (`int`, *optional*): How well it fits the target by the model that wrote it, from 0 to 3; `None` where it
            was not asked, or gave no such number.
        cost (`float`, *optional*): Its share of the money that was paid for the replies about its part of the
            document, when they were asked for; `None` where that is not known. No part of what makes two pairs equal.
        reasoning (`str`, *optional*): What the model thought before that reply; `None` where nobody asked for it.
    """

    question: str
    answer: str
    document_id: str
    cluster: int = -1
    span: tuple[int, int] | None = None
    method: str = ""
    model: str = ""
    model_revision: str = ""
    prompt_hash: str = ""
    response_key: str = ""
    grade: int | None = None
    cost: float | None = field(default=0.0, compare=False)
    reasoning: str | None = None

    def messages(self) -> dict[str, Messages]:
        """The pair in TRL's conversational prompt-completion form."""
        return {
            "prompt": [{"role": "user", "content": self.question}],
            "completion": [{"role": "assistant", "content": self.answer}],
        }

    def text(self) -> str:
        """The pair as it is embedded: the user turn, then the assistant turn (arXiv 2505.12250, alignment)."""
        return f"{self.question}\n{self.answer}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something a document or a reply held that did not become a pair, and why.

    Args:
        document_id (`str`): The document it came from.
        reason (`str`): A short snake_case name; drops are counted under it.
        question (`str`, *optional*): The question, where there was one.
        answer (`str`, *optional*): The answer, where there was one.
        raw (`str`, *optional*): The raw reply, where a whole reply was rejected.
    """

    document_id: str
    reason: str
    question: str = ""
    answer: str = ""
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What extraction used, in tokens and requests. Adds up.

    Args:
        prompt_tokens (`int`): Tokens of the prompts.
        completion_tokens (`int`): Tokens of the replies, thinking included.
        requests (`int`): Requests.
        cached_tokens (`int`): Those prompt tokens that the provider had cached.
        reasoning_tokens (`int`): Those completion tokens that the model thought with.

    >>> Usage(10, 2, 1) + Usage(5, 1, 1, cached_tokens=4)
    Usage(prompt_tokens=15, completion_tokens=3, requests=2, cached_tokens=4, reasoning_tokens=0)
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.requests + other.requests,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.requests - other.requests,
            self.cached_tokens - other.cached_tokens,
            self.reasoning_tokens - other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class Extraction:
    """What one document gave.

    Args:
        document_id (`str`): The document.
        pairs (`tuple[QAPair, ...]`): The pairs kept, in document order.
        usage (`Usage`): Tokens and requests this document used, cached replies included.
        finish_reason (`str`): `"stop"`, `"length"` (a reply was cut short), `"error"` (given up, the reason is among
            the rejections) or `"budget"` (not attempted: its worst case did not fit what was left).
        rejected (`tuple[Rejection, ...]`): What was rejected.
        lost (`Usage`): Tokens of attempts that brought no reply although the server may have generated one: what it
            says, or the most it can have been. Not in `usage`, and no part of what makes two extractions equal.
    """

    document_id: str
    pairs: tuple[QAPair, ...] = ()
    usage: Usage = Usage()
    finish_reason: str = "stop"
    rejected: tuple[Rejection, ...] = ()
    lost: Usage = field(default=Usage(), compare=False)

    @property
    def dropped(self) -> dict[str, int]:
        """Rejections counted by reason."""
        return dict(Counter(rejection.reason for rejection in self.rejected))


@dataclass(frozen=True, slots=True)
class Decision:
    """One pull: an arm, why it was chosen, and what was drawn from it.

    Args:
        arm (`int`): The cluster.
        score (`float`): The arm's score when it was selected.
        documents (`tuple[str, ...]`): Ids of the documents drawn and extracted.
        rows (`tuple[int, ...]`): Their positions in the cluster's stored order.
        expected_value (`float`, *optional*): What was expected of them, on the scale of the mixed rewards.
    """

    arm: int
    score: float
    documents: tuple[str, ...]
    rows: tuple[int, ...] = ()
    expected_value: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One round: what was decided, what came of it, its rewards.

    Args:
        index (`int`): Rounds count from 0.
        decisions (`tuple[Decision, ...]`): One per arm pulled; every per-arm list below is in this order.
        pairs (`tuple[QAPair, ...]`): All pairs kept, by arm then document.
        usage (`Usage`): What the round's documents used.
        rewards (`Mapping[str, list[float | None]]`): By reward function, one value an arm, `None` where it has none.
        rejected (`tuple[Rejection, ...]`): What extraction and the quality filters rejected.
        rewards_through (`int`): The last round whose rewards the selection knew; -1 for none.
        last (`bool`): The budget or the corpus ended in this round.
        refused (`int`): Documents that were drawn and not extracted, since the budget had no room for them.
    """

    index: int
    decisions: tuple[Decision, ...]
    pairs: tuple[QAPair, ...]
    usage: Usage = Usage()
    rewards: Mapping[str, list[float | None]] = field(default_factory=dict)
    rejected: tuple[Rejection, ...] = ()
    rewards_through: int = -1
    last: bool = False
    refused: int = 0

    @property
    def documents(self) -> int:
        """How many documents the round extracted."""
        return sum(len(decision.documents) for decision in self.decisions)

    @property
    def dropped(self) -> dict[str, int]:
        """Rejections counted by reason."""
        return dict(Counter(rejection.reason for rejection in self.rejected))

    def pairs_by_arm(self) -> list[list[int]]:
        """Positions in `pairs` that belong to each decision's arm."""
        places = {decision.arm: place for place, decision in enumerate(self.decisions)}
        arms: list[list[int]] = [[] for _ in self.decisions]
        for position, pair in enumerate(self.pairs):
            arms[places[pair.cluster]].append(position)
        return arms


@dataclass(frozen=True, slots=True)
class Allowance:
    """What extraction may still use. `None` means no limit.

    Args:
        prompt_tokens (`int`, *optional*): Prompt tokens left.
        completion_tokens (`int`, *optional*): Completion tokens left.
        cost (`int`, *optional*): Money left, in billionths of the currency.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: int | None = None

    def holds(self, used: Usage, cost: int = 0) -> bool:
        """Whether that much use and cost stays inside the allowance.

        >>> Allowance(prompt_tokens=10).holds(Usage(10, 99))
        True
        >>> Allowance(prompt_tokens=10).holds(Usage(11, 0))
        False
        """
        return (
            (self.prompt_tokens is None or used.prompt_tokens <= self.prompt_tokens)
            and (self.completion_tokens is None or used.completion_tokens <= self.completion_tokens)
            and (self.cost is None or cost <= self.cost)
        )
