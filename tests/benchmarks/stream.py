"""What drawing from a corpus on the Hub transfers, and the memory it takes.

    python -m tests.benchmarks.stream --documents 200000 --clusters 500

A synthetic corpus of documents of some 3,000 characters is built and pushed to the Hub stand-in, which counts what it
sends. A fresh process opens it and draws 10 documents from each of 20 clusters chosen at random, prefetch off.

Promises: under 6 % of the corpus' bytes are sent, index and profiles included; resident memory grows under 200 MB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.report import conclude, progress
from tests.servers.hub import HubServer

CLIENT = """
import json, sys
from tests.benchmarks.store import forget_peak, resident_bytes
from equal_hf.corpus import ClusteredCorpus
import huggingface_hub, pyarrow.parquet, fsspec
forget_peak()
before = resident_bytes("VmRSS")
corpus = ClusteredCorpus.from_hub(sys.argv[1])
drawn = [len(corpus.draw(cluster, 10)) for cluster in json.loads(sys.argv[2])]
print(json.dumps({"drawn": sum(drawn), "grown": resident_bytes("VmHWM") - before}))
"""
PUSH = """
import sys
from equal_hf.corpus import ClusteredCorpus
ClusteredCorpus.load(sys.argv[1]).push_to_hub(sys.argv[2])
"""


def rows(documents: int, topics: int, characters: int) -> Iterator[dict[str, str]]:
    """Documents of made-up words, each of one topic: about as compressible as prose."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words = np.array(["".join(rng.choice(letters[:18], length)) for length in rng.integers(2, 11, 30_000)])
    share = 1 / np.arange(1, len(words) + 1)
    pool = rng.choice(len(words), 2_000_000, p=share / share.sum())
    for number in range(documents):
        topic = number % topics
        start = rng.integers(0, len(pool) - characters)
        common = pool[start : start + characters // 8]
        own = rng.integers(50 * topic, 50 * topic + 50, characters // 30) + 1000
        text = " ".join(words[np.concatenate([common, own % len(words)])])
        yield {"text": f"{number} {text}", "source": f"site-{topic % 37}"}


def embedder(dimension: int = 64) -> Any:
    """A static embedder of the made-up words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=20_000, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator((row["text"] for row in rows(2000, 500, 1000)), trainer)
    weights = np.random.default_rng(1).normal(size=(tokenizer.get_vocab_size(), dimension)).astype(np.float32)
    weights[:200] *= 0.05  # the commonest words tell little
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


def measure(documents: int, clusters: int, characters: int, seed: int) -> tuple[dict[str, Any], dict[str, bool]]:
    from equal_hf.corpus import ClusteredCorpus, Embedder

    with tempfile.TemporaryDirectory() as folder, HubServer(python_timeout_s=600) as hub:
        path = Path(folder) / "corpus"
        began = time.perf_counter()
        corpus = ClusteredCorpus.build(
            rows(documents, clusters, characters), path, embedder=Embedder(embedder()), n_clusters=clusters, threads=1
        )
        progress(f"built {documents} documents in {time.perf_counter() - began:.0f} s")
        size = sum(facts["bytes"] for facts in corpus.manifest["files"].values())
        hub.python(PUSH, path, "tester/corpus", home=Path(folder) / "push")
        progress(f"pushed {size / 1e6:.0f} MB")
        chosen = np.random.default_rng(seed).choice(corpus.n_clusters, 20, replace=False).tolist()
        hub.reset()
        out = hub.python(CLIENT, "tester/corpus", json.dumps(chosen), home=Path(folder) / "draw")
        told = json.loads(out.splitlines()[-1])
        sent = hub.bytes()
    by_kind = {
        kind: sum(count for name, count in sent.items() if name.startswith(kind))
        for kind in ("data", "index", "profiles", "corpus.json", "embeddings")
    }
    total = sum(sent.values())
    result = {
        "documents": documents,
        "clusters": corpus.n_clusters,
        "corpus_mb": round(size / 1e6, 1),
        "drawn": told["drawn"],
        "sent_mb": round(total / 1e6, 2),
        "sent_share": round(total / size, 4),
        "sent_bytes": by_kind,
        "grown_mb": round(told["grown"] / 1e6, 1),
    }
    promises = {
        "under_6_percent_sent": total < 0.06 * size,
        "grows_under_200_mb": told["grown"] < 200e6,
        "everything_drawn": told["drawn"] == 200,
    }
    return result, promises


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--characters", type=int, default=3000, help="of a document, about")
    parser.add_argument("--seed", type=int, default=0, help="chooses the clusters drawn from")
    options = parser.parse_args()
    conclude(*measure(options.documents, options.clusters, options.characters, options.seed))


if __name__ == "__main__":
    main()
