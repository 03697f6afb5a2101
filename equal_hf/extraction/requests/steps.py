"""A step of what is asked about a chunk, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from equal_hf.extraction.requests.request import Request
from equal_hf.extraction.responses.ledger import Response
from equal_hf.types import Messages


@dataclass(frozen=True, slots=True)
class Step:
    """A request about a chunk, and the same once more where its response cannot be read.

    Args:
        name (`str`): `"extract"`, `"refine"` or `"judge"`.
        bounds (`tuple[int, int]`): Upper bounds of both prompts' tokens.
        messages (`tuple[Messages, Messages]`, *optional*): Both prompts; `None` as long as the pairs that they are
            about are not known.
        schema (`dict[str, Any]`): What the reply text should look like.
        read (`Callable`): Reads a reply text.
        readable (`Callable`): Whether what was read is of use.
    """

    name: str
    bounds: tuple[int, int]
    messages: tuple[Messages, Messages] | None
    schema: dict[str, Any]
    read: Callable[[str], Any]
    readable: Callable[[Any], bool]

    def outcome(self, request: Request, response: Response) -> Outcome:
        """What a response to this step says."""
        return Outcome(request.key, response, self.read("" if response.finish_reason == "refused" else response.text))

    def is_done(self, outcome: Outcome) -> bool:
        """Whether there is no use in asking again."""
        finished = outcome.response is None or outcome.response.finish_reason != "stop"
        return finished or self.readable(outcome.value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step.

    Args:
        key (`str`): Key of the response.
        response ([`Response`], *optional*): The response; `None` where none came.
        value (`Any`): What was read.
    """

    key: str = ""
    response: Response | None = None
    value: Any = None


def drive(steps: Generator[Step, Outcome | None, Any], answer: Callable[[Step], Outcome | None]) -> None:
    """Take every step, without sending anything."""
    outcome: Outcome | None = None
    try:
        while True:
            outcome = answer(steps.send(outcome))
    except StopIteration:
        pass
