"""A corpus over the real `huggingface_hub` and `datasets`, against the Hub stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from equal_hf.corpus import ClusteredCorpus
from tests.corpus.tiny import make_texts
from tests.servers.hub import HubServer

PUSH = """
import sys
from equal_hf.corpus import ClusteredCorpus
print(ClusteredCorpus.load(sys.argv[1]).push_to_hub(sys.argv[2], private=True))
"""

DRAW = """
import json, sys
from equal_hf.corpus import ClusteredCorpus
corpus = ClusteredCorpus.from_hub(sys.argv[1])
cluster = int(sys.argv[2])
drawn = [[document.id, document.text, document.cluster, document.metadata] for document in corpus.draw(cluster, 10**6)]
drawn += [[document.id] for document in corpus.draw(cluster, 2, 1)]
facts = [corpus.source, corpus.fingerprint, corpus.sizes.tolist(), corpus.profiles.mean.tolist()]
facts += [corpus.centroids.tolist(), corpus.centroid_numbers.tolist()]
print(json.dumps([drawn, corpus.embeddings(cluster).tolist(), facts]))
"""

PREFETCH = """
import json, sys
import numpy as np
from equal_hf.corpus import ClusteredCorpus
corpus = ClusteredCorpus.from_hub(sys.argv[1], max_cache_bytes=int(sys.argv[2]))
clusters = [int(cluster) for cluster in np.argsort(corpus.sizes)[:3]]
order = lambda cluster: np.argsort(corpus.embeddings(cluster)[:, 0])
corpus.prefetch([(cluster, 5, 2) for cluster in clusters], order)
assert corpus._prefetcher.wait(60)
print("fetched", flush=True)
sys.stdin.readline()
drawn = [[d.id for d in corpus.draw(cluster, 5, 2, order(cluster))] for cluster in clusters]
print(json.dumps([clusters, drawn]))
"""

LOAD_DATASET = """
import json, sys
from datasets import load_dataset
rows = list(load_dataset(sys.argv[1], split="train"))
assert rows == list(load_dataset(sys.argv[1], split="train", streaming=True))
print(json.dumps(rows))
"""

SAVE = """
import sys
from equal_hf.corpus import ClusteredCorpus
corpus = ClusteredCorpus.from_hub(sys.argv[1])
corpus.save(sys.argv[2])
corpus.push_to_hub(sys.argv[3])
"""

REFUSED = """
import json, sys
from equal_hf.corpus import ClusteredCorpus, open_dataset
from equal_hf.errors import EqualError
actions = {
    "from_hub": ClusteredCorpus.from_hub,
    "revision": lambda name: ClusteredCorpus.from_hub(name, revision="v9"),
    "open": open_dataset,
    "push": lambda name: ClusteredCorpus.load(name.split(":")[0]).push_to_hub(name.split(":")[1]),
}
found = []
for action, name in json.loads(sys.argv[1]):
    try:
        actions[action](name)
        found.append(["nothing", ""])
    except EqualError as error:
        found.append([type(error).__name__, str(error)])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def local(embedder, tmp_path_factory):
    """400 documents in one file, large enough for a row group to stand out from what a footer costs."""
    rows = make_texts(100, words=2000)
    path = tmp_path_factory.mktemp("hub") / "local"
    return ClusteredCorpus.build(rows, path, embedder=embedder, n_clusters=12, threads=1, show_progress=False)


@pytest.fixture(scope="module")
def repo(hub, local, tmp_path_factory):
    """The repository the corpus was pushed to, over an earlier corpus of more files."""
    home = tmp_path_factory.mktemp("home")
    out = hub.python(PUSH, local.source, "tester/corpus", home=home)
    assert out.splitlines()[-1].startswith(f"{hub.url}/datasets/tester/corpus/commit/")
    return "tester/corpus"


def test_a_draw_over_the_hub_gives_the_same_and_reads_only_its_row_groups(hub, local, repo, tmp_path):
    cluster = 5
    hub.reset()
    drawn, embeddings, facts = json.loads(hub.python(DRAW, repo, str(cluster), home=tmp_path).splitlines()[-1])
    expected = local.draw(cluster, 10**6)
    assert drawn[:-2] == [[d.id, d.text, d.cluster, dict(d.metadata)] for d in expected]
    assert drawn[-2:] == [[d.id] for d in expected[1:3]]
    assert embeddings == local.embeddings(cluster).tolist()
    assert facts[0].startswith(f"{repo}@") and len(facts[0].split("@")[1]) == 40
    assert facts[1:4] == [local.fingerprint, local.sizes.tolist(), local.profiles.mean.tolist()]
    assert facts[4:] == [local.centroids.tolist(), local.centroid_numbers.tolist()]

    sent = hub.bytes()
    index = pq.read_table(Path(local.source) / "index.parquet").to_pylist()
    (file,) = {row["file"] for row in index}
    mine = sum(row["bytes"] for row in index if row["cluster"] == cluster)
    footer = local.manifest["files"][file]["bytes"] - max(row["offset"] + row["bytes"] for row in index)
    vectors = 256 + int(local.sizes[cluster]) * local.manifest["dimension"] * 2
    embeddings_file = file.replace("data/", "embeddings/").replace(".parquet", ".safetensors")
    # The second draw is answered from the cache, and the footer is read once: not a byte more than that.
    assert sent[file] == mine + footer < local.manifest["files"][file]["bytes"] / 2
    assert sent[embeddings_file] == vectors
    summary = {"corpus.json", "index.parquet", "profiles.safetensors", "centroids.safetensors"}
    assert set(sent) == {file, embeddings_file, *summary}


