"""Why there is no connection is told as it is: certificate, proxy, name, network, key."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from equal_hf.errors import ConfigError, EndpointError
from tests.extraction.endpoints import MODELS, completion, extractor
from tests.servers import ROOT
from tests.servers.faults import Fault, FaultyServer

CHECK = """
import sys
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
try:
    EndpointExtractor(sys.argv[1], load_timeout_s=4, max_new_tokens=64, api_key=sys.argv[2] or None).check()
    print("fine")
except Exception as error:
    print(type(error).__name__, error)
"""


def checked(url: str, key: str = "", **environment: str) -> str:
    """What a check says in a process with this environment."""
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    kept = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    command = [sys.executable, "-c", CHECK, url, key]
    done = subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done.stdout.strip()


class Proxy(FaultyServer):
    """Answers what was to go to another server, itself."""

    def __init__(self, status: int, body: str = "<html>ERR_ACCESS_DENIED</html>", **headers: str) -> None:
        super().__init__(upstream="own")
        self.answer = Fault(status, {"Via": "1.1 squid"} | headers, body)

    def _pass_on(self, handler, raw, body) -> Fault:
        return self.answer


@contextmanager
def tls_server(folder: Path) -> Iterator[int]:
    """The port of a server whose certificate nobody signed but itself."""
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Quiet", (BaseHTTPRequestHandler,), {"log_message": print}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_a_certificate_that_is_not_trusted(tmp_path) -> None:
    with tls_server(tmp_path) as port:
        said = checked(f"https://localhost:{port}")
        assert "its TLS certificate is not trusted (self-signed certificate)" in said and "SSL_CERT_FILE" in said
        trusted = checked(f"https://localhost:{port}", SSL_CERT_FILE=str(tmp_path / "certificate.pem"))
        assert "certificate" not in trusted.replace("certificate.pem", "")
        missing = checked(f"https://localhost:{port}", SSL_CERT_FILE=str(tmp_path / "nowhere.pem"))
        assert missing.startswith("EndpointError") and "SSL_CERT_FILE" in missing


def test_https_where_plain_http_is_spoken() -> None:
    with FaultyServer(pages=MODELS) as server:
        said = checked(server.url.replace("http://", "https://"))
    assert "speaks no TLS there" in said and "begin with http://" in said


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "refuses it (403)"), (407, "wants credentials (407)"), (502, "answers 502"), (503, "answers 503")],
)
def test_a_proxy_that_stands_in_the_way(status: int, words: str) -> None:
    with FaultyServer(pages=MODELS) as server, Proxy(status) as proxy:
        said = checked(server.url, HTTP_PROXY=proxy.url.replace("http://", "http://me:hidden@"), http_proxy=proxy.url)
        assert f"the proxy {proxy.url} on the way {words}" in said and "NO_PROXY" in said
        assert "key" not in said and "hidden" not in said and "load" not in said
        assert not server.seen


def test_a_proxy_that_refuses_a_tunnel_or_is_not_there() -> None:
    with Proxy(403) as proxy:
        said = checked("https://models.example", HTTPS_PROXY=proxy.url, https_proxy=proxy.url)
        assert "the proxy" in said and "NO_PROXY" in said and "key" not in said
        url = proxy.url
    said = checked("http://models.example", HTTP_PROXY=url, http_proxy=url)
    assert f"the proxy {url} cannot be used" in said and "HTTP_PROXY" in said
    said = checked("http://models.example", HTTP_PROXY="foo://bar", http_proxy="foo://bar")
    assert said.startswith("EndpointError") and "HTTP_PROXY" in said


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_behind_a_proxy_speaks_for_itself(status: int) -> None:
    with FaultyServer(pages=MODELS) as server, Proxy(status, '{"error": "no such key"}') as proxy:
        said = checked(server.url, HTTP_PROXY=proxy.url, http_proxy=proxy.url)
    assert f"it answers {status}, the key is missing or wrong" in said and "no such key" in said


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(EndpointError, match=r"no address is known for the name no-such-host\.invalid.*DNS"):
        extractor("http://no-such-host.invalid:8080").check()


def test_nobody_listens_on_either_address_of_a_name() -> None:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with pytest.raises(EndpointError, match=r"nobody listens there.*Start the server, or correct `extractor_url`"):
        extractor(f"http://localhost:{port}").check()


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\ufeff", "\u200b"])
def test_what_comes_along_with_a_key_is_taken_off(end: str) -> None:
    with FaultyServer(pages=MODELS, faults=[completion()]) as server:
        extractor(server.url, api_key=f"hidden-treasure{end}", headers={"X-Key": f"{end}other-treasure\n"}).check()
        assert server.chats[0].headers["authorization"] == "Bearer hidden-treasure"
        assert server.chats[0].headers["x-key"] == "other-treasure"


@pytest.mark.parametrize("key", ["hidden\ntreasure", "hidden\x00treasure", "hidden–treasure", "hiddentreäsure"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    for settings in ({"api_key": key}, {"headers": {"X-Key": key}}):
        with pytest.raises(ConfigError, match="no header can carry") as caught:
            extractor("http://127.0.0.1:9", **settings)
        assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigError, match="no HTTP header can have"):
        extractor("http://127.0.0.1:9", headers={"X Key:": "hidden"})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (completion(choices=None), """holds '{"choices": null"""),
        (completion(choices=[]), """holds '{"choices": []"""),
        (completion(choices=[{"message": {"content": 7}}]), '"content": 7'),
        (Fault(body='{"reply": "hidden-treasure"}'), '"reply": "***"'),
        (
            Fault(body='data: {"choices": []}\n\ndata: [DONE]\n'),
            "data: [DONE]'. It is a stream, which was not asked for",
        ),
        (Fault(body="<html>Sign in</html>"), "holds '<html>Sign in</html>'"),
        (Fault(), "is empty"),
    ],
)
def test_a_chat_answer_that_is_not_understood_is_shown(answer: Fault, words: str) -> None:
    with FaultyServer(pages=MODELS, faults=[answer]) as server, pytest.raises(EndpointError) as caught:
        extractor(server.url, api_key="hidden-treasure").check()
    assert "it serves m, but its chat answer was not understood" in str(caught.value) and words in str(caught.value)
    assert "no model server" not in str(caught.value) and "treasure" not in str(caught.value)


