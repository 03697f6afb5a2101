"""Calls to the Hub: wait out what passes, ask again for what came damaged, and turn the rest into one true line.

Everything that talks to the Hub goes through [`retry_hub`]: pushes, downloads, ranged reads, look-ups at a start.
"""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from equal_hf.errors import EqualError, PublishError
from equal_hf.utils.printable import first_line
from equal_hf.utils.redaction import mask_text
from equal_hf.utils.retry import asked_wait_s, is_transient

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

ATTEMPTS = 9  # with the waits between them, two to four minutes
# Where nobody answers at all: about 45 s, enough for a restart; a wrong address or a machine without a network should
# not be waited for much longer. Fewer where every try takes `SILENCE_S`, or nobody knows the name.
UNANSWERED, SILENT = 7, 3
# What came damaged is asked for again at once; where it stays so, more of the same does not help.
DAMAGED = 3
# Conflicts with another commit, beside what `is_transient` names: the next try reads the repository anew.
CONFLICTS = (409, 412)
# The Hub counts requests in windows of five minutes.
MAX_WAIT_S, MAX_ASKED_WAIT_S = 120.0, 900.0
# Limits for a Hub that does not answer a call, or not even accept it. `huggingface_hub` itself would wait for ever.
SILENCE_S, CONNECT_S = 60.0, 10.0


class DamagedAnswer(Exception):
    """The Hub's answer is not what was asked for: cut short, or other bytes than its checksum says."""


class _Trouble(NamedTuple):
    fact: str
    attempts: int
    response: Any


def limit_silence() -> None:
    """From here on, no call to the Hub that this process makes waits for ever for an answer.

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
    action: Callable[[], Result],
    what: str,
    setting: str,
    attempts: int = ATTEMPTS,
    *,
    error: type[EqualError] = PublishError,
    access: Literal["read", "write"] = "write",
    otherwise: str = "",
) -> Result:
    """Call the Hub, and again while the trouble passes. The action must be safe to repeat.

    Args:
        action (`Callable`): Calls `huggingface_hub`.
        what (`str`): What is being done, for messages.
        setting (`str`): The setting that names the repository, for messages.
        attempts (`int`, *optional*, defaults to `9`): Tries in all, at least 1.
        error (`type`, *optional*, defaults to [`PublishError`]): What to raise.
        access (`"read"` or `"write"`, *optional*, defaults to `"write"`): What the account must be allowed to do.
        otherwise (`str`, *optional*): What can be done without the Hub, for messages: ", or …".

    Raises:
        [`EqualError`]: Of the type `error`, if the Hub refuses, or the trouble outlasts the attempts.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils import _http

    if _http._GLOBAL_CLIENT is None:  # else it may be in use by another thread
        limit_silence()
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except EqualError:
            raise
        except errors.LocalTokenNotFoundError:
            raise error(
                f"{what} needs a Hugging Face token and none is set: run `hf auth login` or set HF_TOKEN{otherwise}"
            ) from None
        except errors.HFValidationError as problem:
            raise error(
                f"{what}: `{setting}` names no repository ({_line(problem)}): set it to namespace/name"
            ) from None
        except errors.OfflineModeIsEnabled as problem:
            raise error(f"{what}: HF_HUB_OFFLINE is set, so the Hub is not asked: unset it{otherwise}") from problem
        except Exception as problem:
            if isinstance(problem, ValueError) and "README.md" in str(problem):
                raise error(f"{what}: {problem}\nCorrect the metadata at the top of the card") from problem
            trouble = _trouble(problem, attempts)
            if trouble is None:
                if (response := _response(problem)) is None:
                    raise
                raise error(_refusal(what, setting, response, problem, access)) from problem
            if attempt >= trouble.attempts:
                raise error(f"{what}: {trouble.fact}, after {attempt} tries: try again later{otherwise}") from problem
            _sleep(what, trouble, attempt)
    raise ValueError(f"attempts is {attempts}, but must be at least 1")