def test_what_was_fetched_ahead_is_drawn_without_asking_the_hub(hub, local, repo, tmp_path):
    import subprocess
    import sys

    for cache, asks in ((10**8, False), (0, True)):
        client = subprocess.Popen(
            [sys.executable, "-c", PREFETCH, repo, str(cache)],
            env=hub.env(tmp_path / str(cache)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdout.readline() == "fetched\n"
        hub.reset()
        clusters, drawn = json.loads(client.communicate("go\n", timeout=60)[0])
        for cluster, ids in zip(clusters, drawn, strict=True):
            order = np.argsort(local.embeddings(cluster)[:, 0])
            assert ids == [d.id for d in local.draw(cluster, 5, 2, order)]
        assert bool(hub.bytes()) == asks


def test_the_repository_is_an_ordinary_dataset(hub, local, repo, tmp_path):
    rows = json.loads(hub.python(LOAD_DATASET, repo, home=tmp_path).splitlines()[-1])
    assert len(rows) == 400
    assert [row["text"] for row in rows if row["cluster"] == 3] == [d.text for d in local.draw(3, 10**6)]


def test_a_corpus_of_the_hub_saves_and_pushes_whole_and_replaces_an_earlier_one(hub, corpus, local, repo, tmp_path):
    assert len(list(Path(corpus.source, "data").iterdir())) > 1
    hub.python(PUSH, corpus.source, "tester/copy", home=tmp_path / "home")
    hub.python(SAVE, repo, tmp_path / "saved", "tester/copy", home=tmp_path / "home")
    saved = ClusteredCorpus.load(tmp_path / "saved")
    assert saved.fingerprint == local.fingerprint
    names = {path.relative_to(local.source) for path in Path(local.source).rglob("*") if path.is_file()}
    assert {path.relative_to(saved.source) for path in Path(saved.source).rglob("*") if path.is_file()} == names
    rows = json.loads(hub.python(LOAD_DATASET, "tester/copy", home=tmp_path / "home").splitlines()[-1])
    assert [row["text"] for row in rows if row["cluster"] == 0] == [d.text for d in local.draw(0, 10**6)]
    assert len(rows) == 400


OTHERS = """
import json, sys
import huggingface_hub as h
from equal_hf.corpus import ClusteredCorpus
from equal_hf.errors import PublishError
def upload(repo, *names):
    h.create_repo(repo, repo_type="dataset")
    for name in names:
        h.upload_file(path_or_fileobj=b"precious", path_in_repo=name, repo_id=repo, repo_type="dataset")
def push(path, repo):
    ClusteredCorpus.load(path).push_to_hub(repo)
    return sorted(h.HfApi().list_repo_files(repo, repo_type="dataset"))
first, second = sys.argv[1:]
upload("tester/plain", "data/train-00000.parquet")
upload("tester/strange", "corpus.json", "data/mine.parquet")
told = []
for repo in ("tester/plain", "tester/strange"):
    try:
        push(first, repo)
    except PublishError as error:
        told.append([str(error), h.HfApi().list_repo_files(repo, repo_type="dataset")])
upload("tester/both", "README.md")
push(first, "tester/both")
h.upload_file(path_or_fileobj=b"precious", path_in_repo="data/mine.txt", repo_id="tester/both", repo_type="dataset")
print(json.dumps([told, push(second, "tester/both")]))
"""


def test_a_push_removes_no_file_but_those_of_an_earlier_corpus(hub, corpus, local, tmp_path):
    out = hub.python(OTHERS, corpus.source, local.source, home=tmp_path)
    told, left = json.loads(out.splitlines()[-1])
    (plain, kept), (strange, untouched) = told
    assert "'tester/plain' holds files that are no clustered corpus, 'data/train-00000.parquet'" in plain
    assert "'tester/strange'" in strange and {"corpus.json", "data/mine.parquet"} <= set(untouched)
    assert "data/train-00000.parquet" in kept and not [name for name in kept if "clusters" in name]
    mine = {path.relative_to(local.source).as_posix() for path in Path(local.source).rglob("*") if path.is_file()}
    assert set(left) - {".gitattributes"} == {*mine, "data/mine.txt"}


def test_what_the_hub_refuses_is_named(hub, local, repo, tmp_path):
    create = "import huggingface_hub as h; h.create_repo('tester/foreign', repo_type='dataset')"
    hub.python(create, home=tmp_path)
    attempts = [
        ("from_hub", "tester/none"),
        ("from_hub", "tester/foreign"),
        ("from_hub", "no such/../name"),
        ("revision", repo),
        ("open", "tester/none"),
        ("open", "tester/foreign"),
        ("push", f"{local.source}:somebody/corpus"),
    ]
    facts = [
        ("CorpusError", "the Hub has no dataset 'tester/none'", "`corpus`"),
        ("CorpusError", "'tester/foreign' is no clustered corpus", "`ClusteredCorpus.build`"),
        ("CorpusError", "'no such/../name'", "Check the name"),
        ("CorpusError", "revision 'v9'", "Check the name, the revision"),
        ("CorpusError", "the Hub has no dataset 'tester/none'", "`corpus`"),
        ("CorpusError", "'tester/foreign'", "`corpus`"),
        ("PublishError", "'somebody/corpus'", "`token`"),
    ]
    found = json.loads(hub.python(REFUSED, json.dumps(attempts), home=tmp_path).splitlines()[-1])
    for attempt, (kind, message), (expected, *parts) in zip(attempts, found, facts, strict=True):
        assert kind == expected, (attempt, message)
        assert all(part in message for part in parts), (attempt, message)
        assert "hf_write" not in message
    ((kind, message),) = json.loads(
        hub.python(REFUSED, json.dumps([("from_hub", repo)]), home=tmp_path, token=None).splitlines()[-1]
    )
    assert kind == "CorpusError" and "that this token may read" in message
