"""Secrets known by their value leave every text, in every form they come back in; ordinary words stay."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.utils import known_secrets
from equal_hf.utils.known_secrets import mask_known, remember_headers, remember_secret, remember_url
from equal_hf.utils.logging import messages_shown
from equal_hf.utils.redaction import sanitise

SECRET = 'tr0ub4dor &/3"ü'


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(known_secrets, "_remembered", set())
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(f"Bearer {SECRET}\r\n".encode()),
        SECRET.encode("unicode_escape").decode(),
        base64.b64encode(SECRET.encode()).decode(),
        f"x{SECRET}x",
    ],
)
def test_every_form_is_masked(form: str):
    remember_secret(f"{SECRET}\r\n")
    masked = mask_known(f"401: {form} is wrong")
    assert "***" in masked and "tr0ub4dor" not in masked and form not in masked
    assert mask_known(masked) == masked


@pytest.mark.parametrize(
    "url",
    [
        "https://host/v1?api_key=k3y-of-mine",
        "https://host/v1?page=1&sig=k3y-of-mine;x=2#end",
        "https://host/v1?k3y-of-mine",
        "https://me:k3y-of-mine@host/v1",
        "https://k3y-of-mine@host/v1",
        "https://me:k3y%2Dof%2Dmine@host/v1",
        "see https://other/ and https://host/v1?code=k3y%2Dof-mine",
    ],
)
def test_what_a_url_holds_is_known(url: str):
    remember_url(url)
    assert mask_known("the key k3y-of-mine.") == "the key ***."
    assert mask_known("host v1 page end other") == "host v1 page end other"


def test_basic_authentication_is_known_as_it_is_sent():
    remember_url("https://me:open-sesame-1@host")
    assert mask_known(base64.b64encode(b"me:open-sesame-1").decode()) == "***"


@pytest.mark.parametrize(
    "word", ["test", "none", "2024-02-01", "token", "password", "not-needed", "key-1", "12345678", "2024-02-01"]
)
def test_ordinary_words_stay(word: str):
    remember_secret(word, f" {word}\n")
    remember_url(f"https://me:{word}@host/v1?api_key={word}")
    text = f"A {word} is a {word}, said {word}s."
    assert mask_known(text) == text


def test_what_gateways_are_told_is_no_secret():
    remember_url("https://host/v1?api-version=2025-01-01-preview&model=mistral-7b-v0.3&deployment=gpt-4o-mini-1")
    remember_headers(
        {"Content-Type": "application/json", "anthropic-version": "2023-06-01-x", "X-Api-Key": "k3y-of-mine"}
    )
    text = "mistral-7b-v0.3 of 2025-01-01-preview by gpt-4o-mini-1, application/json 2023-06-01-x"
    assert mask_known(f"{text} k3y-of-mine") == f"{text} ***"


def test_short_secrets_are_looked_for_as_words():
    remember_secret("ab12cd")
    assert mask_known("ab12cd, Bearer_ab12cd. xab12cd") == "***, Bearer_***. xab12cd"


def test_environment_and_files_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    text = "of-env-1234 of-token-5678 of-stored-9012 of-netrc-3456 user-of-netrc-1"
    assert mask_known(text) == text
    monkeypatch.setenv("SOME_API_KEY", "of-env-1234\n")
    monkeypatch.setenv("SSL_KEY", str(tmp_path / "some-key-1.pem"))
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("of-token-5678\n")
    (tmp_path / "hf" / "stored_tokens").write_text("[main]\nhf_token = of-stored-9012\n")
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user-of-netrc-1 password of-netrc-3456\n")
    (tmp_path / "netrc").chmod(0o600)
    assert mask_known(text) == "*** *** *** *** ***"
    assert mask_known(str(tmp_path / "some-key-1.pem")) == str(tmp_path / "some-key-1.pem")


def test_what_is_masked_by_name_is_known_from_then_on():
    sanitise(
        {"hub_token": "of-a-setting-1", "endpoint": "https://u:of-a-url-22@host", "headers": {"X": "of-a-header-3"}}
    )
    sanitise(["--extractor_api_key", "of-a-flag-4", "--wandb_api_key=of-a-flag-5"])
    text = "of-a-setting-1 of-a-url-22 of-a-header-3 of-a-flag-4 of-a-flag-5"
    assert mask_known(text) == "*** *** *** *** ***"


def test_log_lines_of_libraries_hold_no_secret(capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture):
    remember_secret("k3y-of-mine")
    with messages_shown():
        try:
            raise ValueError("Illegal header value b'Bearer k3y-of-mine\\n'")
        except ValueError:
            logging.getLogger("equal_hf.x").exception("it said %s", "k3y-of-mine")
        logging.getLogger("huggingface_hub.utils._http").warning("while requesting https://s3/x?sig=%s", "abc")
    error = capsys.readouterr().err
    assert error.count("***") >= 2 and "k3y-of-mine" not in error
    assert "while requesting https://s3/x?sig=***" in caplog.text


@given(st.text())
def test_text_without_a_secret_is_unchanged(text: str):
    known_secrets._remembered.add("k3y-of-mine")
    assert mask_known(text) == text