def test_where_nothing_tells_of_a_model_the_url_is_to_blame() -> None:
    wrong = pytest.raises(EndpointError, match=r"what answers is no model server\. Correct `extractor_url`")
    with FaultyServer(faults=[Fault(body="<html>Sign in</html>")]) as server, wrong:
        extractor(server.url, model="m").check()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            "http://me:hidden@no-such-host.invalid/v1?key=hidden",
            "no-such-host.invalid, and there: no address is known",
        ),
        ("http://127.0.0.1:9/login", "127.0.0.1:9, and there: nobody listens"),
    ],
)
def test_a_redirect_to_where_no_server_is_names_its_target(target: str, words: str) -> None:
    away = Fault(302, {"Location": target})
    pages = dict.fromkeys(("/health", "/info", "/v1/models"), away)
    with FaultyServer(pages=pages) as server, pytest.raises(EndpointError) as caught:
        extractor(server.url).check()
    said = str(caught.value)
    assert f"it redirects to http://{words}" in said and "hidden" not in said
    assert "Set `extractor_url` to the server itself" in said and "name 127.0.0.1" not in said


def test_what_lets_a_request_in_is_not_sent_on_to_another_server() -> None:
    with FaultyServer(pages=MODELS, faults=[completion()]) as other, FaultyServer(pages=MODELS) as server:
        server.faults = [Fault(307, {"Location": f"{other.url}/v1/chat/completions"})]
        extractor(server.url, api_key="hidden-treasure", headers={"X-Gateway-Key": "hidden-pearls-too"}).check()
        first, then = server.chats[0].headers, other.chats[0].headers
    assert first["x-gateway-key"] == "hidden-pearls-too" and first["authorization"] == "Bearer hidden-treasure"
    assert "hidden" not in str(then) and then["content-type"] == "application/json"


def test_a_redirect_within_a_server_keeps_what_lets_a_request_in() -> None:
    with FaultyServer(pages=MODELS) as server:
        server.faults = [Fault(307, {"Location": "/v1/chat/completions"}), completion()]
        extractor(server.url, headers={"X-Gateway-Key": "hidden-pearls-too"}).check()
        assert [seen.headers["x-gateway-key"] for seen in server.chats] == ["hidden-pearls-too"] * 2
