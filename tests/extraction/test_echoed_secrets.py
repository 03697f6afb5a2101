"""A server that echoes what it was sent: no secret of it reaches the disk, a message or what is published."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from urllib.parse import unquote

import pytest

from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector
from equal_hf.errors import ConfigError, EqualError
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.publishing.dataset import export_dataset
from equal_hf.records.run_folder import RoundRecords
from tests.extraction.endpoints import MODELS
from tests.servers.faults import CHAT, Fault, FaultyServer
from tests.world import make_target

SECRETS = ("of-the-query/1", "of-the-key-22", "of-the-header-3")


class Echo(FaultyServer):
    """Answers with the headers and the path of the request: in pairs, as an error, or where no pair can be read."""

    def __init__(self) -> None:
        super().__init__(upstream="own", pages=MODELS)
        self.answers = 0

    def _pass_on(self, handler, raw, body):
        if handler.path.split("?")[0] != CHAT:
            return MODELS.get(handler.path.split("?")[0], Fault(404, body=f"no {handler.path}"))
        self.answers += 1
        echo = " ".join([handler.path, unquote(handler.path), *handler.headers.values()])
        if self.answers % 4 == 1:
            return Fault(422, body=json.dumps({"error": {"message": echo}}))
        pairs = {"pairs": [{"question": f"What did I send? {self.answers}", "answer": echo}]}
        content = json.dumps(pairs) if self.answers % 4 else f"I was sent {echo}"
        message = {"role": "assistant", "content": content}
        usage = {"prompt_tokens": 500, "completion_tokens": 200, "total_tokens": 700}
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
        reply["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return Fault(body=json.dumps(reply), headers={"Content-Type": "application/json"})


def test_nothing_that_is_echoed_reaches_the_disk(world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with Echo() as server:
        extractor = EndpointExtractor(
            f"{server.url}?api_key=of-the-query%2F1",
            api_key="of-the-key-22\r\n",
            headers={"X-Gateway": "of-the-header-3"},
            max_new_tokens=200,
            store=tmp_path / "responses.sqlite",
        )
        collector = EqualDataCollector(
            ClusteredCorpus.load(world / "corpus"),
            extractor,
            args=CollectorConfig(
                output_dir=str(tmp_path), num_rounds=2, arms_per_round=2, documents_per_arm=6, filters=["duplicate"]
            ),
            reference=make_target().reference,
        )
        rounds = list(collector.rounds())
        sent = server.seen[-1]
        assert sent.headers["authorization"] == "Bearer of-the-key-22" and "of-the-query%2F1" in sent.path
        collector.close()
    assert sum(len(round.pairs) for round in rounds) and any(round.rejected for round in rounds)
    export_dataset(tmp_path)
    assert "***" in RoundRecords(tmp_path).load(0).pairs[0].answer
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        content = path.read_bytes()
        assert not [secret for secret in (*SECRETS, "of-the-query%2F1") if secret.encode() in content], path
    assert not [secret for secret in SECRETS if secret in caplog.text]
    for name in ("responses.sqlite", "responses.sqlite-wal"):
        if (tmp_path / name).exists():
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("key", ["two\nlines-22", "a-key-with-ü-22", "null\x00byte-22"])
def test_a_key_that_no_header_carries_is_refused_without_being_shown(key: str):
    with pytest.raises(ConfigError, match="`extractor_api_key` holds the character") as caught:
        EndpointExtractor("http://localhost:1", api_key=key)
    assert key not in str(caught.value) and "22" not in str(caught.value)


def test_a_refused_key_is_not_in_the_message():
    class Refusing(Echo):
        def _pass_on(self, handler, raw, body):
            return Fault(401, body="x" * 1990 + f"invalid key {handler.headers['authorization']} at {handler.path}")

    with Refusing() as server:
        server.pages = {}
        extractor = EndpointExtractor(f"{server.url}?sig=of-the-query%2F1", api_key="of-the-key-22")
        with pytest.raises(EqualError) as caught:
            list(extractor.extract([]))
            extractor.check()
    assert "of-the" not in str(caught.value)
