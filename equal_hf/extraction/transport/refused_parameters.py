"""Which parameter of a request an error refuses: models of one provider differ in what they take.

>>> refused_parameter(400, '{"error": {"message": "Unsupported value: \\'temperature\\' does not support 0.0"}}')
'temperature'
>>> refused_parameter(422, '{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}')
'seed'
>>> refused_parameter(400, '{"error": {"message": "max_tokens is too large: 99999"}}') is None
True
"""

from __future__ import annotations

import json
import re
from typing import Any

from equal_hf.extraction.transport.chat_body import LIMIT_FIELDS, SAMPLING_FIELDS, STREAM_FIELDS
from equal_hf.extraction.transport.schema_forms import SCHEMA_FIELDS

_NAMES = (*LIMIT_FIELDS, *SAMPLING_FIELDS, *SCHEMA_FIELDS, *STREAM_FIELDS)
_NAME = re.compile(rf"(?<![\w.])({'|'.join(_NAMES)})(?!\w)")
_THING = r"(name|parameter|field|argument|keyword|key|property|option)"
_REFUSED = re.compile(
    rf"unsupported|not (be )?support|n.t support|unrecogni[sz]ed|(unknown|unexpected|no such|unknown request) {_THING}"
    r"|extra_forbidden|not permitted|cannot find field|can.?not be (set|used|changed|specified)"
    r"|not (allowed|available|accepted)|deprecated|only the default"
)
# A name counts so near to such words: further on, a text may hold it by chance.
_NEAR = 80
# Behind that, servers quote the request.
_MAX_CHARACTERS = 600


def refused_parameter(status: int, text: str) -> str | None:
    """The parameter that a server does not take at all, or not with this value; `None` where an error is about
    something else.

    Args:
        status (`int`): The HTTP status.
        text (`str`): Its body.
    """
    if status not in (400, 422, 501):
        return None
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = text
    for error in _errors(body):
        if isinstance(error, dict):
            words = " ".join(str(error.get(key, "")) for key in ("message", "msg", "code", "type", "detail"))
            loc = error.get("loc")
            named = [error.get("param"), *(loc if isinstance(loc, list) else ())]
        else:
            words, named = str(error), []
        words = words.lower()[:_MAX_CHARACTERS]
        if (refused := _REFUSED.search(words)) is None:
            continue
        for name in named:
            if isinstance(name, str) and (first := name.partition(".")[0]) in _NAMES:
                return first
        # The first one that is named: another one may be named in its place.
        near = words[max(0, refused.start() - _NEAR) : refused.end() + _NEAR]
        if (found := _NAME.search(near)) is not None:
            return found[1]
    return None


def _errors(body: Any, depth: int = 0) -> list[Any]:
    """The errors that a body holds, however deep they are wrapped."""
    if isinstance(body, list) and depth < 4:
        return [error for one in body[:20] for error in _errors(one, depth + 1)]
    if isinstance(body, dict) and depth < 4:
        inner = [body[key] for key in ("error", "detail", "message") if isinstance(body.get(key), dict | list)]
        inner += [body["error"]] if isinstance(body.get("error"), str) else []
        return [error for one in inner for error in _errors(one, depth + 1)] or [body]
    return [body]
