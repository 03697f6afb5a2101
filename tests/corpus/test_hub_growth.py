"""A corpus that grows: what of it is sent to the Hub again, and that it is read as one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from equal_hf.cli import index as command
from equal_hf.cli.index_arguments import parse_index
from equal_hf.corpus import ClusteredCorpus
from recipes.tiny_models import build_embedder
from tests.processes import digests, run
from tests.servers.hub import HubServer

WORDS = [f"{first}{last}" for first in "bdfgklmnprst" for last in ("ane", "ilo", "oru", "umi", "eta", "ask", "irt")]

CLIENT = """
import json, sys
from equal_hf.corpus import ClusteredCorpus
ClusteredCorpus.load(sys.argv[1]).push_to_hub("tester/growing")
corpus = ClusteredCorpus.from_hub("tester/growing")
drawn = [[d.id for d in corpus.draw(c, 40, 3)] for c in range(corpus.n_clusters)]
print(json.dumps([drawn, [corpus.embeddings(c).tolist() for c in range(corpus.n_clusters)]]))
"""


def rows(start: int, end: int) -> list[dict[str, str]]:
    """Texts of one kind of word more than of the others."""
    texts = []
    for number in range(start, end):
        rng = np.random.default_rng(number)
        kind = number % 6
        words = [*rng.choice(WORDS[14 * kind : 14 * kind + 14], 300), *rng.choice(WORDS, 300)]
        texts.append({"id": f"d{number}", "text": " ".join(rng.permutation(words))})
    return texts


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> tuple[Path, Path, list[dict[str, str]]]:
    """A corpus of 1,200 documents, and what has become of it with 5 % more, which lie anywhere among them."""
    folder = tmp_path_factory.mktemp("growing")
    old, new = rows(0, 1200), rows(1200, 1260)
    (folder / "files").mkdir()
    build_embedder([row["text"] for row in old[:100]], folder / "model", seed=0, dimension=16)
    config = folder / "index.yaml"
    config.write_text(
        f"corpus: {folder}/files\nid_column: id\nembedder: {folder}/model\nn_clusters: 6\nthreads: 1\nseed: 1\n"
        "max_shard_bytes: 300000\nshard_documents: 200\ncorpus_map: false\nalign: false\nextractor: explicit\n"
    )

    def index(documents: list[dict[str, str]], name: str, *kill: str) -> None:
        pd.DataFrame(documents).to_parquet(folder / "files" / "part.parquet")
        flags = ["--output_dir", str(folder / name)]
        if kill:
            out = run(["-m", "tests.corpus.indexing.chain", str(config), *flags, *kill], folder / "log")
            assert int(out.splitlines()[-1].split()[1]) >= 2, "killed"
        else:
            command.index(*parse_index(str(config), flags))

    index(old, "run")
    shutil.copytree(folder / "run", folder / "killed")
    shutil.copytree(folder / "run" / "corpus", folder / "first")
    everything = [
        row for place, row in enumerate(old) for row in ([new[place // 20], row] if not place % 20 else [row])
    ]
    index(everything, "run")
    index(everything, "killed", "--kill-every", "20")
    return folder, folder / "run" / "corpus", everything


def test_kills_leave_the_same_bytes_where_a_corpus_grows(grown):
    folder, corpus, _ = grown
    assert digests(folder / "killed" / "corpus") == digests(corpus)


def test_what_is_there_stays_where_it_lies_and_is_drawn_among_what_is_new(grown):
    folder, path, everything = grown
    first, corpus = ClusteredCorpus.load(folder / "first"), ClusteredCorpus.load(path, verify=True)
    assert corpus.manifest["format_version"] == 3 and first.manifest["format_version"] == 2
    before, after = digests(folder / "first"), digests(path)
    large = [name for name in before if name.startswith(("data/", "embeddings/", "terms/"))]
    assert len(large) == 6 and all(after[name] == before[name] for name in large)
    added = [name for name in after if name.startswith("data/") and name not in before]
    assert added and all("-added-01" in name for name in added)
    drawn = [corpus.draw(cluster, 10**6) for cluster in range(corpus.n_clusters)]
    assert {d.id: d.text for of_cluster in drawn for d in of_cluster} == {row["id"]: row["text"] for row in everything}
    places = []
    for cluster, documents in enumerate(drawn):
        old = [document.id for document in first.draw(cluster, 10**6)]
        assert [document.id for document in documents if document.id in old] == old
        places += [at / len(documents) for at, d in enumerate(documents) if int(d.id[1:]) >= 1200]
        some = np.array([len(documents) - 1, 0, len(documents) // 2])
        assert [d.id for d in corpus.draw(cluster, 3, order=some)] == [documents[at].id for at in some]
    assert len(places) == 60 and 0.35 < np.mean(places) < 0.65, "new documents do not all come last"


def test_a_corpus_with_5_percent_more_documents_sends_little_again(grown, tmp_path):
    folder, path, _ = grown
    with HubServer() as hub:
        hub.python(CLIENT, folder / "first", home=tmp_path)
        all_of_it = hub.sent("tester/growing")
        drawn, embeddings = json.loads(hub.python(CLIENT, path, home=tmp_path).splitlines()[-1])
        sent = hub.sent("tester/growing")
    sizes = {name: size for name, (_, size) in sent.items()}
    assert sum(new for new, _ in all_of_it.values()) > 0.99 * sum(size for _, size in all_of_it.values())
    share = sum(new for new, _ in sent.values()) / sum(sizes.values())
    assert share < 0.25, {name: row for name, row in sent.items() if row[0]}
    corpus = ClusteredCorpus.load(path)
    assert drawn == [[d.id for d in corpus.draw(cluster, 40, 3)] for cluster in range(corpus.n_clusters)]
    assert embeddings == [corpus.embeddings(cluster).tolist() for cluster in range(corpus.n_clusters)]
