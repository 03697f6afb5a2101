"""Does alignment help an embedder find what documents yield? On real documents with their pairs.

    EQUAL_DATA=../shared/data python -m tests.benchmarks.align

A `StaticEmbedding` model made from the documents by latent semantic analysis is aligned on 5 % of the documents of
`math_web.parquet` and their pairs; measured is on others, held out. Three seeds.

Promise: held-out document→pair recall@10 rises on each seed. Reported: the prior's rank correlation with the true
transport reward over clusters, before and after (the target is GSM8K's reference).
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.report import conclude, progress

SHARE = 0.05
HELD_OUT = 500
REFERENCE = 100


def measure(data: Path, seeds: int) -> tuple[dict[str, Any], dict[str, bool]]:
    import pandas as pd
    from sentence_transformers import SentenceTransformer

    from equal_hf.alignment.fine_tune import align
    from equal_hf.alignment.prior_agreement import prior_agreement
    from equal_hf.types import Document, QAPair
    from recipes.tiny_models import build_embedder

    table = pd.read_parquet(data / "math_web.parquet", columns=["id", "text"])
    documents = [Document(row.id, row.text) for row in table.itertuples()]
    columns = pd.read_parquet(data / "math_web_pairs.parquet")
    pairs = [QAPair(row.question, row.answer, row.doc_id) for row in columns.itertuples()]
    with_pairs = {pair.document_id for pair in pairs}
    target = pd.read_parquet(data / "targets/gsm8k.parquet").query("split == 'reference'")[:REFERENCE]
    reference = [f"{row.question}\n{row.answer}" for row in target.itertuples()]
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        build_embedder([d.text for d in documents], Path(folder), seed=0, dimension=128)
        for seed in range(seeds):
            shuffled = random.Random(seed).sample(documents, len(documents))
            cut = round(SHARE * len(shuffled))
            sample = shuffled[:cut]
            heldout = [d for d in shuffled[cut:] if d.id in with_pairs][:HELD_OUT]

            def agreement(embedder, found, by_document, seed=seed):
                return {"prior_rank_correlation": prior_agreement(embedder, found, by_document, reference, seed)}

            model = SentenceTransformer(folder, device="cpu")
            facts = align(model, sample, pairs, None, seed=seed, heldout=heldout, measure=agreement)
            progress(f"seed {seed}: {facts}")
            runs.append({"seed": seed, **{name: facts[name] for name in ("before", "after", "training_pairs")}})
    result = {"documents": len(documents), "sample": cut, "held_out": len(heldout), "runs": runs}
    rises = [run["after"]["recall_at_10"] > run["before"]["recall_at_10"] for run in runs]
    return result, {"recall_at_10_rises_on_every_seed": all(rises)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EQUAL_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    conclude(*measure(options.data, options.seeds))


if __name__ == "__main__":
    main()
