"""How a stand-in counts tokens, for itself and for clients that ask.

>>> prompt_tokens([{"role": "user", "content": "Two and two."}])
['turn', 'user', 'Two', 'and', 'two', '.', 'ended', 'turn', 'assistant']
"""

from __future__ import annotations

from typing import Any

from tests.servers.marked import tokens_of
from tests.servers.providers.rules import Rules


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, in one piece or in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def prompt_tokens(messages: list[dict[str, Any]]) -> list[str]:
    """The prompt as the model sees it."""
    tokens = []
    for message in messages:
        tokens += ["turn", str(message.get("role")), *tokens_of(text_of(message)), "ended"]
    return [*tokens, "turn", "assistant"]


def counted(rules: Rules, path: str, body: dict[str, Any]) -> Any:
    """What a path for counting answers; `None` where the server has none there."""
    known = (rules.counts, path)
    if known == ("vllm", "/tokenize"):
        messages = body.get("messages")
        tokens = tokens_of(body["prompt"]) if messages is None else prompt_tokens(messages)
        return {"count": len(tokens), "max_model_len": rules.context, "tokens": list(range(len(tokens)))}
    if known == ("tgi", "/tokenize"):
        return _numbered(tokens_of(body["inputs"]))
    if known == ("tgi", "/chat_tokenize"):
        tokens = prompt_tokens(body["messages"])
        return {"tokenize_response": _numbered(tokens), "templated_text": " ".join(tokens)}
    if known == ("llama.cpp", "/apply-template"):
        return {"prompt": " ".join(prompt_tokens(body["messages"]))}
    if known == ("llama.cpp", "/tokenize"):
        return {"tokens": list(range(len(tokens_of(body["content"]))))}
    return None


def _numbered(tokens: list[str]) -> list[dict[str, Any]]:
    """Tokens in the form of TGI, with where they stand."""
    found, start = [], 0
    for number, token in enumerate(tokens):
        found.append({"id": number, "text": token, "start": start, "stop": start + len(token)})
        start += len(token)
    return found
