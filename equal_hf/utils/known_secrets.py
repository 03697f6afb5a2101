"""Secrets known by their value, and taken out of any text in whatever form they come back.

What looks secret is found by its looks (`utils/redaction.py`); what a server, a library or an error echoes need not
look like anything. Known are: what settings and URLs hold (remembered when they are read), the environment's variables
of secret names, and the files of `hf auth login` and `netrc`.

>>> remember_url("https://host/v1?api_key=tr0ub4dor-and-3&api-version=2024-02-01")
>>> mask_known("401: tr0ub4dor-and-3 is no key for 2024-02-01")
'401: *** is no key for 2024-02-01'
"""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import json
import netrc
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

MASK = "***"

_SECRET_WORD = re.compile(
    r"secrets?|passwords?|passwd|pwd|passphrase|credentials?|authorization|apikeys?|bearer|cookies?|headers"
)
_SECRET_ENDINGS = {"token", "tokens", "key", "keys", "auth"}
# Words beside `token(s)` that make it a piece of text, not a credential: `eos_token`, `max_new_tokens`.
_TEXT_WORD = re.compile(
    r"eos|bos|pad|unk|sep|cls|mask|special|image|stop|prefix|suffix|max|min|num|new|total|prompt|completion|input|output"
)
_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>]+")
# Parameters of gateways that say which model or version is meant: their values are words that texts hold.
_PLAIN_PARAMETERS = re.compile(
    r"(?:api[-_]?)?version|model|deployment|region|location|project|format|page|limit|timeout|stream|alt|lang", re.I
)
# Headers that say what is sent or wanted, and by whom.
_PLAIN_HEADERS = re.compile(
    r"content-type|accept.*|user-agent|.*version|.*organi[sz]ation|.*project|.*referer|x-title", re.I
)
# Shorter values cannot be told from words: `test`, `none` and `local` stand where a key is asked for and none is
# needed, and occur in documents and replies, which must not be changed.
MIN_CHARACTERS = 6  # of letters and digits mixed
MIN_WORD_CHARACTERS = 12  # of letters alone
MIN_NUMBER_CHARACTERS = 16  # of digits, as in dates and versions
# From here on a value is found inside a longer word too.
_ANYWHERE_CHARACTERS = 12

_remembered: set[str] = set()
_lock = threading.Lock()


@functools.lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a setting of that name holds a credential.

    >>> [is_secret_name(name) for name in ("hub_token", "HF_TOKEN", "apiKey", "password", "extractor_api_key")]
    [True, True, True, True, True]
    >>> [is_secret_name(name) for name in ("max_tokens", "tokenizer", "eos_token", "key_column", "eos_token_id")]
    [False, False, False, False, False]
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    if any(_SECRET_WORD.fullmatch(word) for word in words):
        return True
    if not words or (words[-1] in ("token", "tokens") and any(_TEXT_WORD.fullmatch(word) for word in words)):
        return False
    return words[-1] in _SECRET_ENDINGS


def remember_secret(*values: str | None) -> None:
    """From here on, texts are masked of these values; those that are too short or too plain are left alone."""
    usable = {stripped for value in values if value and _is_telling(stripped := value.strip())}
    with _lock:
        _remembered.update(usable)


def remember_url(text: str) -> None:
    """Remember the secrets of every URL in a text: user, password, and values of its query."""
    for match in _URL.finditer(text):
        try:
            parts = urlsplit(match[0])
            remember_secret(*_both(parts.username, unquote), *_both(parts.password, unquote))
        except ValueError:
            continue
        if parts.username is not None:  # as basic authentication sends them
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            remember_secret(base64.b64encode(pair.encode()).decode())
        for part in re.split("[&;]", parts.query):
            name, equals, value = part.partition("=")
            if not equals:
                name, value = "", part
            if not _PLAIN_PARAMETERS.fullmatch(name):
                remember_secret(*_both(value, unquote_plus))


def remember_headers(headers: Mapping[str, str]) -> None:
    """Remember the values of headers, but for those that say what is sent or wanted."""
    for name, value in headers.items():
        if not _PLAIN_HEADERS.fullmatch(name):
            remember_secret(value, value.removeprefix("Bearer ").removeprefix("Basic "))


