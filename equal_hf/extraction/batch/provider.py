"""What a provider of batches has to offer: take a file of requests, tell how far it is, give the answers.

OpenAI's routes are in [`equal_hf.extraction.batch.openai_batches`]; Azure, Groq and others have the same. Mistral's
differ in routes and field names only. Where requests are sent along with the batch (Anthropic), `upload` keeps them
and `submit` sends them; where a batch carries no name, `find` tells it by the ids of its requests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Protocol

State = Literal["running", "completed", "expired", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How far a batch is.

    Args:
        id (`str`): The provider's id.
        state (`str`): `"running"` (validation and wind-up included), `"completed"` (single requests may have failed),
            `"expired"` or `"cancelled"` (what has no answer was not billed), `"failed"` (nothing was done).
        done, failed (`int`): Requests answered, and failed, as far as the provider tells.
        files (`tuple[str, ...]`): Where answers and errors are.
        reason (`str`): Why it failed, in the provider's words.
        code (`str`): The same as a code.
    """

    id: str
    state: State
    done: int = 0
    failed: int = 0
    files: tuple[str, ...] = ()
    reason: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What became of one request.

    Args:
        custom_id (`str`): Which.
        status (`int`): The HTTP status of its answer; 0 where it has none.
        body (`Any`): The answer's JSON.
        error (`str`): Why it has none.
    """

    custom_id: str
    status: int
    body: Any
    error: str = ""


class BatchProvider(Protocol):
    """One account at one provider, within one event loop. Each call is made once; what to do about a fault is up to
    the caller. All raise what a chat request raises: `TransportFault`, `Refusal` and `EndpointError`.

    Attributes:
        max_requests (`int`): Requests of one batch at most.
        max_bytes (`int`): Bytes of one batch's file at most.
        shown (`str`): Where it is, without secrets.
        thoughts_in_total (`bool`): Whether its answers count thoughts in the total alone.
    """

    max_requests: int
    max_bytes: int
    shown: str
    thoughts_in_total: bool

    def line(self, custom_id: str, body: dict[str, Any]) -> bytes:
        """A chat request as a line of a batch's file.

        Args:
            custom_id (`str`): What its answer is known by: up to 64 letters and digits.
            body (`dict[str, Any]`): What would be posted.
        """

    async def check(self) -> None:
        """Raise `EndpointError` where there are no batches to be had."""

    async def upload(self, name: str, file: BinaryIO) -> str:
        """Send a file of requests; its id.

        Args:
            name (`str`): The batch's name.
            file (`BinaryIO`): Open at its beginning.
        """

    async def find_upload(self, name: str) -> str | None:
        """The id of a file that was sent under this name, where nobody wrote it down."""

    async def submit(self, name: str, file_id: str) -> BatchStatus:
        """Make a batch of an uploaded file; billing begins here."""

    async def find(self, name: str, file_id: str, since_unix_s: float) -> BatchStatus | None:
        """The batch that was made under this name, where nobody wrote it down.

        Args:
            name (`str`): The batch's name.
            file_id (`str`): What it was made of.
            since_unix_s (`float`): None is older.
        """

    async def status(self, batch_id: str) -> BatchStatus | None:
        """How far a batch is; `None` where the provider has none of this id."""

    async def cancel(self, batch_id: str) -> BatchStatus | None:
        """Do nothing more of a batch; what was answered by then is billed, and is there when it has ended. `None`
        where the provider has none of this id."""

    def answers(self, status: BatchStatus) -> AsyncIterator[BatchAnswer]:
        """What became of the requests of a batch that has ended, in any order; some may be missing."""

    async def discard(self, file_id: str) -> None:
        """Delete a file; one that is gone already is no error."""

    async def close(self) -> None:
        """Close all connections."""
