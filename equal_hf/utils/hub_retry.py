"""Calls to the Hub: wait out what passes, and turn every other refusal into an error with a remedy."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from equal_hf.errors import EqualError, PublishError
from equal_hf.utils.redaction import mask_text

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# A stale parent commit, a rate limit, and whatever the Hub or a proxy before it answers while it is unwell.
TRANSIENT = {408, 412, 429, 500, 502, 503, 504}
MAX_WAIT_S = 120.0
# How long the Hub may be silent in a call, and take to accept one. `huggingface_hub` itself would wait for ever.
SILENCE_S, CONNECT_S = 60.0, 10.0


def limit_silence() -> None:
    """From here on, no call to the Hub that this process makes waits for ever for an answer; for programs of our own.

    A client factory that somebody set with [`huggingface_hub.set_client_factory`] stays in use, and so does its limit.
    """
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    make = _http._GLOBAL_CLIENT_FACTORY
    if getattr(make, "func", None) is not _limited_client:
        set_client_factory(functools.partial(_limited_client, make))


def _limited_client(make: Callable[[], Any]) -> Any:
    client = make()
    timeout = type(client.timeout)
    if client.timeout == timeout(None):
        client.timeout = timeout(SILENCE_S, connect=min(CONNECT_S, SILENCE_S))
    return client


def retry_hub(
    action: Callable[[], Result], what: str, setting: str, attempts: int, unanswered: int | None = None
) -> Result:
    """Call the Hub, and again while the trouble passes. The action must be safe to repeat.

    Args:
        action (`Callable`): Calls `huggingface_hub`.
        what (`str`): What is being done, for messages.
        setting (`str`): The setting that names the repository, for messages.
        attempts (`int`): Tries in all, at least 1.
        unanswered (`int`, *optional*): Tries where nobody answers at all; `attempts` where left out.

    Raises:
        [`PublishError`]: If the Hub refuses, or the trouble outlasts the attempts.
    """
    from huggingface_hub import errors

    # The base error of the HTTP client that huggingface_hub is built on: connections refused, lost or timed out.
    connection_error: type[Exception] = errors.HfHubHTTPError.__mro__[1]
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except EqualError:
            raise
        except errors.LocalTokenNotFoundError:
            raise PublishError(
                f"{what} needs a Hugging Face token and none is set: run `hf auth login` or set HF_TOKEN, or leave "
                "out `push_to_hub` to keep the dataset local"
            ) from None
        except errors.HFValidationError as error:
            raise PublishError(f"`{setting}` names no repository ({error}): set it to namespace/name") from None
        except ValueError as error:
            if "README.md" not in str(error):
                raise
            raise PublishError(f"{what}: {error}\nCorrect the metadata at the top of the card") from error
        # Uploads wrap what went wrong in a RuntimeError, downloads in a LocalEntryNotFoundError.
        except (ConnectionError, RuntimeError, errors.LocalEntryNotFoundError, connection_error) as error:
            response = _response(error)
            status = getattr(response, "status_code", None)
            if status is not None and status not in TRANSIENT:
                raise PublishError(_refusal(what, setting, status, error)) from error
            root = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
            trouble = f"the Hub answers {status}" if status else f"no answer from the Hub ({mask_text(repr(root))})"
            if attempt >= min(attempts, attempts if status or unanswered is None else unanswered):
                raise PublishError(
                    f"{what}: {trouble}, after {attempt} tries: try again later, or leave out `push_to_hub` to keep "
                    "the dataset local"
                ) from error
            wait = _wait(response, attempt)
            logger.info("%s: %s; next try in %.1f s", what, trouble, wait)
            time.sleep(wait)
    raise ValueError(f"attempts is {attempts}, but must be at least 1")


def is_passing(error: BaseException) -> bool:
    """Whether an error of `huggingface_hub` is trouble that may pass: the Hub is busy, unwell, or does not answer."""
    from huggingface_hub import errors

    status = getattr(_response(error), "status_code", None)
    if status is not None:
        return status in TRANSIENT
    return isinstance(error, ConnectionError | errors.HfHubHTTPError.__mro__[1])


def _response(error: BaseException | None) -> Any:
    """The Hub's answer, from the error or from what it was raised from."""
    while error is not None:
        if (response := getattr(error, "response", None)) is not None:
            return response
        error = error.__cause__
    return None


def _wait(response: Any, attempt: int) -> float:
    """Seconds to wait: what the Hub asks for, else longer each time and not in step with other clients."""
    asked = "" if response is None else response.headers.get("Retry-After", "")
    if asked.isdigit():
        return min(float(asked), MAX_WAIT_S)
    return min(2.0 ** (attempt - 1), MAX_WAIT_S) * random.uniform(0.5, 1.0)


def _refusal(what: str, setting: str, status: int, error: BaseException) -> str:
    if status == 401:
        return f"{what}: the Hub does not know the token: run `hf auth login` again, or set HF_TOKEN"
    if status in (403, 404):
        return (
            f"{what}: the account of this token may not write there: set `{setting}` to a namespace of your own, or "
            "use a token with write access to it"
        )
    return f"{what}: the Hub refuses with {status}: {mask_text(str(error))}"