def wait_for_hub(action: Callable[[], Result], what: str) -> Result:
    """As [`retry_hub`], for loaders of other libraries, whose own errors come through in the end.

    Args:
        action (`Callable`): Loads something that may be on the Hub.
        what (`str`): What is being done, for messages.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return action()
        except Exception as problem:
            if (trouble := _trouble(problem, ATTEMPTS)) is None or attempt >= trouble.attempts:
                raise
            _sleep(what, trouble, attempt)
    return action()


def _sleep(what: str, trouble: _Trouble, attempt: int) -> None:
    wait = _wait(trouble.response, attempt)
    level = logging.WARNING if wait >= 1 else logging.INFO
    logger.log(level, "%s: %s; next try in %.1f s", what, trouble.fact, wait)
    time.sleep(wait)


def _trouble(problem: BaseException, attempts: int) -> _Trouble | None:
    """What is wrong, if another try may help, and how many are worth it."""
    from huggingface_hub import constants, errors

    # The base error of the HTTP client that huggingface_hub is built on: connections refused, lost or timed out.
    no_answer = (ConnectionError, TimeoutError, errors.HfHubHTTPError.__mro__[1])
    few = min(attempts, DAMAGED)
    chain = list(_causes(problem))
    if any(isinstance(one, DamagedAnswer) for one in chain):
        return _Trouble(f"the Hub's answer is damaged ({_line(chain[0])})", few, None)
    if (response := _response(problem)) is not None:
        status = response.status_code
        if is_transient(status) or status in CONFLICTS:
            return _Trouble(f"the Hub answers {status}", attempts, response)
        if status == 416 or not _is_hub(response):
            # A signed address that has expired, or came damaged: the next try asks for another one.
            return _Trouble(f"the Hub's storage answers {status}", few, response)
        return None
    ours = (errors.OfflineModeIsEnabled, errors.LocalTokenNotFoundError, EqualError)
    if constants.is_offline_mode() or any(isinstance(one, ours) for one in chain):
        return None
    if lost := next((one for one in chain if isinstance(one, no_answer)), None):
        tries = min(attempts, SILENT if _is_lasting(lost) else UNANSWERED)
        return _Trouble(f"no answer from the Hub ({mask_text(repr(lost))})", tries, None)
    if isinstance(problem, errors.HFValidationError) or (isinstance(problem, OSError) and problem.errno is not None):
        return None  # a name that is none, or the disk
    if isinstance(problem, errors.LocalEntryNotFoundError):
        return _Trouble(f"no answer from the Hub ({_line(chain[-1])})", min(attempts, UNANSWERED), None)
    # Whatever else comes out of huggingface_hub or its parsers stumbled over an answer.
    if isinstance(problem, Exception) and _came_from_client(problem):
        fact = f"{type(chain[-1]).__name__}: {_line(chain[-1])}"
        return _Trouble(f"the Hub's answer is damaged ({fact})", few, None)
    return None


def _is_lasting(problem: BaseException) -> bool:
    """Whether waiting rarely mends it: silence, a name that nobody knows, a certificate that is not trusted."""
    unknown = ("Name or service not known", "nodename nor servname", "getaddrinfo failed", "CERTIFICATE_VERIFY_FAILED")
    silent = isinstance(problem, TimeoutError) or "Timeout" in type(problem).__name__
    return silent or any(words in str(problem) for words in unknown)


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__


def _response(problem: BaseException | None) -> Any:
    """The Hub's answer, from the error or from what it was raised from."""
    responses = (getattr(one, "response", None) for one in _causes(problem))
    return next((response for response in responses if response is not None), None)


def _is_hub(response: Any) -> bool:
    """Whether the Hub itself answers, and not the storage that its signed addresses lead to."""
    from huggingface_hub import constants

    try:
        return str(response.url.netloc, "ascii") == urlsplit(constants.ENDPOINT).netloc
    except (AttributeError, RuntimeError, TypeError, UnicodeDecodeError):  # a response without a request
        return True


def _came_from_client(problem: BaseException) -> bool:
    """Whether an error was raised inside of `huggingface_hub`, and not by what we do with an answer."""
    trace, last = problem.__traceback__, ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        last = name if name in ("huggingface_hub", "equal_hf") else last
        trace = trace.tb_next
    return last == "huggingface_hub"


def _wait(response: Any, attempt: int) -> float:
    """Seconds to wait: what the Hub asks for, else longer each time and not in step with other clients."""
    asked = None if response is None else asked_wait_s(response.headers)
    if asked is not None:
        return min(asked, MAX_ASKED_WAIT_S)
    return min(2.0 ** (attempt - 1), MAX_WAIT_S) * random.uniform(0.5, 1.0)


def _refusal(what: str, setting: str, response: Any, problem: BaseException, access: str) -> str:
    status = response.status_code
    words = _words(response, problem)
    if status == 401:
        return f"{what}: the Hub does not know the token ({words}): run `hf auth login` again, or set HF_TOKEN"
    if status in (403, 404):
        return (
            f"{what}: the Hub refuses with {status}: {words}. If the account of this token may not {access} there: "
            f"set `{setting}` to a namespace of your own, or use a `token` with {access} access to it"
        )
    return f"{what}: the Hub refuses with {status}: {words}"


def _words(response: Any, problem: BaseException) -> str:
    """The Hub's own words, on one line."""
    said = response.headers.get("X-Error-Message")
    if not said:
        try:
            said = response.json()["error"]
        except Exception:  # no JSON, not read, or another form of it
            said = getattr(problem, "server_message", None) or response.reason_phrase or _line(problem)
    return mask_text(" ".join(str(said).split()))[:300].rstrip(". ")


def _line(problem: BaseException) -> str:
    return mask_text(first_line(problem)).rstrip(". ")
