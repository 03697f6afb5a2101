"""Memory and speed of the response store, and of a run that finds all it needs there.

    python -m tests.benchmarks.store --documents 200000

Every document is put into the store as if it had been paid for, then extracted in rounds, all from the store: the
server answers the probe and nothing more. Memory is the highest resident size from the end of a first round, which
loads everything that a process needs, to the end.

Promises: at most 300 MB of growth, at least 20,000 lookups a second. A `dict` of the same keys and replies is measured
beside it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equal_hf.extraction.endpoint_extractor import EndpointExtractor
from equal_hf.extraction.prompts.parse_reply import PAIRS_SCHEMA
from equal_hf.extraction.responses.ledger import Response, ResponseReceived, response_key
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Document, Usage
from tests.benchmarks.notes import Notes
from tests.benchmarks.report import conclude, progress
from tests.servers import spawn
from tests.servers.load import MODEL

ROUND = 1000
BATCH = 50
LOOKUPS, STRETCH = 100_000, 10_000
MAX_NEW_TOKENS = 256
REVISION = "main"


def resident_bytes(name: str) -> int:
    """`VmRSS`, the resident size, or `VmHWM`, its highest since `forget_peak`."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)[1])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def paid(endpoint: EndpointExtractor, document: Document) -> tuple[str, Response]:
    """The key and a reply for a document as the extractor asks for it."""
    messages = endpoint.prompt.messages(document.text)
    key = response_key(MODEL, REVISION, messages, {"temperature": 0.0}, PAIRS_SCHEMA, 0)
    pair = {"question": f"What does {document.id} hold?", "answer": f"It holds {len(document.text)} characters."}
    return key, Response(json.dumps({"pairs": [pair]}), "stop", Usage(len(messages[0]["content"]) // 5, 40, 1))


def fill(store: ResponseStore, endpoint: EndpointExtractor, documents: Sequence[Document]) -> list[str]:
    """Put a reply for every document, as many in a transaction as a busy run has; their keys."""
    answers = [ResponseReceived(*paid(endpoint, document), MAX_NEW_TOKENS, "openai", MODEL) for document in documents]
    for start in range(0, len(answers), BATCH):
        store.commit(answers[start : start + BATCH])
    return [answer.key for answer in answers]


def lookups_per_s(get: Any, keys: Sequence[str]) -> float:
    """The best of several stretches: what is slower than that was something else on the machine."""
    best = 0.0
    for start in range(0, len(keys), STRETCH):
        stretch = keys[start : start + STRETCH]
        started = time.perf_counter()
        for key in stretch:
            assert get(key) is not None
        best = max(best, len(stretch) / (time.perf_counter() - started))
    return best


def measure(url: str, path: Path, documents: Notes) -> tuple[dict[str, Any], dict[str, bool]]:
    store = ResponseStore(path)
    options: dict[str, Any] = {"max_new_tokens": MAX_NEW_TOKENS, "model_revision": REVISION, "store": store}
    endpoint = EndpointExtractor(url, **options)
    keys = fill(store, endpoint, documents[:ROUND])
    extracted = pairs = 0
    extracting_s = filling_s = 0.0
    before = 0
    for start in range(0, len(documents), ROUND):
        batch = documents[start : start + ROUND]
        if start:
            started = time.perf_counter()
            keys += fill(store, endpoint, batch)
            filling_s += time.perf_counter() - started
        started = time.perf_counter()
        extractions = endpoint.extract(batch)
        extracting_s += time.perf_counter() - started
        extracted += len(extractions)
        pairs += sum(len(extraction.pairs) for extraction in extractions)
        if not start:
            forget_peak()
            before = resident_bytes("VmRSS")
        if start // ROUND % 20 == 0:
            grown = (resident_bytes("VmHWM") - before) / 1e6
            progress(f"{extracted} documents, {extracted / extracting_s:.0f} a second, {grown:.0f} MB grown")
    grown = resident_bytes("VmHWM") - before
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as reply:
        answered = json.load(reply)["answered"]

    sample = random.Random(0).choices(keys, k=LOOKUPS)
    rate = lookups_per_s(lambda key: store.get(key, MAX_NEW_TOKENS), sample)
    replies = {key: store.get(key, MAX_NEW_TOKENS) for key in set(sample)}
    baseline = lookups_per_s(replies.get, sample)
    stored = len(store)
    store.close()
    result = {
        "documents": len(documents),
        "grown_mb": round(grown / 1e6, 1),
        "lookups_per_s": round(rate),
        "dict_lookups_per_s": round(baseline),
        "dict_over_store": round(baseline / rate, 1),
        "extracted_documents_per_s": round(extracted / extracting_s),
        "put_per_s": round((len(documents) - ROUND) / filling_s) if filling_s else None,
        "stored": stored,
        "file_mb": round(sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 1e6, 1),
        "answered_by_the_server": answered,
    }
    promises = {
        "at_most_300_mb": grown <= 300e6,
        "at_least_20000_lookups_per_s": rate >= 20_000,
        "every_document_from_the_store": pairs == extracted == stored == len(documents) and answered == 1,
    }
    return result, promises


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000, help="a multiple of 1,000")
    options = parser.parse_args()
    with spawn("tests.servers.load", "--latency-s", "0") as url, tempfile.TemporaryDirectory() as folder:
        result = measure(url, Path(folder) / "responses.sqlite", Notes(options.documents, characters=(60, 160)))
    conclude(*result)


if __name__ == "__main__":
    main()
