"""What is of a corpus as a whole, written when its data files are there: index, profiles, centroids, words, card,
manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from equal_hf.corpus.card import corpus_card, stated_metadata
from equal_hf.corpus.centroids import CENTROIDS_FILE, write_centroids
from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.indexing.file_plan import DATA_FOLDER
from equal_hf.corpus.indexing.parquet_writer import INDEX_FILE, FilePart, write_index
from equal_hf.corpus.keywords import ClusterWords, top_terms
from equal_hf.corpus.kmeans import Centroids
from equal_hf.corpus.manifest import CARD_FILE, make_manifest, write_manifest
from equal_hf.corpus.profiles import PROFILES_FILE, ClusterProfiles
from equal_hf.corpus.provenance import Provenance
from equal_hf.utils.dataset_info import DataFacts
from equal_hf.utils.files import describe_file

CLUSTERS_FILE = "clusters.parquet"

# Draws the map of the clusters into the corpus folder, from their profiles, words and terms; gives its files.
Draw = Callable[[Path, ClusterProfiles, Sequence[ClusterWords], list[list[str]]], list[Path]]


def corpus_facts(
    *, embedder: Embedder, centroids: Centroids, seed: int, read: dict[str, Any], beyond: int
) -> dict[str, Any]:
    """What the manifest says of how a corpus was made."""
    return {
        "dimension": embedder.dimension,
        "seed": seed,
        "read": read,
        "embedder": {
            "name": embedder.name,
            "fingerprint": embedder.fingerprint(),
            "max_windows": embedder.max_windows,
            "documents_beyond_max_windows": beyond,
        },
        "clustering": centroids.settings(),
    }


def finish_corpus(
    folder: Path,
    parts: Sequence[FilePart],
    centroids: Centroids,
    embedder: Embedder,
    facts: dict[str, Any],
    files: dict[str, dict[str, Any]],
    *,
    draw: Draw | None = None,
) -> None:
    """Write what is of the whole corpus, and the manifest last.

    Args:
        folder (`Path`): Holds the data and embedding files of `parts`.
        parts (`Sequence[FilePart]`): In order.
        centroids ([`Centroids`]): What they were assigned to.
        embedder ([`Embedder`]): What they were embedded with.
        facts (`dict[str, Any]`): For the manifest.
        files (`dict[str, dict[str, Any]]`): Size and hash of files, where they are known already.
        draw (`Draw`, *optional*): Draws the corpus map.
    """
    words = [cluster for part in parts for cluster in part.words]
    terms = top_terms(words)
    profiles = ClusterProfiles.join([part.profiles for part in parts])
    write_index([row for part in parts for row in part.index], folder / INDEX_FILE)
    profiles.save(folder / PROFILES_FILE)
    numbers = np.array([number for part in parts for number in part.centroids], np.int32)
    write_centroids(centroids.vectors, numbers, folder / CENTROIDS_FILE)
    write_clusters(words, terms, numbers, folder / CLUSTERS_FILE)
    pictures = [path.relative_to(folder).as_posix() for path in draw(folder, profiles, words, terms)] if draw else []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name != CARD_FILE and name not in files:
            files[name] = describe_file(path)
    sizes = profiles.count
    facts = {
        "documents": int(sizes.sum()),
        "n_clusters": len(sizes),
        **facts,
        "embedder": {**facts["embedder"], "probe": embedder_probe(embedder, words)},
        "sizes": {
            "largest": int(sizes.max()),
            "median": int(np.median(sizes)),
            "smallest": int(sizes.min()),
            "empty_clusters_left_out": len(centroids.vectors) - len(sizes),
        },
    }
    provenance = Provenance.of_json([part.provenance.to_json() for part in parts])
    manifest = make_manifest(files, {**facts, "card": stated_metadata(provenance)})
    data = [name for name in files if name.startswith(f"{DATA_FOLDER}/")]
    told = DataFacts(
        pq.read_schema(folder / data[0]),
        manifest["documents"],
        sum(part.arrow_bytes for part in parts),
        sum(files[name]["bytes"] for name in data),
    )
    card = corpus_card(manifest, words, terms, pictures, data=told, provenance=provenance)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    write_manifest(folder, manifest)


def embedder_probe(embedder: Embedder, words: Sequence[ClusterWords]) -> dict[str, Any]:
    """A few words of the corpus and what its embedder makes of them: by it another model of the same name is known,
    and the same one at another precision."""
    text = " ".join(words[0].titles)
    return {"text": text, "embedding": [round(float(value), 3) for value in embedder.encode([text])[0]]}


def write_clusters(
    words: Sequence[ClusterWords], terms: Sequence[Sequence[str]], centroids: np.ndarray, path: Path
) -> None:
    """Write what each cluster is about as a small table beside the corpus."""
    table = pa.table(
        {
            "cluster": pa.array([cluster.cluster for cluster in words], pa.int32()),
            "centroid": pa.array(centroids, pa.int32()),
            "documents": pa.array([cluster.documents for cluster in words], pa.int64()),
            "terms": pa.array([list(of_cluster) for of_cluster in terms], pa.list_(pa.string())),
            "titles": pa.array([cluster.titles for cluster in words], pa.list_(pa.string())),
        }
    )
    pq.write_table(table, path, compression="zstd", write_statistics=False)
