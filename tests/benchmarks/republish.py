"""What of a clustered corpus is sent to the Hub again when it has grown, in Xet's chunks.

    python -m tests.benchmarks.republish --documents documents.parquet

Indexes all but a share of the documents, then all of them in the same folder, where the new ones lie anywhere among
the others, step after step; and all of them in a fresh folder, which is what a corpus without a memory of what is
published would send. Documents are `text`; the embedder is a static one of random vectors, as only places matter.

Promise: 5 % more documents send less than 25 % of the corpus again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from equal_hf.cli.index_arguments import parse_index
from equal_hf.corpus.indexing.pipeline import run_index
from tests.benchmarks.report import conclude, progress
from tests.servers.xet_chunks import chunks

PROMISE = 0.25


def index(config: Path, output_dir: Path) -> Path:
    """Index, without a map."""
    args, place, seed = parse_index(str(config), ["--output_dir", str(output_dir)])
    run_index(args, place, seed, show_progress=False)
    return output_dir / "corpus"


def sent(folder: Path, held: set[bytes]) -> dict[str, float]:
    """Bytes of the chunks of a folder that are not held, by kind of file, and its size; they are held then."""
    kinds: dict[str, float] = {}
    size = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content, kind = path.read_bytes(), path.relative_to(folder).parts[0]
        new = set(chunks(content)) - held
        held |= new
        size += len(content)
        kinds[kind] = kinds.get(kind, 0) + sum(map(len, new))
    return {"size": size, "sent": sum(kinds.values()), **{f"sent/{kind}": count for kind, count in kinds.items()}}


def main() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from recipes.tiny_models import build_embedder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", required=True, help="Parquet file with a column `text`")
    parser.add_argument("--growth", type=float, default=0.05, help="share of the documents that each step adds")
    parser.add_argument("--steps", type=int, default=3, help="how often the corpus grows")
    parser.add_argument("--dimension", type=int, default=384, help="dimension of the embeddings")
    options = parser.parse_args()
    texts = pq.read_table(options.documents, columns=["text"])["text"].to_pylist()
    texts = list(dict.fromkeys(text for text in texts if text and len(text.strip()) >= 50))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        build_embedder(texts[:500], folder / "model", seed=0, dimension=options.dimension)
        config = folder / "index.yaml"
        config.write_text(
            f"corpus: {folder}/files\nembedder: {folder}/model\nn_clusters: auto\nextractor: explicit\nalign: false\n"
            "corpus_map: false\nthreads: 1\nseed: 1\n"
        )
        # Of every `every` documents the last `steps` come later, one a step.
        every = round(1 / options.growth) + options.steps
        held: set[bytes] = set()
        found = []
        for step in range(options.steps + 1):
            now = [text for place, text in enumerate(texts) if place % every < every - options.steps + step]
            pq.write_table(pa.table({"text": now}), folder / "files" / "part.parquet")
            corpus = index(config, folder / "run")
            row = {"documents": len(now), **sent(corpus, held)}
            row["share"] = round(row["sent"] / row["size"], 4)
            found.append(row)
            progress(f"step {step}: {row}")
            if step == 1:
                before = {chunk for path in corpus.rglob("*") if path.is_file() for chunk in chunks(path.read_bytes())}
        anew = sent(index(config, folder / "fresh"), before)
        row = {"documents": len(now), **anew, "share": round(anew["sent"] / anew["size"], 4)}
        progress(f"in a fresh folder: {row}")
    conclude({"steps": found, "fresh": row}, {"under_a_quarter_sent_again": found[1]["share"] < PROMISE})


if __name__ == "__main__":
    main()
