"""A target made of a corpus's own domains, to try a selection on kinds of pairs that nobody chose it by.

    python -m tests.benchmarks.selection_domains --documents docs.parquet --pairs pairs.parquet \\
        --domains physics_textbook chemistry_textbook --out physics

Half of the documents of the first domain are taken out, and their pairs become the target (60 % reference, 20 %
validation, 20 % test; 600 at most). Pairs of the other half, and of the further domains, count as target-like. Writes
`documents`, `pairs`, `labels` and `target` as Parquet files, as `tests.benchmarks.selection` takes them. Documents
need a column `domain`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MOST_ITEMS = 600


def main(argv: Sequence[str] | None = None) -> dict[str, int]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--domains", nargs="+", required=True, help="the target's, then such as count too")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    import pandas as pd

    documents, pairs = pd.read_parquet(args.documents), pd.read_parquet(args.pairs)
    own = np.random.default_rng(0).permutation(documents.index[documents["domain"] == args.domains[0]])
    taken = documents.loc[own[: len(own) // 2], "id"]
    items = pairs[pairs["doc_id"].isin(taken)].sample(frac=1, random_state=0).head(MOST_ITEMS)
    if len(items) < 5:
        raise SystemExit(f"half of {args.domains[0]} holds {len(items)} pairs, too few for a target")
    part = np.arange(len(items)) / len(items)
    target = items[["question", "answer"]].assign(
        split=np.select([part < 0.6, part < 0.8], ["reference", "validation"], "test")
    )
    left = documents[~documents["id"].isin(taken)]
    counted = left.loc[left["domain"].isin(args.domains), "id"]
    counts = pairs[pairs["doc_id"].isin(counted)].groupby("doc_id").size()
    labels = left[["id"]].assign(n_target_like_qa=left["id"].map(counts).fillna(0).astype(int))
    tables = {"documents": left, "pairs": pairs[pairs["doc_id"].isin(left["id"])], "labels": labels, "target": target}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(args.out / f"{name}.parquet", index=False)
    told = {"items": len(target), "documents": len(left), "target_like": int(labels["n_target_like_qa"].sum())}
    print(told)
    return told


if __name__ == "__main__":
    main()
