"""What each kind of model server calls things: how to tell them apart, and how to count tokens.

| dialect | told by | tokens are counted by |
|---|---|---|
| `tgi` | `/info` | `/chat_tokenize` |
| `llama.cpp` | `/props` | `/apply-template`, `/tokenize` |
| `vllm` | its list of models, or `/version` | `/tokenize` |
| `sglang` | its list of models, or `/get_model_info` | UTF-8 bytes |
| `ollama` | `/api/version` | UTF-8 bytes |
| `openai` | none of these | UTF-8 bytes |

How each is asked for JSON is in `schema_forms`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from equal_hf.errors import EndpointError
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.extraction.transport.model_listing import listed
from equal_hf.types import Messages

DIALECTS = ("tgi", "llama.cpp", "vllm", "sglang", "ollama", "openai")
# Ollama cuts longer prompts without a word, and its OpenAI route cannot raise that; this is what it takes by default.
OLLAMA_CONTEXT = 4096

GetJson = Callable[[str], Awaitable[Any]]
"""Fetches a path of the server; `None` where there is no JSON to be had."""
PostJson = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Posts a body to a path of the server and returns the reply's JSON."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a server tells about itself.

    Args:
        dialect (`str`): One of `DIALECTS`.
        model (`str`): The model's name, without the folders of the machine it lies on.
        requested_model (`str`): What requests carry as `model`.
        revision (`str`, *optional*): The model's commit, where the server tells.
        max_input_tokens (`int`, *optional*): Most tokens of a prompt.
        max_total_tokens (`int`, *optional*): Most tokens of prompt and reply together.
        max_concurrent (`int`, *optional*): How many requests it answers at a time.
        is_known (`bool`): Whether an answer told that it is a model server.
        listed_prices (`Mapping[str, float]`, *optional*): Prices of a million tokens, by `prompt`, `completion` and
            `cached`, where its list of models tells them.
    """

    dialect: str
    model: str
    requested_model: str
    revision: str | None = None
    max_input_tokens: int | None = None
    max_total_tokens: int | None = None
    max_concurrent: int | None = None
    is_known: bool = True
    listed_prices: Mapping[str, float] | None = None

    def prompt_limit(self, max_new_tokens: int) -> int | None:
        """Most tokens of a prompt that leaves room for such a reply; `None` where the server tells no limit.

        >>> Server("tgi", "m", "m", max_input_tokens=3000, max_total_tokens=4096).prompt_limit(1024)
        3000
        >>> Server("tgi", "m", "m", max_input_tokens=4000, max_total_tokens=4096).prompt_limit(1024)
        3072
        """
        limits = [self.max_input_tokens] if self.max_input_tokens else []
        if self.max_total_tokens:
            limits.append(self.max_total_tokens - max_new_tokens)
        return min(limits, default=None)


async def identify(get: GetJson, dialect: str, model: str | None) -> Server:
    """Find out what kind of server answers, and what it serves.

    Args:
        get (`Callable`): Fetches a path.
        dialect (`str`): One of `DIALECTS` to take that for granted, or `"auto"`.
        model (`str`, *optional*): The model the user asks for.

    Raises:
        `EndpointError`: If it serves another model than the one asked for, or one has to be named. The message leaves
            out the URL, which the caller knows.
    """
    if dialect in ("auto", "tgi"):
        info = await get("/info")
        if isinstance(info, dict) and isinstance(info.get("model_id"), str) and "max_total_tokens" in info:
            return Server(
                "tgi",
                *_choose([info["model_id"]], model, ignores_model=True, aliases=["tgi"]),
                revision=_text(info.get("model_sha")),
                max_input_tokens=_count(info.get("max_input_tokens", info.get("max_input_length"))),
                max_total_tokens=_count(info.get("max_total_tokens")),
                max_concurrent=_count(info.get("max_concurrent_requests")),
            )
    listing = await get("/v1/models")
    data = listing.get("data") if isinstance(listing, dict) else None
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    names = [entry["id"] for entry in entries if isinstance(entry.get("id"), str)]
    if dialect in ("auto", "llama.cpp"):
        props = await get("/props")
        settings = props.get("default_generation_settings") if isinstance(props, dict) else None
        if isinstance(settings, dict):
            aliases = [alias for entry in entries for alias in entry.get("aliases") or [] if isinstance(alias, str)]
            choice = _choose(names, model, ignores_model=True, aliases=aliases)
            slots = _count(props.get("total_slots"))
            return Server("llama.cpp", *choice, max_total_tokens=_count(settings.get("n_ctx")), max_concurrent=slots)
    if dialect == "auto":
        owner = next((entry.get("owned_by") for entry in entries), None)
        dialect = owner if owner in ("vllm", "sglang") else await _told_by_other_paths(get)
    if model is None and not isinstance(data, list) and dialect == "openai":
        raise EndpointError(
            "nothing there tells of a model server: there is no list of models at /v1/models. Correct "
            "`extractor_url`; where it is a server that lists none, set `extractor_model`."
        )
    chosen = _choose(names, model)
    found = listed(entries, chosen[1])
    server = Server(dialect, *chosen, max_total_tokens=found.context, is_known=bool(names), listed_prices=found.prices)
    return await with_loaded_context(get, server)


