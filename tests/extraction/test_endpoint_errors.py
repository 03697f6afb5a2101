"""Endpoints that cannot be used: each error names the fact, the setting and the remedy."""

from __future__ import annotations

import logging
import time

import pytest

from equal_hf.errors import ConfigError, EndpointError
from tests.extraction.endpoints import MODELS, completion, extractor
from tests.servers import spawn
from tests.servers.faults import Fault, FaultyServer


def test_nobody_listens() -> None:
    with FaultyServer() as server:
        url = server.url
    started = time.monotonic()
    with pytest.raises(EndpointError, match=rf"{url} .*nobody listens.*`extractor_url`"):
        extractor(url).check()
    assert time.monotonic() - started < 10


def test_a_wrong_key_and_a_right_one(documents, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    with spawn("tests.servers.tgi", "--api-key", "right-key") as url:
        for key in (None, "wrong-key"):
            with pytest.raises(EndpointError, match=r"401.*`extractor_api_key`") as caught:
                extractor(url, api_key=key).check()
            assert "wrong-key" not in str(caught.value)
        assert extractor(url, api_key="right-key").extract(documents[:1])[0].finish_reason == "stop"
    assert "right-key" not in caplog.text and "wrong-key" not in caplog.text


def test_a_wrong_key_for_servers_that_guard_every_path() -> None:
    with spawn("tests.servers.llama", "--api-key", "right-key") as url:
        for model in (None, "m"):
            with pytest.raises(EndpointError, match=r"401.*`extractor_api_key`"):
                extractor(url, api_key="wrong-key", model=model, dialect="openai").check()
        with pytest.raises(EndpointError, match=r"401.*`extractor_api_key`"):
            extractor(url).check()
        extractor(url, api_key="right-key").check()


def test_credentials_in_the_url_work_and_are_never_shown(documents, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    with FaultyServer(pages=MODELS, faults=[completion()] * 2) as server:
        url = server.url.replace("http://", "http://me:pa%2Fss@")
        extractor(url).extract(documents[:1])
        assert server.chats[0].headers["authorization"] == "Basic bWU6cGEvc3M="
        server.faults = [Fault(401, body="no entry for pa/ss")]
        with pytest.raises(EndpointError) as caught:
            extractor(url).check()
    assert "***" in str(caught.value)
    assert "pa/ss" not in str(caught.value) + caplog.text and "pa%2Fss" not in str(caught.value) + caplog.text


def test_the_hugging_face_token_goes_to_hugging_face_only(monkeypatch) -> None:
    from equal_hf.extraction.transport.url import Address

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with FaultyServer(pages=MODELS, faults=[completion()]) as server:
        extractor(server.url).check()
        assert not [seen for seen in server.seen if "hf_secret" in str(seen.headers)]
    for url, sent in {
        "https://x1.endpoints.huggingface.cloud": True,
        "https://huggingface.co/v1": True,
        "https://router.huggingface.co/v1": True,
        "https://6501--8000.hf.jobs/v1": True,
        "https://hf.jobs.evil.example": False,
        "http://router.huggingface.co/v1": False,
        "https://huggingface.co.evil.example": False,
        "https://evilhuggingface.co": False,
    }.items():
        address = Address.parse(url)
        assert (address.authorization == "Bearer hf_secret") is sent, url
        assert "hf_secret" not in repr(address)


def test_a_wrong_model(tgi, llama) -> None:
    for url, served in ((tgi, "equal-hf/tiny-random"), (llama, "tiny-random.gguf")):
        with pytest.raises(EndpointError, match=rf"serves {served}, and `extractor_model` asks for org/other"):
            extractor(url, model="org/other").check()
        assert extractor(url, model=served).identity()["model"] == served
    with (
        FaultyServer(pages=MODELS, faults=[Fault(404, body='{"message": "The model `x` does not exist."}')]) as server,
        pytest.raises(EndpointError, match=r"404.*`extractor_model`.*The model `x` does not exist"),
    ):
        extractor(server.url, model="x").check()


def test_several_models_and_none_named() -> None:
    pages = {"/v1/models": Fault(body='{"data": [{"id": "a"}, {"id": "b"}]}')}
    with FaultyServer(pages=pages) as server:
        with pytest.raises(EndpointError, match=r"several models \(a, b\).*`extractor_model`"):
            extractor(server.url).check()
        server.faults = [completion()]
        assert extractor(server.url, model="b").identity()["model"] == "b"


@pytest.mark.parametrize("status", [200, 404, 405])
def test_a_web_server_is_no_model_server(status: int) -> None:
    page = Fault(status, {"Content-Type": "text/html"}, "<html><body>Welcome!</body></html>")
    pages = dict.fromkeys(("/info", "/props", "/version", "/v1/models", "/health"), page)
    with FaultyServer(pages=pages, faults=[page] * 9) as server:
        with pytest.raises(EndpointError, match=r"tells of a model server: .*\. Correct `extractor_url`"):
            extractor(server.url, max_retries=1).check()
        with pytest.raises(EndpointError, match=r"`extractor_url`"):
            extractor(server.url, model="m", max_retries=1).check()


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://localhost", "http://", "http://localhost:port", "http://[::1", ""]
)
def test_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="`extractor_url`"):
        extractor(url)


def test_offline_mode_is_named(monkeypatch, tgi) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EndpointError, match="Unset HF_HUB_OFFLINE"):
        extractor(tgi).check()


def test_settings_out_of_range() -> None:
    for name in ("max_new_tokens", "concurrency", "timeout_s", "max_input_tokens"):
        with pytest.raises(ConfigError, match=f"`extractor_{name}`"):
            extractor("http://localhost", **{name: 0})
    with pytest.raises(ConfigError, match="`extractor_dialect`"):
        extractor("http://localhost", dialect="tgi2")
    with pytest.raises(ConfigError, match="`flavour` is now called `dialect`"):
        extractor("http://localhost", flavour="tgi")


def test_limits_that_leave_no_room_for_a_document(tgi) -> None:
    for options in ({"max_new_tokens": 1900}, {"max_new_tokens": 5000}, {"max_input_tokens": 40}):
        with pytest.raises(ConfigError, match="`extractor_max_new_tokens`"):
            extractor(tgi, **options).check()
