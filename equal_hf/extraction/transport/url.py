"""Where an endpoint is, and how to get in, with the secrets kept apart from what may be shown."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from equal_hf.errors import ConfigError
from equal_hf.utils.known_secrets import mask_known, remember_headers, remember_secret, remember_url

# What comes along when a key is copied: byte order mark, zero-width space and joiners.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
_HUGGING_FACE_HOSTS = (".huggingface.co", ".endpoints.huggingface.cloud", ".hf.space", ".hf.jobs")
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)$")
# A version that is no `/v1`, as of Gemini and Zhipu: the routes of OpenAI begin right behind it.
_OTHER_VERSION = re.compile(r"/v(?!1$)\d+\w*(/openai)?$")


@dataclass(frozen=True)
class Address:
    """Where an endpoint is and how to get in. Its text form holds no secret.

    Args:
        base (`str`): URL without credentials, without a trailing `/v1` or `/chat/completions`.
        routes (`str`): What stands there before OpenAI's routes: `/v1`, or nothing.
        shown (`str`): The URL as it may stand in a message: no credentials, no query.
        authorization (`str`, *optional*): Value of the `Authorization` header.
        headers (`dict[str, str]`): Further headers.
        secrets (`tuple[str, ...]`): What must never be shown.
    """

    base: str
    shown: str
    routes: str = "/v1"
    authorization: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, url: str, api_key: str | None = None, headers: Mapping[str, str] | None = None) -> Address:
        """Take a URL apart.

        Its query goes with every request, and a path that ends in `/chat/completions` is taken as it is. Azure gets
        an `api_key` in the header `api-key`. A user and password in the URL become basic authentication. Without an
        `api_key` the Hugging Face token (`HF_TOKEN`, or the one `hf auth login` stored) is used, but only for `https`
        hosts of Hugging Face: no other server is shown that token.

        Args:
            url (`str`): `http` or `https`.
            api_key (`str`, *optional*): Sent as a bearer token.
            headers (`Mapping[str, str]`, *optional*): Sent with every request; taken for secrets.

        White space around key and values, such as the end of the line of a file, is no part of them.

        Raises:
            `ConfigError`: If it is no URL of a server, or a key or header could not be sent.

        >>> Address.parse("http://me:secret@localhost:8080/v1/?key=k").shown
        'http://localhost:8080'
        """
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            shown = url.rpartition("@")[2].partition("?")[0]
            raise ConfigError(f"{shown!r} is no URL. Set `extractor_url` to one such as http://localhost:8080.")
        api_key = _sendable(api_key or "", "extractor_api_key")
        more = {
            _header_name(name): _sendable(value, f"extractor_headers: {name}")
            for name, value in (headers or {}).items()
        }
        remember_secret(api_key)
        remember_headers(more)
        remember_url(url)
        whole = parts.path.rstrip("/")
        path = whole.removesuffix("/chat/completions").removesuffix("/v1")
        # A path that is given to its end is taken as it is.
        bare = whole.endswith("/chat/completions") and not whole.endswith("/v1/chat/completions")
        routes = "" if bare or _DEPLOYMENT.search(path) or _OTHER_VERSION.search(path) else "/v1"
        host = parts.netloc.rpartition("@")[2]
        password = unquote(parts.password or "")
        secrets = [secret for secret in (api_key, password, parts.query) if secret]
        is_azure = f".{parts.hostname}".endswith(_AZURE_HOSTS) or _DEPLOYMENT.search(path) is not None
        in_header = is_azure and not api_key.startswith("eyJ")  # which begins a token of Microsoft Entra
        authorization = f"Bearer {api_key}" if api_key and not in_header else None
        if api_key and in_header:
            more.setdefault("api-key", api_key)
        if not api_key and parts.username is not None:
            pair = base64.b64encode(f"{unquote(parts.username)}:{password}".encode()).decode()
            authorization = f"Basic {pair}"
            secrets.append(pair)
        elif not api_key and parts.scheme == "https" and f".{parts.hostname}".endswith(_HUGGING_FACE_HOSTS):
            from huggingface_hub import get_token

            if token := get_token():
                authorization = f"Bearer {token}"
                remember_secret(token)
                secrets.append(token)
        base = urlunsplit((parts.scheme, host, path, parts.query, ""))
        shown = urlunsplit((parts.scheme, host, path, "", ""))
        return cls(base, shown, routes, authorization, more, (*secrets, *filter(None, more.values())))

    @property
    def host(self) -> str:
        """The server's host name."""
        return urlsplit(self.base).hostname or ""

    def sent(self) -> dict[str, str]:
        """The headers that let a request in."""
        return self.headers | ({"authorization": self.authorization} if self.authorization else {})

    @property
    def is_gemini(self) -> bool:
        """Whether it is the compatible route of Gemini's API, which counts thoughts in a way of its own."""
        return self.host.endswith("googleapis.com") or urlsplit(self.base).path.endswith("/v1beta/openai")

    @property
    def deployment(self) -> str | None:
        """The model's name, where the URL tells it, as Azure's older routes do."""
        found = _DEPLOYMENT.search(urlsplit(self.base).path)
        return unquote(found[1]) if found else None

    def at(self, path: str) -> str:
        """The URL of a path of this server; `/v1/…` are OpenAI's routes, wherever it has them."""
        parts = urlsplit(self.base)
        if path.startswith("/v1/"):
            path = self.routes + path.removeprefix("/v1")
        return urlunsplit(parts._replace(path=parts.path + path))

    def redact(self, text: str) -> str:
        """A server's words without our secrets."""
        text = mask_known(text)
        for secret in self.secrets:  # among them such as are too short to be looked for in replies
            text = text.replace(secret, "***")
        return text


def _sendable(value: str, setting: str) -> str:
    """A secret as a header carries it.

    Raises:
        `ConfigError`: If none can. The message does not hold it.
    """
    value = value.strip().strip(_INVISIBLE).strip()
    if bad := next((char for char in value if not " " <= char <= "~"), None):
        raise ConfigError(
            f"`{setting}` holds the character {bad!a}, which no header can carry. Set it to the key alone; a file "
            "or a paste may have added something."
        )
    return value


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ConfigError("`extractor_headers` has a name that no HTTP header can have: use letters, digits and `-`.")
    return name
