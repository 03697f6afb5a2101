"""The dataset card of a clustered corpus: it makes the folder an ordinary dataset of its documents."""

from __future__ import annotations

from typing import Any

_CARD = """\
---
configs:
- config_name: default
  # `datasets` caches a local folder under its configurations alone: without this, a rebuilt one would open as it was.
  description: content {fingerprint}
  data_files:
  - split: train
    path: data/*.parquet
tags:
- equal-hf
- clustered-corpus
---

# Clustered corpus

{documents:,} documents in {n_clusters:,} clusters, sorted by cluster, for selecting documents with
[EQUAL](https://arxiv.org/abs/2505.12250).

```python
from datasets import load_dataset
documents = load_dataset("path/or/repository", split="train")   # id, text, cluster, metadata

from equal_hf import ClusteredCorpus
corpus = ClusteredCorpus.load("path")                           # or .from_hub("repository")
corpus.draw(cluster=0, n=10)                                    # reads the row groups of cluster 0 only
```

| what | value |
|---|---|
| documents read / kept | {rows:,} / {documents:,} |
| dropped | {dropped} |
| embedder | {embedder} |
| clustering | spherical k-means, {requested:,} clusters asked for, seed {seed}, {threads} threads, {device} |
| fingerprint | `{fingerprint}` |

- `data/*.parquet`: the documents; a row group holds documents of one cluster, in seeded-hash order.
- `index.parquet`: where each cluster's row groups lie.
- `profiles.safetensors`: of each cluster the size, the mean embedding, the covariance and sample embeddings.
- `embeddings.safetensors`: document embeddings, float16, in the order of the rows.
- `corpus.json`: how the corpus was made, and the hash of every file.

The texts keep the licences of their sources.
"""


def corpus_card(manifest: dict[str, Any]) -> str:
    """The text of `README.md`.

    Args:
        manifest (`dict[str, Any]`): The corpus manifest.
    """
    read, clustering = manifest["read"], manifest["clustering"]
    return _CARD.format(
        documents=manifest["documents"],
        n_clusters=manifest["n_clusters"],
        rows=read["rows"],
        dropped=", ".join(f"{count:,} {reason}" for reason, count in read["dropped"].items()) or "none",
        embedder=f"`{manifest['embedder']['name']}`" if manifest["embedder"]["name"] else "not named",
        requested=clustering["n_clusters_requested"],
        seed=clustering["seed"],
        threads=clustering["threads"],
        device=clustering["device"].upper(),
        fingerprint=manifest["fingerprint"],
    )
