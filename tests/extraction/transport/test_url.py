"""Where requests go, and with which key."""

from __future__ import annotations

import pytest

from equal_hf.extraction.transport.url import Address

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("url", "chat", "info"),
    [
        ("http://a:8080", "http://a:8080/v1/chat/completions", "http://a:8080/info"),
        ("http://a/v1/", "http://a/v1/chat/completions", "http://a/info"),
        ("https://a/openai/v1/chat/completions", "https://a/openai/v1/chat/completions", "https://a/openai/info"),
        ("https://a/x/v1?q=1", "https://a/x/v1/chat/completions?q=1", "https://a/x/info?q=1"),
        (
            "https://r.openai.azure.com/openai/deployments/mini?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/mini/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/mini/info?api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/mini/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/mini/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/mini/info?api-version=2024-10-21",
        ),
        ("https://g/v1beta/openai/", "https://g/v1beta/openai/chat/completions", "https://g/v1beta/openai/info"),
        ("https://p/chat/completions", "https://p/chat/completions", "https://p/info"),
        ("https://p/inference/chat/completions/", "https://p/inference/chat/completions", "https://p/inference/info"),
        ("https://p/v1/chat/completions", "https://p/v1/chat/completions", "https://p/info"),
        ("https://z/api/paas/v4", "https://z/api/paas/v4/chat/completions", "https://z/api/paas/v4/info"),
    ],
)
def test_openai_routes_are_found_behind_any_url(url: str, chat: str, info: str) -> None:
    address = Address.parse(url, "key")
    assert (address.at(CHAT), address.at("/info")) == (chat, info)


@pytest.mark.parametrize(
    ("url", "key", "sent"),
    [
        ("https://r.openai.azure.com/openai/v1", "k" * 32, {"api-key": "k" * 32}),
        ("https://r.cognitiveservices.azure.com/openai/v1", "k" * 32, {"api-key": "k" * 32}),
        ("http://127.0.0.1:9/openai/deployments/mini?api-version=1", "k" * 32, {"api-key": "k" * 32}),
        ("https://r.openai.azure.com/openai/v1", "eyJ0.eyJ1.sig", {"authorization": "Bearer eyJ0.eyJ1.sig"}),
        ("https://openai.azure.com.evil.example/v1", "k" * 32, {"authorization": "Bearer " + "k" * 32}),
    ],
)
def test_azure_gets_a_key_in_its_own_header(url: str, key: str, sent: dict[str, str]) -> None:
    address = Address.parse(url, key)
    assert address.sent() == sent
    assert key not in address.redact(f"denied: {key}") and key not in repr(address)


def test_a_deployment_names_its_model() -> None:
    assert (
        Address.parse("https://r.openai.azure.com/openai/deployments/my%20mini?api-version=1").deployment == "my mini"
    )
    assert Address.parse("https://r.openai.azure.com/openai/v1").deployment is None