async def _told_by_other_paths(get: GetJson) -> str:
    version = await get("/version")
    if isinstance(version, dict) and isinstance(version.get("version"), str):
        return "vllm"
    info = await get("/get_model_info")
    if isinstance(info, dict) and isinstance(info.get("model_path"), str):
        return "sglang"
    version = await get("/api/version")
    return "ollama" if isinstance(version, dict) and isinstance(version.get("version"), str) else "openai"


async def with_loaded_context(get: GetJson, server: Server) -> Server:
    """An Ollama server with the context that its model is loaded with, as far as it tells; others as they are.

    A model is loaded by its first request.
    """
    if server.dialect != "ollama":
        return server
    listing = await get("/api/ps")
    models = listing.get("models") if isinstance(listing, dict) else None
    lengths = [
        _count(one.get("context_length"))
        for one in (models if isinstance(models, list) else [])
        if isinstance(one, dict) and server.requested_model in (one.get("name"), one.get("model"))
    ]
    return replace(server, max_total_tokens=next((length for length in lengths if length), server.max_total_tokens))


async def count_prompt(post: PostJson, server: Server, messages: Messages) -> int:
    """Tokens of a prompt as the server will see it, chat template included.

    Raises:
        `Refusal`: If a server of this dialect cannot count.
        `TransportFault`: If its reply is no count.
    """
    if server.dialect == "tgi":
        reply = await post("/chat_tokenize", {"messages": messages})
        return _length(reply, "tokenize_response")
    if server.dialect == "llama.cpp":
        reply = await post("/apply-template", {"messages": messages})
        if not isinstance(reply, dict) or not isinstance(reply.get("prompt"), str):
            raise TransportFault("/apply-template gave no prompt", kind="malformed")
        body = {"content": reply["prompt"], "add_special": True, "parse_special": True}
        return _length(await post("/tokenize", body), "tokens")
    if server.dialect == "vllm":
        reply = await post("/tokenize", {"model": server.requested_model, "messages": messages})
        return _length(reply, "tokens")
    raise Refusal(404, f"a server of dialect {server.dialect} counts no tokens")


async def count_text(post: PostJson, server: Server, text: str) -> int:
    """Tokens of a bare text.

    Raises:
        `TransportFault`: If its reply is no count.
    """
    if server.dialect == "tgi":
        reply = await post("/tokenize", {"inputs": text})
        return _length({"tokens": reply}, "tokens")
    if server.dialect == "llama.cpp":
        return _length(await post("/tokenize", {"content": text}), "tokens")
    body = {"model": server.requested_model, "prompt": text, "add_special_tokens": False}
    return _length(await post("/tokenize", body), "tokens")


def _choose(
    served: list[str], wanted: str | None, *, ignores_model: bool = False, aliases: list[str] | None = None
) -> tuple[str, str]:
    """The model's name for the records, and the one for requests."""
    if wanted is None:
        if len(served) != 1:
            fact = (
                f"serves several models ({', '.join(served[:5])})" if served else "does not tell which model it serves"
            )
            raise EndpointError(f"it {fact}. Set `extractor_model`.")
        return _bare(served[0]), served[0]
    # A server that looks at `model` refuses a wrong one by itself; these would answer with whatever they hold.
    if ignores_model and served and wanted not in {*served, *map(_bare, served), *(aliases or [])}:
        raise EndpointError(
            f"it serves {_bare(served[0])}, and `extractor_model` asks for {wanted}. "
            "Correct `extractor_model`, or leave it unset to take what is served."
        )
    return (_bare(served[0]) if ignores_model and served else wanted), wanted


def _bare(model: str) -> str:
    """Absolute paths shortened to their last part: a record names the model, not a folder of the server."""
    return PurePosixPath(model).name if model.startswith("/") else model


def _length(reply: Any, key: str) -> int:
    tokens = reply.get(key) if isinstance(reply, dict) else None
    if not isinstance(tokens, list):
        raise TransportFault(f"the reply has no list `{key}`", kind="malformed")
    return len(tokens)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
