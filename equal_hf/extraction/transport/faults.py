"""What is wrong with a response, by kind: it passes, it is this document's own, or every request would get it.

| kind | example | what is done |
|---|---|---|
| passes ([`TransportFault`]) | 429, 503, a dropped connection, a 400 that says nothing of the document | sent again |
| this document's own ([`Refusal`]) | too long, content policy, a template that refuses it | the document is given up |
| every request's ([`Blocked`]) | the key, the model, the account's money, a proxy | the run stops |

Only the second kind is ever stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from equal_hf.extraction.transport.refused_parameters import refused_parameter
from equal_hf.types import Usage
from equal_hf.utils.retry import asked_wait_s, is_transient, wait_s

# Too much was asked: vLLM sends 415 where it could not read a request under load, Groq 498, Anthropic 529.
_BUSY = (415, 429, 498, 529)
# Beside what passes everywhere: conflicts of requests, and 499, which gateways log for a client that went away.
_PASSING = (409, 499, *_BUSY)
# Somebody waited in vain for a generation that may have gone on to its end.
_MAYBE_BILLED = (408, 504, 524)
# An error's words are looked at so far: behind that, servers quote the request.
_MAX_CHARACTERS = 600

# Named by a code: true whatever else is said.
_MONEY_CODES = re.compile(
    r"insufficient_quota|billing_hard_limit|billing_not_active|insufficient_(balance|credits?|funds)|payment_required"
    r"|exceeded_current_quota|credit_balance|arrearage|accountoverdue"
)
# Named in words, which rate limits use too: believed where no wait is told.
_MONEY_WORDS = re.compile(
    r"insufficient[ _-](account )?(quota|balance|credits?|funds)|(out of|not enough|used all)( \w+){0,3} credits?"
    r"|credit (balance|limit)|balance (is )?(too low|insufficient|not enough)"
    r"|exceeded your (\w+ ){0,2}(quota|credits?)"
    r"|(billing|spend(ing)?|payment) (hard )?(limit|cap)|payment required|billing details|overdue|top up your"
)
# Of the service tier that was asked for: OpenAI's "429 Resource Unavailable"; Groq has a status of its own.
_CAPACITY = re.compile(r"resource[ _-]?unavailable|capacity")
# Of TGI's "Input validation error" the rest of the words tell: nearly always, that the input is too long.
_TOO_LONG = re.compile(
    r"context[ _-](length|window|size)|maximum (context|input|prompt|model|sequence|allowed)|max_model_len"
    r"|context_length_exceeded|exceed_context_size|string_above_max_length|request too large|payload too large"
    r"|(prompt|inputs?|messages?|request|text|string|content)( is| are| was)? (too|longer) (long|large|than)"
    r"|too many (input |prompt )?tokens|tokens? .{0,40}must be <=|must have less than \d+ tokens|reduce (the|your) \w+"
    r"|input validation error|(longer|larger|greater) than the (model|maximum|context)|number of tokens"
)
# A reply longer than the model can write is asked for, whatever the document.
_REPLY_LIMIT = re.compile(r"max[_ ]?(completion_|new_|output_?)?tokens|(output|completion) tokens")
_ABOVE = re.compile(
    r"too large|at most|maximum (allowed|number of output|value)|(valid|supported) range|should be (in )?\[|> \d"
    r"|must be (<=|less|lower|at most|between)|cannot be greater|exceeds? (the )?(max|limit|model)"
)
_OF_PROMPT = re.compile(r"\b(inputs?(?! validation)|prompts?|messages?)\b|maximum context length")
# In place of an empty reply, where OpenAI's models think until the limit.
_NO_ROOM_LEFT = re.compile(r"output limit was reached|higher max_tokens")
_CONTENT = re.compile(
    r"content[ _-]?(policy|filter|management|moderation)|content_policy_violation|responsibleaipolicy|moderation"
    r"|safety (system|filter|polic|setting)|was flagged|prompt was blocked|prohibited_content|data_?inspection_?failed"
    r"|inappropriate content"
)
_TEMPLATE = re.compile(
    r"template[ _]?error|chat template|jinja|roles must alternate|raise_exception|(apply|render)\w* .{0,20}template"
)
_BODY_WAIT = re.compile(
    r"(?:try again|retry|wait)\w*\W+(?:in|after|for)?\W*((?:\d[\d.]*\s*[a-zµ]+\s*)+)|retrydelay\W+([\d.]+s)"
)


class TransportFault(Exception):
    """A request that got no usable answer and may be sent again.

    Args:
        fact (`str`): What happened, without secrets.
        retry_after_s (`float`, *optional*): How long the server asks to be left alone.
        kind (`str`, *optional*, defaults to `"broken"`): `"broken"` (the connection), `"timeout"`, `"malformed"` (an
            answer that is no chat completion), `"failed"` (an HTTP error), `"busy"` (429 and its like),
            `"unavailable"` (503), `"odd"` (a client error that names no cause) or `"refused"` (there is no
            connection).
        maybe_billed (`bool`, *optional*): Whether the server may have generated, and billed, a reply that never came;
            by kind where left out.
        usage ([`Usage`], *optional*): What it used, where the server tells.
        remedy (`str`, *optional*): What to do where it does not pass.
        capacity (`bool`, *optional*, defaults to `False`): Whether the service tier asked for has no capacity.

    Attributes:
        begins (`str`, *optional*): First words of a chat answer that is no chat completion, without secrets.
        parameter (`str`, *optional*): The parameter of the request that is refused, where an error names one.
    """

    begins: str | None = None
    parameter: str | None = None

    def __init__(
        self,
        fact: str,
        retry_after_s: float | None = None,
        kind: str = "broken",
        *,
        maybe_billed: bool | None = None,
        usage: Usage | None = None,
        remedy: str = "Look at the server's log.",
        capacity: bool = False,
    ) -> None:
        super().__init__(fact)
        self.retry_after_s = retry_after_s
        self.kind = kind
        self.maybe_billed = kind in ("broken", "timeout", "malformed") if maybe_billed is None else maybe_billed
        self.usage = usage
        self.remedy = remedy
        self.capacity = capacity

    @property
    def shown(self) -> str:
        """The fact, with the first words of what came where that is known."""
        if self.begins is None:
            return str(self)
        return f"{self}, it holds {self.begins!r}" if self.begins else f"{self}, it is empty"


class Refusal(Exception):
    """The server refuses this document: too long for it, against its content policy, or at odds with its template.

    Args:
        status (`int`): The HTTP status.
        body (`str`): The server's words.
        server (`str`, *optional*): Which server; another may take it. Set by whoever knows.
    """

    def __init__(self, status: int, body: str, server: str = "") -> None:
        super().__init__(f"HTTP {status}: {body}")
        self.status = status
        self.server = server


class Blocked(Exception):
    """Every request would get this: the key, the model, the account or the path is wrong.

    Args:
        status (`int`): The HTTP status; 0 where there is none.
        fact (`str`): What is wrong, with its remedy.
        by_server (`bool`, *optional*, defaults to `True`): Whether the server says so, or what is on the way to it.
    """

    def __init__(self, status: int, fact: str, *, by_server: bool = True) -> None:
        super().__init__(fact)
        self.status = status
        self.by_server = by_server


def judge(status: int, headers: Mapping[str, str], text: str) -> TransportFault | Refusal | Blocked:
    """Tell the kind of an HTTP error, by what it says before its number.

    Args:
        status (`int`): The HTTP status.
        headers (`Mapping[str, str]`): The response's headers.
        text (`str`): Its body, without secrets.

    >>> type(judge(400, {}, '{"error": {"code": "billing_hard_limit_reached"}}')).__name__
    'Blocked'
    >>> judge(400, {}, '{"error": {"message": "The maximum context length is 4096 tokens"}}')
    Refusal('HTTP 400: The maximum context length is 4096 tokens')
    >>> judge(400, {}, "Bad Request").kind, judge(415, {}, "").kind, judge(520, {}, "").kind
    ('odd', 'busy', 'failed')
    """
    said = _words(text)
    lower = said.lower()[:_MAX_CHARACTERS]
    shown = f" It says: {said[:300]}" if said else ""
    wait = asked_wait_s(headers)
    if wait is None:
        wait = _told_wait_s(text.lower())
    if 400 <= status < 500 and is_about_money(status, lower, wait):
        return Blocked(
            status,
            f"it answers {status}: the account has no money or quota left. Top it up or raise its limit, or use "
            f"another `extractor_api_key`, and run again: what came is in the response store.{shown}",
        )
    if is_reply_limit(status, lower):
        remedy = "Lower `extractor_max_new_tokens`, or `extractor_max_reasoning_tokens` if that is set."
        return Blocked(status, f"it answers {status}, the model writes no reply of so many tokens. {remedy}{shown}")
    if is_documents_own(status, lower) or leaves_no_room(status, lower):
        return Refusal(status, said)
    if status == 401 or (status == 403 and not _is_page(text)):
        return Blocked(
            status,
            f"it answers {status}, the key is missing or wrong. Set EQUAL_API_KEY in the "
            f"environment; `extractor_api_key` of the settings comes before it.{shown}",
        )
    if status in (404, 405, 410):
        remedy = "Correct `extractor_model` or `extractor_url`."
        return Blocked(status, f"it answers {status}, the model or the path is not there. {remedy}{shown}")
    fact = f"HTTP {status} {said[:200]}".strip()
    if status in _BUSY:
        return TransportFault(fact, wait, "busy", capacity=status == 498 or _CAPACITY.search(lower) is not None)
    if status == 503:
        return TransportFault(fact, wait, "unavailable")
    if is_transient(status) or status in _PASSING:
        return TransportFault(fact, wait, "failed", maybe_billed=status in _MAYBE_BILLED)
    fault = TransportFault(fact, wait, "odd")
    fault.parameter = refused_parameter(status, text)
    return fault


def is_about_money(status: int, words: str, wait: float | None) -> bool:
    """Whether an error says that the account can pay no more.

    Args:
        status (`int`): The HTTP status.
        words (`str`): What it says, in lower case.
        wait (`float`, *optional*): How long it asks to wait; a rate limit does, an empty account does not.
    """
    if status == 402 or _MONEY_CODES.search(words):
        return True
    return wait is None and _MONEY_WORDS.search(words) is not None


def is_reply_limit(status: int, words: str) -> bool:
    """Whether an error says that the model cannot write so long a reply, whatever it is asked.

    Args:
        status (`int`): The HTTP status.
        words (`str`): What it says, in lower case.
    """
    if status not in (400, 422) or _REPLY_LIMIT.search(words) is None or _ABOVE.search(words) is None:
        return False
    # Some count the prompt in: then another document may have room.
    return _OF_PROMPT.search(words) is None


def leaves_no_room(status: int, words: str) -> bool:
    """Whether an error says that the model thought until the limit of its reply.

    Args:
        status (`int`): The HTTP status.
        words (`str`): What it says, in lower case.
    """
    return status == 400 and _NO_ROOM_LEFT.search(words) is not None


def is_documents_own(status: int, words: str) -> bool:
    """Whether an error is about the document that was sent, and would come every time.

    Args:
        status (`int`): The HTTP status.
        words (`str`): What it says, in lower case.
    """
    if status == 413:
        return True
    if status in (400, 403, 422, 451) and _CONTENT.search(words):
        return True
    if status in (400, 422, 500) and (_TOO_LONG.search(words) or _TEMPLATE.search(words)):
        return True
    # More than the account's limit per minute in one request: no wait helps.
    return status == 429 and "request too large" in words


def judge_error(error: Any, usage: Usage | None) -> TransportFault | Refusal | Blocked:
    """Tell the kind of an error that came with status 200.

    Args:
        error (`Any`): The value of `error` in its JSON.
        usage ([`Usage`], *optional*): What it used, where the server tells.
    """
    code = error.get("code") if isinstance(error, dict) else None
    status = int(str(code)) if str(code).isdecimal() and 400 <= int(str(code)) < 600 else 0
    text = json.dumps({"error": error}, ensure_ascii=False, default=str)
    kind = judge(status or 400, {}, text)
    if isinstance(kind, TransportFault):
        # Without a status nobody knows whether anything was generated before it went wrong.
        billed = not status or status in _MAYBE_BILLED or usage is not None
        fact = f"status 200 with an error: {_words(text)[:200]}"
        return TransportFault(
            fact, kind.retry_after_s, kind.kind if status else "failed", maybe_billed=billed, usage=usage
        )
    return kind


def _is_page(text: str) -> bool:
    """Whether a body is a page for people, as firewalls answer in place of a server."""
    return text.lstrip()[:15].lower().startswith(("<!doctype", "<html"))


def _told_wait_s(text: str) -> float | None:
    found = _BODY_WAIT.search(text[: _MAX_CHARACTERS * 4])
    return None if found is None else wait_s((found[1] or found[2]).strip())


def _words(text: str) -> str:
    """What an error says: its message, code and type, without the rest of its JSON."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, str):
        kind = body.get("error_type") if isinstance(body, dict) else None
        return f"{error} ({kind})" if kind else error
    if not isinstance(error, dict):
        return " ".join(text.split())
    if isinstance(details := error.get("detail"), list):  # FastAPI's form, which quotes the request
        return "; ".join(str(one["msg"]) for one in details if isinstance(one, dict) and "msg" in one)
    message = next((error[key] for key in ("message", "detail", "msg") if isinstance(error.get(key), str)), "")
    names = [error[key] for key in ("code", "type", "status") if isinstance(error.get(key), str)]
    more = ", ".join(name for name in dict.fromkeys(names) if name not in message)
    if not message and not more:
        return " ".join(text.split())
    return f"{message} ({more})" if message and more else message or more
