"""What indexing costs over the bare tools, how it scales over ranks, and the memory it takes.

    python -m tests.benchmarks.index

- Embedding: the embed stage of one rank against a bare `SentenceTransformer.encode` on the same texts, a two-layer
  BERT of MiniLM's width on one thread, taking turns; then two ranks against one.
- Clustering: `train_centroids` against a bare `faiss.Kmeans` of the same settings.
- Memory: an index of many short rows with a static embedder, in a process of its own.

Promises: at least 95 % of the bare throughput; two ranks at least 1.7 times one; clustering at most 1.2 times the bare
time; memory grows under 1.5 GB. `--only` picks parts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.report import conclude, progress

WIDTH = 384
PARTS = ("embedding", "ranks", "clustering", "memory")
MEMORY = """
import json, sys
import sentence_transformers, faiss, datasets, sklearn.manifold, pyarrow.parquet, equal_hf.corpus.indexing.pipeline
from tests.benchmarks.store import forget_peak, resident_bytes
from equal_hf.cli.index_arguments import parse_index
from equal_hf.corpus.indexing.pipeline import run_index
forget_peak()
before = resident_bytes("VmRSS")
args, place, seed = parse_index(sys.argv[1], [])
summary = run_index(args, place, seed)
print(json.dumps({"grown": resident_bytes("VmHWM") - before, **summary}))
"""


def texts(count: int, words: int, seed: int = 0) -> list[str]:
    """Texts of made-up words, of very different lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(max(words // 4, 3), 2 * words, count)
    return [
        " ".join(f"w{n}" for n in rng.integers(0, 3000, length)) + f" w{i % 3000}" for i, length in enumerate(lengths)
    ]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", *(f"w{n}" for n in range(3000))])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def transformer(folder: Path, window: int) -> Path:
    """A BERT of two layers, as wide as MiniLM, with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), pad_token="[PAD]", unk_token="[UNK]", model_max_length=window
    )
    fast.save_pretrained(folder / "bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=3002,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=12,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=window,
    )
    BertModel(config).save_pretrained(folder / "bert")
    first = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[first, Pooling(WIDTH)], device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


def static(folder: Path, dimension: int = 64) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    weights = np.random.default_rng(0).normal(size=(3002, dimension)).astype(np.float32)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer(), embedding_weights=weights)], device="cpu")
    model.save_pretrained(str(folder / "static"))
    return folder / "static"


def write_dataset(found: list[str], folder: Path, files: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for number in range(files):
        pq.write_table(pa.table({"text": found[number::files]}), folder / f"train-{number:03d}.parquet")


def configure(folder: Path, embedder: Path, **settings: Any) -> Path:
    path = folder / "index.yaml"
    plain = {"align": False, "corpus_map": False, "threads": 1, "min_characters": 1, "embedder_dtype": "float32"}
    content = {"corpus": str(folder / "files"), "embedder": str(embedder), **plain, **settings}
    path.write_text(json.dumps(content))
    return path


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def embedding(folder: Path, count: int, turns: int) -> tuple[dict[str, Any], dict[str, bool]]:
    import torch

    from equal_hf.corpus.embedder import Embedder
    from equal_hf.corpus.indexing.embed import embed_shard
    from equal_hf.corpus.indexing.embedding_store import EmbeddingStore
    from equal_hf.corpus.indexing.shards import write_shards
    from equal_hf.types import Document

    torch.set_num_threads(1)
    found = texts(count, 60)
    embedder = Embedder(str(transformer(folder, 128)), device="cpu")
    shards = list(write_shards((Document(str(n), text) for n, text in enumerate(found)), folder / "shards"))
    bare, ours = [], []
    for turn in range(turns):
        store = EmbeddingStore(folder / f"store-{turn}", embedder.fingerprint(), embedder.dimension)
        bare.append(seconds(lambda: embedder.model.encode(found, batch_size=64, show_progress_bar=False)))
        ours.append(
            seconds(
                lambda store=store: [
                    embed_shard(s, folder / "shards", None, embedder.encode_documents, store) for s in shards
                ]
            )
        )
        progress(f"embedding {count} texts: bare {bare[-1]:.2f} s, stage {ours[-1]:.2f} s")
    share = min(bare) / min(ours)
    result = {"texts": count, "bare_per_s": round(count / min(bare)), "stage_per_s": round(count / min(ours))}
    return {**result, "share_of_bare": round(share, 3)}, {"at_least_95_percent_of_bare": share >= 0.95}


def ranks(folder: Path, count: int, turns: int) -> tuple[dict[str, Any], dict[str, bool]]:
    write_dataset(texts(count, 60), folder / "files", 4)
    config = configure(folder, transformer(folder, 128), n_clusters=8, shard_documents=max(count // 16, 1))
    took: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(turns):
        for processes in (1, 2):
            arguments = ["-m", "tests.corpus.indexing.chain", str(config), "--ranks", str(processes)]
            arguments += ["--output_dir", str(folder / f"run-{processes}-{turn}")]
            out = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout
            told = json.loads(next(line for line in out.splitlines() if line.startswith('{"threads"')))
            took[processes].append(told["embedding"]["seconds"])
            progress(f"{processes} ranks embed in {took[processes][-1]} s")
    gain = min(took[1]) / min(took[2])
    result = {"texts": count, "one_rank_s": min(took[1]), "two_ranks_s": min(took[2]), "gain": round(gain, 2)}
    return result, {"two_ranks_gain_1_7": gain >= 1.7}


def clustering(points: int, clusters: int, turns: int) -> tuple[dict[str, Any], dict[str, bool]]:
    import faiss

    from equal_hf.corpus.kmeans import train_centroids

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(points, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    faiss.omp_set_num_threads(1)
    bare, ours = [], []
    for _ in range(turns):
        kmeans = faiss.Kmeans(64, clusters, niter=25, seed=42, spherical=True, max_points_per_centroid=256)
        bare.append(seconds(lambda kmeans=kmeans: kmeans.train(vectors)))
        ours.append(seconds(lambda: train_centroids(vectors, clusters, threads=1, gpu=False)))
        progress(f"{clusters} clusters of {points} points: bare {bare[-1]:.2f} s, here {ours[-1]:.2f} s")
    ratio = min(ours) / min(bare)
    result = {"points": points, "clusters": clusters, "bare_s": round(min(bare), 2), "here_s": round(min(ours), 2)}
    return {**result, "ratio": round(ratio, 3)}, {"at_most_1_2_of_bare_kmeans": ratio <= 1.2}


def memory(folder: Path, count: int) -> tuple[dict[str, Any], dict[str, bool]]:
    write_dataset([f"{text} row{n}" for n, text in enumerate(texts(count, 8))], folder / "files", 8)
    config = configure(folder, static(folder), n_clusters="auto", output_dir=str(folder / "run"))
    done = subprocess.run([sys.executable, "-c", MEMORY, str(config)], stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    result = {name: told[name] for name in ("documents", "n_clusters", "seconds")}
    result["grown_mb"] = round(told["grown"] / 1e6, 1)
    return result, {"grows_under_1_5_gb": told["grown"] < 1.5e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2048, help="of the embedding parts")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the memory part")
    parser.add_argument("--clusters", type=int, default=400)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    promises: dict[str, bool] = {}
    for part in options.only:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            if part == "clustering":
                result, kept = clustering(256 * options.clusters, options.clusters, options.turns)
            elif part == "memory":
                result, kept = memory(folder, options.rows)
            else:
                result, kept = {"embedding": embedding, "ranks": ranks}[part](folder, options.texts, options.turns)
        results[part] = result
        promises |= kept
    conclude(results, promises)


if __name__ == "__main__":
    main()
