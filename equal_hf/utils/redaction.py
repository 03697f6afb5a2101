"""Takes secrets out of whatever is recorded, logged or published: configurations, URLs, command lines.

Three nets: a value whose *name* says secret (`hub_token`, `api_key`, `headers`) is masked whole; any text is searched
for what *looks* secret (credentials in a URL, `Bearer …`, well-known token prefixes); and for the *values* that are
known to be secret (`utils/known_secrets.py`), which those under such a name are from then on. None replaces keeping
secrets out of configurations; all keep a slip from reaching a card on the Hub.

>>> sanitise({"hub_token": "hf_abc", "max_new_tokens": 64, "endpoint": "https://me:pw@host/v1"})
{'hub_token': '***', 'max_new_tokens': 64, 'endpoint': 'https://***@host/v1'}
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

from equal_hf.utils.known_secrets import (
    MASK,
    is_secret_name,
    mask_known,
    remember_headers,
    remember_secret,
    remember_url,
)

# Signatures and codes of clouds go by names such as `sig` or `code`: what a URL asks for is nobody's business.
_URL_QUERY = re.compile(r"(?P<base>\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s?#\"'<>]*)\?(?P<query>[^\s#\"'<>]+)")
_URL_CREDENTIALS = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#@]*(?:@[^\s/?#@]*)*@")
_NAMED_VALUE = re.compile(r"(?P<lead>[?&;]|--?)(?P<name>[A-Za-z][\w.-]*)=(?P<value>[^&#;\s\"']+)")
_FLAG_VALUE = re.compile(r"(?<!\S)(?P<lead>--?(?P<name>[A-Za-z][\w-]*)\s+)(?P<value>[^\s-]\S*)")
_LOOKS_SECRET = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)|(?<=\bBearer )[^\s,;'\"]+|(?<=\bBasic )[A-Za-z0-9+/=]{8,}",
)


def mask_url(text: str) -> str:
    """The text without the credentials of any URL in it: user, password and the values of its query.

    >>> mask_url("GET https://user:pw@host:8080/v1?sig=abc&page=2 failed")
    'GET https://***@host:8080/v1?sig=***&page=*** failed'
    """

    def hide_query(match: re.Match[str]) -> str:
        parts = re.split(r"([&;])", match["query"])
        hidden = [f"{part.partition('=')[0]}={MASK}" if "=" in part else part for part in parts]
        if len(parts) == 1 and "=" not in parts[0]:
            hidden = [MASK]
        return f"{match['base']}?{''.join(hidden)}"

    def hide(match: re.Match[str]) -> str:
        value = MASK if is_secret_name(match["name"]) else match["value"]
        return f"{match['lead']}{match['name']}={value}"

    bare = _URL_QUERY.sub(hide_query, _URL_CREDENTIALS.sub(rf"\g<scheme>{MASK}@", text))
    return _NAMED_VALUE.sub(hide, bare)


def mask_text(text: str) -> str:
    """The text without known secrets, URL credentials, values of secret flags, and what looks like a well-known token.

    >>> mask_text("Authorization: Bearer abc, or hf_abcdefghijklmnop")
    'Authorization: Bearer ***, or ***'
    >>> mask_text("run.py --hub_token abc --seed 1")
    'run.py --hub_token *** --seed 1'
    """

    def hide(match: re.Match[str]) -> str:
        return f"{match['lead']}{MASK}" if is_secret_name(match["name"]) else match[0]

    return _LOOKS_SECRET.sub(MASK, _FLAG_VALUE.sub(hide, mask_url(mask_known(text))))


def remember_settings(config: Any) -> None:
    """From here on, texts are masked of what settings or a command line hold under secret names and in URLs.

    Args:
        config (`Any`): As for [`sanitise`].
    """
    sanitise(config)


def sanitise(config: Any) -> Any:
    """A copy in plain JSON types, without secrets. Applying it again changes nothing.

    Args:
        config (`Any`): Mappings, sequences, dataclasses and scalars, nested at will. Paths and enumerations become
            text, functions their qualified name; other objects their text, or their type's name where that text holds
            an address.

    >>> sanitise({"headers": {"X-Api": "abc"}, "argv": ["run", "--hub_token", "hf_abc", "--seed", "1"]})
    {'headers': {'X-Api': '***'}, 'argv': ['run', '--hub_token', '***', '--seed', '1']}
    """
    if config is None or isinstance(config, bool | int | float):
        return config
    if isinstance(config, Enum):
        return sanitise(config.value)
    if isinstance(config, str | PurePath):
        remember_url(str(config))
        return mask_text(str(config))
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {mask_text(str(key)): _named(str(key), value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [
            _hidden(item)
            if number and _is_secret_flag(config[number - 1]) and isinstance(item, str)
            else _argument(item)
            for number, item in enumerate(config)
        ]
    if isinstance(config, set | frozenset):
        return sorted((sanitise(item) for item in config), key=str)
    if callable(config) and hasattr(config, "__qualname__"):
        return f"{config.__module__}.{config.__qualname__}"
    text = str(config)
    return f"{type(config).__module__}.{type(config).__qualname__}" if " at 0x" in text else mask_text(text)


def _argument(item: Any) -> Any:
    """An element of a list, which may be a command line: what a secret flag is set to goes whole, blanks and all."""
    if isinstance(item, str) and item.startswith("-") and "=" in item:
        flag, _, value = item.partition("=")
        return f"{flag}={_hidden(value)}" if is_secret_name(flag) else sanitise(item)
    return sanitise(item)


def _named(name: str, value: Any) -> Any:
    if not is_secret_name(name):
        return sanitise(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        remember_headers({str(key): item for key, item in value.items() if isinstance(item, str)})
        return {mask_text(str(key)): MASK if isinstance(item, str) else _hidden(item) for key, item in value.items()}
    if isinstance(value, int | float) and name.lower().endswith("tokens"):
        return value  # a count of tokens
    return _hidden(value)


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        remember_secret(value)
    return value if value is None or isinstance(value, bool) else MASK


def _is_secret_flag(item: Any) -> bool:
    return isinstance(item, str) and item.startswith("-") and "=" not in item and is_secret_name(item)
