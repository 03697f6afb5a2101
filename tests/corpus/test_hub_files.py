"""Datasets on the Hub: the splits and options that they declare, with values as they stand in their files."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.corpus.formats.documents import pdf
from tests.servers.hub import HubServer

LONG = "A text that is long enough to count as a document: it has more than fifty characters."
README = """---
configs:
- config_name: semicolons
  data_files:
  - split: train
    path: semicolons/*.csv
  sep: ";"
- config_name: texts
  data_files:
  - split: train
    path: texts/*
---
# Data
"""

CLIENT = """
import json, sys
import huggingface_hub
from equal_hf import load_target
from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.open_dataset import ReadReport, list_files, read_corpus
from equal_hf.errors import EqualError

folder, told = sys.argv[1], {}
for name in ("declared", "plain", "damaged", "papers"):
    huggingface_hub.create_repo(f"tester/{name}", repo_type="dataset")
    huggingface_hub.upload_folder(repo_id=f"tester/{name}", repo_type="dataset", folder_path=f"{folder}/{name}")


def read(label, **settings):
    report = ReadReport()
    try:
        config = CorpusConfig(id_column="id", metadata_columns=None, **settings)
        told[label] = [[document.id, document.metadata] for document in read_corpus(config, report)]
    except EqualError as error:
        told[label] = f"{type(error).__name__}: {error}"


read("semicolons", corpus="tester/declared", corpus_config="semicolons")
read("texts", corpus="tester/declared", corpus_config="texts")
read("train", corpus="tester/plain")
read("test", corpus="tester/plain", corpus_split="test")
read("slice", corpus="tester/plain", corpus_split="train[1:]+test[:1]")
read("no split", corpus="tester/plain", corpus_split="dev")
read("no config", corpus="tester/declared", corpus_config="other")
read("damaged", corpus="tester/damaged")
read("papers", corpus="tester/papers")
files = list_files(CorpusConfig(corpus="tester/plain"))
told["files"] = [[file.name, file.relative, len(file.identity)] for file in files]
target = load_target("tester/plain", reference_split="train[:1]", validation_split="test", test_split=None,
                     question_column="id", answer_column="score")
told["target"] = [[item.question, item.answer] for item in (*target.reference, *target.validation)]
print(json.dumps(told))
"""


OFFLINE = """
import json, sys
from pathlib import Path
from equal_hf import load_target
from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.made_from import check_made_from
from equal_hf.corpus.open_dataset import ReadReport, list_files, read_corpus
from equal_hf.errors import EqualError

target = load_target("tester/plain", reference_split="train[:1]", validation_split="test", test_split=None,
                     question_column="id", answer_column="score")
items = [[item.question, item.answer] for item in (*target.reference, *target.validation)]
config = CorpusConfig(corpus="tester/plain", id_column="id")
files = [[file.name, file.relative, file.url, file.identity] for file in list_files(config)]
ids = [document.id for document in read_corpus(config, ReadReport())]
source = {"corpus": "tester/plain", "content": "of more files than the cache has", "listed": True, "revision": "0a1b",
          "metadata_columns": None, "n_clusters": "auto", "aligned": False}
manifest = {"read": {"text_column": "text", "id_column": "id", "min_characters": 50}, "seed": 0, "made_from": source,
            "clustering": {"iterations": config.kmeans_iterations, "giant_factor": config.giant_factor},
            "embedder": {"name": config.embedder, "max_windows": config.embedder_max_windows}}
try:
    check_made_from(manifest, config, 0, None, Path("corpus"))
    kept = "used"
except EqualError as error:
    kept = str(error)
try:
    load_target("tester/damaged")
except EqualError as error:
    print(json.dumps([items, files, ids, str(error), kept]))
"""
PRIVATE = """
import sys
import huggingface_hub
from equal_hf.corpus import open_dataset
huggingface_hub.create_repo("tester/private", repo_type="dataset", private=True, token=sys.argv[1])
huggingface_hub.upload_file(path_or_fileobj=b'{"text": "secret"}', path_in_repo="a.jsonl", repo_id="tester/private",
                            repo_type="dataset", token=sys.argv[1])
print(list(open_dataset("tester/private", token=sys.argv[1])))
"""
LISTED = OFFLINE.replace('load_target("tester/damaged")', "raise EqualError('online')")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    for name in ("declared/semicolons", "declared/texts", "plain/data", "damaged", "papers/deep"):
        (folder / name).mkdir(parents=True)
    (folder / "declared/README.md").write_text(README)
    (folder / "declared/semicolons/a.csv").write_text(f"id;text;zip\n007;{LONG} one;01234\n")
    for name in ("one", "two"):
        (folder / f"declared/texts/{name}.txt").write_text(f"{LONG}\n\n{LONG} {name}\n")
    rows = [f'{{"id": {value}, "text": "{LONG} {value}", "score": 1.50, "tags": ["a"]}}' for value in ("1e5", "7")]
    (folder / "plain/data/train.jsonl").write_text("\n".join(rows))
    row = {"id": "007", "text": f"{LONG} test", "score": 2, "when": "2024-01-01"}
    (folder / "plain/data/test.jsonl").write_text(json.dumps(row))
    (folder / "damaged/train.jsonl.gz").write_bytes(gzip.compress("\n".join(rows * 40).encode())[:-20])
    for name in ("one", "deep/two"):
        (folder / f"papers/{name}.pdf").write_bytes(pdf([[f"{LONG} {name}"]]))
    with HubServer() as hub:
        found = json.loads(hub.python(CLIENT, folder, home=folder / "home").splitlines()[-1])
        found["online"] = json.loads(hub.python(LISTED, home=folder / "home").splitlines()[-1])
        found["private"] = hub.python(PRIVATE, "hf_write", home=folder / "other", token=None)
        offline = "import os; os.environ['HF_HUB_OFFLINE'] = '1'" + OFFLINE
        found["offline"] = json.loads(hub.python(offline, home=folder / "home").splitlines()[-1])
        return found


def test_declared_options_hold_and_values_stay_text(told):
    assert told["semicolons"] == [["007", {"zip": "01234"}]]


def test_a_text_file_is_one_document(told):
    assert told["texts"] == [[f"texts/{name}.txt", {"source": f"texts/{name}.txt"}] for name in ("one", "two")]


def test_pdf_files_are_documents(told):
    facts = {"title": "A title", "author": "Ada Example", "date": "2024-01-02", "pages": 1}
    assert told["papers"] == [[f"{name}.pdf", {"source": f"{name}.pdf", **facts}] for name in ("deep/two", "one")]


def test_splits_are_those_of_the_dataset(told):
    carried = {"score": 1.5, "tags": '["a"]'}
    assert told["train"] == [["1e5", carried], ["7", carried]]
    assert told["test"] == [["007", {"score": 2, "when": "2024-01-01"}]]
    assert [document for document, _ in told["slice"]] == ["7", "007"]
    assert [name for name, _, _ in told["files"]] == ["tester/plain/data/train.jsonl"]
    assert told["files"][0][1] == "data/train.jsonl" and told["files"][0][2] >= 40


def test_a_target_is_read_by_the_same_reader(told):
    assert told["target"] == [["1e5", "1.50"], ["007", "2"]]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (
            "no split",
            "(configuration None, split 'dev') cannot be opened: Unknown split \"dev\"; it has test, train",
        ),
        ("no config", "BuilderConfig 'other' not found"),
        ("damaged", "UnreadableFile: The file tester/damaged/train.jsonl.gz of the corpus cannot be read: line "),
    ],
)
def test_what_is_missing_or_damaged_is_named(told, label, words):
    assert words in told[label]


def test_what_was_read_as_a_target_is_read_again_without_the_hub(told):
    """The Hub cache has it; its files are known by the same names and identities as online."""
    items, files, ids, refusal, _ = told["offline"]
    assert items == told["target"] and ids == ["1e5", "7"]
    assert [files, ids] == told["online"][1:3]
    assert files[0][2].startswith("hf://datasets/tester/plain@")
    assert "cannot be opened" in refusal and "Traceback" not in refusal


def test_a_private_dataset_is_read_with_the_token_that_is_given(told):
    assert told["private"].strip().endswith("[{'text': 'secret'}]")


def test_a_corpus_is_not_refused_for_what_cannot_be_seen_offline(told):
    assert told["offline"][4] == "used"
    assert "the documents of `corpus` 'tester/plain' have changed since commit 0a1b" in told["online"][4]
