"""A corpus over the real `huggingface_hub` and `datasets`, against the Hub stand-in."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from equal_hf.corpus import ClusteredCorpus
from equal_hf.corpus.block_cache import BlockCache
from equal_hf.corpus.parquet_reader import ClusterReader, read_index
from equal_hf.errors import CorpusError
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


FLIPPED = """
import json, sys
from equal_hf.corpus import ClusteredCorpus
corpus = ClusteredCorpus.from_hub(sys.argv[1])
print(json.dumps([[d.text for d in corpus.draw(2, 10**6)], corpus.embeddings(2).tolist()]))
"""


def test_a_flipped_byte_is_not_cached(hub, local, repo, tmp_path):
    expected = [[d.text for d in local.draw(2, 10**6)], local.embeddings(2).tolist()]
    hub.reset()
    assert json.loads(hub.python(FLIPPED, repo, home=tmp_path / "sound")) == expected
    reads = [at for at, row in enumerate(hub.requests()) if row[0] == "GET" and "/_lfs/" in row[1]]
    assert len(reads) >= 7, "index, profiles, centroids, footer, pages, and twice of the embeddings"
    hub.fault(reads[-1], "flip")  # at the others: `tests/test_hub_faults.py`
    for _ in range(2):
        assert json.loads(hub.python(FLIPPED, repo, home=tmp_path / "flipped")) == expected
    # What an earlier version left in the cache without having looked at it.
    for block in (tmp_path / "sound" / "hub" / "equal-hf-blocks").iterdir():
        content = bytearray(block.read_bytes()[16:])
        content[len(content) // 2] ^= 1
        block.write_bytes(hashlib.blake2b(content, digest_size=16).digest() + content)
    assert json.loads(hub.python(FLIPPED, repo, home=tmp_path / "sound")) == expected


def test_a_corpus_without_checksums_in_its_index_is_read_by_those_of_its_pages(local, tmp_path):
    index = read_index(Path(local.source))
    (file,) = index["file"].unique().to_pylist()
    sizes = {name: facts["bytes"] for name, facts in local.manifest["files"].items()}
    old = index.drop_columns(["crc32", "embeddings_crc32", "footer_crc32"])

    class Flipping:
        """Local files of which the next so many reads have another byte: of a footer, in its length."""

        flips = 0

        def cat_file(self, path: str, start: int, end: int) -> bytes:
            block = bytearray(Path(path).read_bytes()[start:end])
            block[-6] ^= int(self.flips > 0)
            self.flips -= 1
            return bytes(block)

    positions = np.arange(local.sizes[2])
    for number, (flips, columns) in enumerate([(1, old), (2, old), (1, index), (2, index), (99, old), (99, index)]):
        files, folder = Flipping(), tmp_path / str(number)
        reader = ClusterReader(files, local.source, columns, sizes, cache=BlockCache(folder, 10**8))
        files.flips = flips
        if flips == 99:
            with pytest.raises(CorpusError, match=f"{file} .*cannot be read: "):
                reader.documents(2, positions)
            assert not folder.exists()
            files.flips = 0
        texts = [document.text for document in reader.documents(2, positions)]
        assert texts == [document.text for document in local.draw(2, 10**6)]


def test_every_file_of_a_folder_is_compared_on_request(local, tmp_path):
    copy = Path(shutil.copytree(local.source, tmp_path / "copy"))
    ClusteredCorpus.load(copy, verify=True)
    (file,) = (copy / "data").iterdir()
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    ClusteredCorpus.load(copy)
    with pytest.raises(CorpusError, match=r"clusters-00000-of-00001.parquet does not have the content"):
        ClusteredCorpus.load(copy, verify=True)


PRIVATE_AND_CARDS = """
import json, sys
import huggingface_hub as h
from pathlib import Path
from equal_hf.corpus import ClusteredCorpus
from equal_hf.corpus.hub_push import push_embedder
from equal_hf.errors import PublishError
corpus, model = ClusteredCorpus.load(sys.argv[1]), Path(sys.argv[2])
pushes = {
    "dataset": lambda name, private: corpus.push_to_hub(name, private=private),
    "model": lambda name, private: push_embedder(
        model, name, private=private, token=None, base="org/small", corpus="/home/me/notes.jsonl", verdict="kept"),
}
refused, cards = [], []
for kind, push in pushes.items():
    h.create_repo("tester/open-" + kind, repo_type=kind, private=False)
    try:
        push("tester/open-" + kind, True)
    except PublishError as error:
        refused.append([str(error), h.HfApi().list_repo_files("tester/open-" + kind, repo_type=kind)])
    h.upload_file(path_or_fileobj=b"---\\nlicense: mit\\n---\\nMine.", path_in_repo="README.md",
                  repo_id="tester/open-" + kind, repo_type=kind)
    for _ in range(2):
        push("tester/open-" + kind, None)
    path = h.hf_hub_download("tester/open-" + kind, "README.md", repo_type=kind)
    cards.append(Path(path).read_text())
h.create_repo("tester/theirs")
h.upload_file(path_or_fileobj=b"precious", path_in_repo="model.safetensors", repo_id="tester/theirs")
try:
    push_embedder(model, "tester/theirs", private=None, token=None)
except PublishError as error:
    refused.append([str(error), []])
manifest = Path(h.hf_hub_download("tester/open-dataset", "corpus.json", repo_type="dataset")).read_text()
print(json.dumps([refused, cards, h.HfApi().list_repo_files("tester/open-model"), manifest]))
"""


def test_what_a_repository_holds_is_looked_at_before_a_push(hub, local, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(bytes(100))
    (tmp_path / "secret").write_text("secret")
    (model / "linked.txt").symlink_to(tmp_path / "secret")
    refused, cards, names, manifest = json.loads(
        hub.python(PRIVATE_AND_CARDS, local.source, model, home=tmp_path / "home").splitlines()[-1]
    )
    for (message, files), kind in zip(refused[:2], ("dataset", "model"), strict=True):
        assert f"`hf repos settings tester/open-{kind} --type {kind} --private`" in message
        assert files == [".gitattributes"]
    assert "'model.safetensors' among them; nothing was changed there" in refused[2][0]
    assert set(names) == {".gitattributes", "README.md", "equal.json", "model.safetensors"}
    for card, title in zip(cards, ("# Clustered corpus", "# Embedder"), strict=True):
        assert "license: mit" in card and "Mine." in card and card.count(title) == 1
    assert 'ClusteredCorpus.from_hub("tester/open-dataset")' in cards[0]
    for text in (
        "base_model: org/small",
        "[org/small](https://huggingface.co/org/small), trained on question-answer pairs",
        "of `notes.jsonl`, so that documents lie near them",
        "Measured: `kept`.",
        'SentenceTransformer("tester/open-model")',
    ):
        assert text in cards[1], text
    assert "/home/me" not in cards[1]
    assert json.loads(manifest)["embedder"]["name"] == Path(local.embedder_name).name, "no folder of this machine"
