"""What was paid for is not paid for again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Document
from tests.extraction.endpoints import extractor, paid
from tests.servers import ROOT, spawn


def test_more_tokens_ask_again_only_for_what_was_cut_short(tgi, documents, tmp_path) -> None:
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        short = extractor(tgi, store=store, max_new_tokens=16).extract(documents)
        cut = sum(extraction.finish_reason == "length" for extraction in short)
        assert 0 < cut < len(documents)
        before = paid(tgi)
        extractor(tgi, store=store, max_new_tokens=200).extract(documents)
        assert paid(tgi) == before + 1 + cut


def test_the_same_text_twice_is_paid_for_once(tgi, tmp_path) -> None:
    twins = [Document("one", "Anna has 3 apples."), Document("two", "Anna has 3 apples.")]
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        endpoint = extractor(tgi, store=store)
        endpoint.check()
        before = paid(tgi)
        one, two = endpoint.extract(twins)
        assert paid(tgi) == before + 1
        assert one.usage == two.usage


CLIENT = """
import sys
from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.types import Document

documents = [Document(f"d{n}", f"Anna buys {n} bags of 12 apples.") for n in range(16)]
endpoint = EndpointExtractor(sys.argv[1], store=sys.argv[2], max_new_tokens=200, concurrency=int(sys.argv[3]))
endpoint.check()
print("ready", flush=True)
for extraction in endpoint.extract(documents):
    print(extraction)
"""


@pytest.mark.parametrize("concurrency", [1, 4])
def test_kill_9_and_again_pays_for_nothing_twice(concurrency: int, tmp_path) -> None:
    store = tmp_path / "responses.sqlite"

    def client(store_path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLIENT, url, str(store_path), str(concurrency)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    with spawn("tests.servers.tgi", "--delay-s", "0.1") as url:
        expected, _ = client(tmp_path / "other.sqlite").communicate(timeout=120)
        before = paid(url)
        killed = client(store)
        assert killed.stdout.readline() == "ready\n"
        # On a slow disk a response may be on its way there while the next request is sent.
        with ResponseStore(store) as held:
            while paid(url) < before + 1 + 6 or len(held) < 6 - concurrency:
                time.sleep(0.02)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        killed.stdout.close()
        with ResponseStore(store) as held:
            stored = len(held)
        assert 6 - concurrency <= stored < 16
        middle = paid(url)
        # Beside what is under way, as many replies may have come that the writer was about to put on the disk.
        assert middle - before - 1 <= stored + 2 * concurrency, "no more was under way than could be"
        output, _ = client(store).communicate(timeout=120)
        assert output == expected
        assert paid(url) - middle == 1 + 16 - stored
