"""A process that is killed with a batch under way: the next one finds it again, and submits nothing twice."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest

from equal_hf.errors import EndpointError
from equal_hf.extraction.batch.openai_batches import OpenAIBatches
from equal_hf.extraction.batch.submission import Patience, Submission
from equal_hf.extraction.responses.batch_table import OpenBatch
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.transport.url import Address
from tests.extraction.batch.test_batches import PLAN, RULES, documents, is_bill
from tests.extraction.batch.test_batches import client as batch_client
from tests.servers import ROOT
from tests.servers.batches import BatchStandIn

CLIENT = """
import sys
from pathlib import Path
from types import SimpleNamespace
from tests.extraction.batch.test_batches import client, documents, pairs
print(pairs(client(SimpleNamespace(url=sys.argv[1]), Path(sys.argv[2])).extract(documents(8))))
"""
HOLD_S = 0.3


def start(url: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, url, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_whatever_step_a_kill_interrupts_each_request_is_paid_once(tmp_path) -> None:
    with BatchStandIn(RULES, tmp_path / "server", [PLAN], hold_s=HOLD_S) as server:
        log = server.folder / "events.log"
        log.touch()
        # With the first two no batch is made; the third's is made after the kill, and found by its name.
        for step in ("upload", "uploaded", "submit", "poll", "content"):
            begun = log.read_text().split().count(step)
            process = start(server.url, tmp_path)
            deadline = time.monotonic() + 60
            while log.read_text().split().count(step) == begun:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            process.kill()
            process.communicate()
            time.sleep(HOLD_S)
        last = start(server.url, tmp_path)
        assert last.communicate(timeout=60)[0] == "16\n"
        assert len(server.batches()) == 1 and log.read_text().split().count("submit") == 1
        ledger = batch_client(server, tmp_path)
        is_bill(server, ledger)
        assert ledger.extract(documents(8)) and ledger.paid().usage.requests == 8
        ledger.close()
        with ResponseStore(tmp_path / "responses.sqlite") as store:
            assert store.open_batches() == []


def test_a_batch_that_is_still_to_be_made_when_it_is_looked_for_is_never_made(tmp_path) -> None:
    """The request to make it was sent before the kill, and is worked on after the next start has looked."""
    with (
        BatchStandIn(RULES, tmp_path / "server", [PLAN], hold_s=HOLD_S) as server,
        ResponseStore(tmp_path / "responses.sqlite") as store,
    ):

        async def scenario() -> None:
            provider = OpenAIBatches(Address.parse(server.url, RULES.key))
            file_id = await provider.upload("equal-hf-late", io.BytesIO(provider.line("x", {})))
            late = asyncio.create_task(provider.submit("equal-hf-late", file_id))
            await asyncio.sleep(HOLD_S / 3)
            batch = OpenBatch("equal-hf-late", provider.shown, "{}", file_id, "", time.time())
            assert await Submission(provider, store, batch, Patience()).find_again() is None
            with pytest.raises(EndpointError, match="404"):
                await late
            await provider.close()

        asyncio.run(scenario())
        assert server.batches() == []
