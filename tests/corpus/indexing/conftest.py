"""A dataset of several files, dirty as real ones are, and an index of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world import make_documents


def write_dataset(folder: Path, per_topic: int = 40) -> list[dict]:
    """Four files with some rows that cannot be used; the rows that can."""
    import pandas as pd

    rows = make_documents(per_topic)
    folder.mkdir(parents=True)
    quarter = len(rows) // 4
    for number in range(4):
        part = list(rows[number * quarter : (number + 1) * quarter])
        part.append({"id": f"null-{number}", "text": None, "source": "none", "license": "none"})
        if number == 2:
            part.append({**rows[0], "id": "again"})  # a text of the first file
            part.append({**rows[1], "text": rows[1]["text"] + " More."})  # an id of the first file
        pd.DataFrame(part).to_parquet(folder / f"train-{number:05d}.parquet")
    return rows[: 4 * quarter]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset") / "files"
    rows = write_dataset(folder)
    return folder, rows


@pytest.fixture(scope="session")
def embedder_folder(dataset, tmp_path_factory):
    from recipes.tiny_models import build_embedder

    folder = tmp_path_factory.mktemp("embedder")
    build_embedder([row["text"] for row in dataset[1]], folder, seed=0, dimension=16)
    return folder


@pytest.fixture(scope="session")
def config(dataset, embedder_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "index.yaml"
    path.write_text(
        f"corpus: {dataset[0]}\nid_column: id\nembedder: {embedder_folder}\nextractor: explicit\n"
        "n_clusters: 8\nsample_share: 0.3\nshard_documents: 20\nmax_shard_bytes: 20000\nthreads: 1\nseed: 1\n"
    )
    return path
