"""What is taken from a chat completion, whose fields the client library leaves unchecked.

>>> from types import SimpleNamespace as Fields
>>> choice = Fields(message=Fields(content="Hello!"), finish_reason="eos_token")
>>> Completion.read(Fields(choices=[choice], usage=Fields(prompt_tokens=9, completion_tokens=None)))
Completion(text='Hello!', cut_short=False, prompt_tokens=9, completion_tokens=None)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equal_hf.utils.retry import TransportFault


@dataclass(frozen=True, slots=True)
class Completion:
    """A chat completion as the server gave it.

    Args:
        text (`str`): The reply; empty where it has no content.
        cut_short (`bool`): Whether it ended at the limit of tokens.
        prompt_tokens (`int`, *optional*): The server's count; `None` where it gave none.
        completion_tokens (`int`, *optional*): The same for the reply.
    """

    text: str
    cut_short: bool
    prompt_tokens: int | None
    completion_tokens: int | None

    @classmethod
    def read(cls, output: Any) -> Completion:
        """Read a `ChatCompletionOutput`.

        Raises:
            `TransportFault`: If it holds no message: an error with status 200, or some other JSON.
        """
        choices = getattr(output, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        content = getattr(message, "content", None)
        if message is None or not isinstance(content, str | None):
            raise TransportFault("the answer is no chat completion", kind="malformed")
        # JSON can spell a lone surrogate, which no file can hold.
        text = (content or "").encode("utf-8", "replace").decode()
        usage = getattr(output, "usage", None)
        return cls(
            text,
            getattr(choice, "finish_reason", None) == "length",
            _count(getattr(usage, "prompt_tokens", None)),
            _count(getattr(usage, "completion_tokens", None)),
        )


def _count(value: Any) -> int | None:
    # No server counts so far: larger numbers are nonsense, and no database holds them.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