def mask_known(text: str) -> str:
    """The text without the secrets that are known by their value, plain or encoded.

    Args:
        text (`str`): Whatever is stored, shown or exported.
    """
    pattern = _pattern(frozenset(_remembered) | _of_environment() | _of_files())
    return text if pattern is None else pattern.sub(MASK, text)


def _both(value: str | None, decode: Callable[[str], str]) -> Iterator[str]:
    if value:
        yield value
        yield decode(value)


def _is_telling(value: str) -> bool:
    """Whether a value can be told from an ordinary word, number or date.

    >>> [_is_telling(value) for value in ("tr0ub4", "sk-12345678", "correct-horse-battery", "1234567890123456")]
    [True, True, True, True]
    >>> [_is_telling(value) for value in ("", "none", "test-1", "not-needed", "password", "2024-02-01", "***")]
    [False, False, False, False, False, False, False]
    """
    if not re.search(r"[^\W\d_]", value):
        return len(value) >= MIN_NUMBER_CHARACTERS
    if re.fullmatch(r"(?:[^\W\d_]+[-_ .]?)+", value) or re.fullmatch(r"[a-z]{1,5}[-_]?\d", value):
        return len(value) >= MIN_WORD_CHARACTERS
    return len(value) >= MIN_CHARACTERS


@functools.lru_cache(maxsize=8)
def _pattern(values: frozenset[str]) -> re.Pattern[str] | None:
    forms = {form for value in values for form in _forms(value) if len(form) >= MIN_CHARACTERS}
    # The longest first: a form may be a part of another one.
    ordered = sorted(forms, key=lambda form: (-len(form), form))
    return re.compile("|".join(map(_matching, ordered))) if ordered else None


def _forms(value: str) -> Iterator[str]:
    """What a secret looks like when it comes back: as it is, in a URL, in JSON, in Python's or HTML's escapes."""
    yield value
    yield from (quote(value), quote(value, safe=""), quote_plus(value))
    yield value.encode("unicode_escape").decode("ascii")
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value.encode("utf-8", "surrogateescape"))[2:-1]
    yield html.escape(value)
    yield base64.b64encode(value.encode("utf-8", "surrogateescape")).decode().rstrip("=")


def _matching(form: str) -> str:
    pattern = re.escape(form)
    if "%" in form:
        pattern = f"(?i:{pattern})"  # %2f and %2F are the same
    if len(form) >= _ANYWHERE_CHARACTERS:
        return pattern
    before = r"(?<![^\W_])" if form[0].isalnum() else ""
    return before + pattern + (r"(?![^\W_])" if form[-1].isalnum() else "")


def _of_environment() -> frozenset[str]:
    # Names first: a value is decoded anew each time that it is read.
    return _telling(tuple(os.environ.get(name, "").strip() for name in os.environ if is_secret_name(name)))


@functools.lru_cache(maxsize=8)
def _telling(values: tuple[str, ...]) -> frozenset[str]:
    # Some name a file that holds the secret, which messages must be able to name.
    return frozenset(value for value in values if _is_telling(value) and not Path(value).is_absolute())


def _of_files() -> frozenset[str]:
    """Secrets in the files that libraries below read by themselves."""
    names = ("HOME", "USERPROFILE", "HF_HOME", "HF_TOKEN_PATH", "HF_STORED_TOKENS_PATH", "NETRC")
    paths = _secret_files(*map(os.environ.get, names))
    return _in_files(tuple((path, _changed(path)) for path in paths))


@functools.lru_cache(maxsize=8)
def _secret_files(*settings: str | None) -> tuple[str, ...]:
    """Where the files lie, by the environment's variables; the first two say where `~` is."""
    _, _, hf_home, token, stored, rc = settings
    home = Path(hf_home or "~/.cache/huggingface").expanduser()
    paths = (token or home / "token", stored or home / "stored_tokens", rc or "~/.netrc")
    return tuple(str(Path(path).expanduser()) for path in paths)


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=8)
def _in_files(states: tuple[tuple[str, int], ...]) -> frozenset[str]:
    (token, _), (stored, _), (rc, _) = states
    values: list[str] = []
    for path in (token, stored):
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            continue
        values += [line.rpartition("=")[2].strip() for line in lines]
    with contextlib.suppress(OSError, ValueError, netrc.NetrcParseError):
        values += [value for login in netrc.netrc(rc).hosts.values() for value in (login[0], login[2]) if value]
    return frozenset(value for value in values if _is_telling(value))
