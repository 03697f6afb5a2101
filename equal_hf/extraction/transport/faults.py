"""What can be wrong with a response, as one of two exceptions: to be sent again, or refused for good."""

from __future__ import annotations


class TransportFault(Exception):
    """A request that got no usable answer and may be sent again.

    Args:
        fact (`str`): What happened, without secrets.
        retry_after_s (`float`, *optional*): How long the server asks to be left alone.
        kind (`str`, *optional*, defaults to `"broken"`): `"broken"` (the connection), `"timeout"`, `"malformed"` (an
            answer that is no chat completion), `"failed"` (an HTTP error), `"busy"` (HTTP 429), `"unavailable"` (HTTP
            503) or `"refused"` (nobody listens).
    """

    def __init__(self, fact: str, retry_after_s: float | None = None, kind: str = "broken") -> None:
        super().__init__(fact)
        self.retry_after_s = retry_after_s
        self.kind = kind

    @property
    def maybe_billed(self) -> bool:
        """Whether the server may have generated, and billed, a reply that never came."""
        return self.kind in ("broken", "timeout", "malformed")


class Refusal(Exception):
    """The server understood the request and will refuse it every time: context overflow, content too large, bad field.

    Args:
        status (`int`): The HTTP status.
        body (`str`): The server's words.
    """

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {body}")
        self.status = status
