"""Nothing secret leaves `sanitise`, whatever it is nested in, and nothing else is lost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.utils.redaction import MASK, is_secret_name, mask_text, mask_url, sanitise

SECRET = "tr0ub4dor&3"
NAMES = st.sampled_from(["hub_token", "HF_TOKEN", "apiKey", "wandb_api_key", "password", "client_secret", "headers"])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(categories="L"))


def nested(leaves: st.SearchStrategy) -> st.SearchStrategy:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "max_new_tokens", "model", "eos_token"]), inner, max_size=3)
        ),
        max_leaves=12,
    )


@given(nested(PLAIN))
def test_what_holds_no_secret_is_unchanged(config):
    assert sanitise(config) == config


@given(nested(NAMES.map(lambda name: {name: SECRET}) | NAMES.map(lambda name: {name: {"X-Api": [SECRET]}}) | PLAIN))
def test_a_value_under_a_secret_name_never_survives(config):
    clean = sanitise(config)
    assert SECRET not in json.dumps(clean)
    assert sanitise(clean) == clean


def test_headers_as_json_on_a_command_line_are_masked_whole():
    headers = f'{{"X-Api-Key": "{SECRET} and more"}}'
    split, joined = ["--extractor_headers", headers, "--seed", "1"], [f"--extractor_headers={headers}", "--seed=1"]
    assert sanitise(split) == ["--extractor_headers", MASK, "--seed", "1"]
    assert sanitise(joined) == [f"--extractor_headers={MASK}", "--seed=1"]


@given(st.text(st.characters(codec="ascii", exclude_characters="@/?# \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"), min_size=1))
def test_credentials_leave_a_url_and_the_rest_stays(password):
    assert mask_url(f"see http://me:{password}@host:8080/v1 now") == f"see http://{MASK}@host:8080/v1 now"


@pytest.mark.parametrize(
    "text",
    [
        f"https://host/v1?page=2&access_token={SECRET.replace('&', '')}#end",
        "token hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ",
        "Authorization: Bearer abc.def.ghi",
        "sk-proj-abcdefghijklmnop1234",
        "run --hub_token=abc.def.ghi --seed=1",
        "run --config a.yaml --extractor_api_key 'abc.def.ghi' --seed 1",
    ],
)
def test_what_looks_secret_is_masked_inside_text(text):
    masked = mask_text(text)
    assert MASK in masked
    assert not any(part in masked for part in ("tr0ub", "aBcDeF", "abc.def", "abcdefghijklmnop"))
    assert mask_text(masked) == masked


def test_settings_about_tokens_of_text_are_kept():
    config = {
        "max_new_tokens": 64,
        "prompt_tokens": 10,
        "tokenizer": "t",
        "eos_token": "</s>",
        "pad_token_id": 0,
        "additional_special_tokens": ["<a>"],
        "hub_token": None,
        "push_to_hub": True,
    }
    assert sanitise(config) == config


@pytest.mark.parametrize(
    "name", ["token", "tokens", "image_api_key", "api-key", "AWS_SECRET_ACCESS_KEY", "basic_auth"]
)
def test_secret_names(name):
    assert is_secret_name(name)
    assert sanitise({name: "x"}) == {name: MASK}


def test_a_flag_hides_the_argument_that_follows():
    assert sanitise(["--hub_token", "x", "--seed", "1"]) == ["--hub_token", MASK, "--seed", "1"]


class Kind(Enum):
    FAST = "fast"


@dataclass
class Settings:
    folder: Path
    kind: Kind
    hub_token: str


def test_the_result_is_plain_json():
    clean = sanitise({"settings": Settings(Path("/tmp/x"), Kind.FAST, SECRET), "f": len, 1: {3, 2}, "o": object()})
    assert (
        json.loads(json.dumps(clean))
        == clean
        == {
            "settings": {"folder": "/tmp/x", "kind": "fast", "hub_token": MASK},
            "f": "builtins.len",
            "1": [2, 3],
            "o": "builtins.object",
        }
    )
