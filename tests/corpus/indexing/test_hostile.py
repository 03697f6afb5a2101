"""Corpora as they come: damaged, mislabelled, too large for the disk; what is told, and what is left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from equal_hf.corpus import ClusteredCorpus
from equal_hf.errors import CorpusError
from tests.corpus.indexing.test_index import index
from tests.processes import REPOSITORY
from tests.servers.hub import HubServer

PLAIN = ("--align", "False", "--corpus_map", "False")


@pytest.fixture
def files(dataset, tmp_path):
    folder = tmp_path / "files"
    shutil.copytree(dataset[0], folder)
    return folder


@pytest.mark.parametrize("name", ["train-00000.parquet", "train-00002.parquet"])
def test_a_damaged_file_is_named_and_stops_or_is_left_out(config, files, tmp_path, name):
    whole = (files / name).read_bytes()
    (files / name).write_bytes(whole[: len(whole) // 2])
    flags = ["--corpus", str(files), *PLAIN]
    with pytest.raises(CorpusError, match=rf"The file .*{name} of the corpus cannot be read.*`on_bad_file`"):
        index(config, tmp_path / "run", *flags)
    assert not (tmp_path / "run/corpus").exists()
    told = index(config, tmp_path / "run", *flags, "--on_bad_file", "skip")
    assert [skipped["file"].endswith(name) for skipped in told["skipped_files"]] == [True]
    corpus = ClusteredCorpus.load(tmp_path / "run/corpus")
    assert corpus.manifest["read"]["skipped"] == told["skipped_files"] and 100 < told["documents"] < 200
    assert "**left out**, unreadable" in (tmp_path / "run/corpus/README.md").read_text()
    (files / name).write_bytes(whole)
    told = index(config, tmp_path / "run", *flags, "--on_bad_file", "skip")
    assert told["skipped_files"] == [] and told["documents"] == 200


def test_a_column_of_the_wrong_type_or_name_stops(config, files, tmp_path):
    path = files / "train-00001.parquet"
    pd.read_parquet(path).assign(text=1).to_parquet(path)
    flags = ["--corpus", str(files), *PLAIN, "--on_bad_file", "skip"]
    with pytest.raises(CorpusError, match=r"'text' holds int64, not text"):
        index(config, tmp_path / "run", *flags)
    with pytest.raises(CorpusError, match=r"no column 'body'"):
        index(config, tmp_path / "other", *flags, "--text_column", "body")


def test_texts_of_any_size_and_encoding_are_indexed_or_counted(embedder_folder, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    plain = [{"text": f"The sum of {n} and the total of the mast. " * 3} for n in range(60)]
    rows = [*plain, {"text": "The sum and the total. " * 2_300_000}, {"text": None}, {"text": "x"}, plain[0]]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert (folder / "a.jsonl").stat().st_size > 50_000_000
    (folder / "b.jsonl").write_bytes('{"text": "Größe der Summe"}\n'.encode("latin-1") * 3)
    config = tmp_path / "index.yaml"
    config.write_text(
        f"corpus: {folder}\nembedder: {embedder_folder}\nalign: false\ncorpus_map: false\nn_clusters: 3\n"
    )
    with pytest.raises(CorpusError, match=r"b\.jsonl of the corpus cannot be read"):
        index(config, tmp_path / "run")
    told = index(config, tmp_path / "run", "--on_bad_file", "skip")
    assert told["documents"] == 61 and len(told["skipped_files"]) == 1
    manifest = ClusteredCorpus.load(tmp_path / "run/corpus").manifest
    assert manifest["read"]["dropped"] == {"null": 1, "too_short": 1, "duplicate": 1}
    assert manifest["embedder"]["documents_beyond_max_windows"] == 1


FULL = """
import resource, signal, sys
from equal_hf.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(["index", *sys.argv[2:]]))
"""


def test_a_disk_that_fills_is_told_and_nothing_half_written_counts(config, tmp_path):
    """A limit on the size of files stands in for a disk without room: the same calls fail."""
    flags = [str(config), "--output_dir", str(tmp_path / "run"), *PLAIN]
    for limit in (1500, 6000):  # in reading, and in writing the corpus
        done = subprocess.run(
            [sys.executable, "-c", FULL, str(limit), *flags], capture_output=True, text=True, cwd=REPOSITORY
        )
        assert done.returncode == 1, done.stderr
        assert "No room to write" in done.stderr and "`index_dir`" in done.stderr
        assert not (tmp_path / "run/corpus").exists()
        assert not list(tmp_path.rglob("*.tmp"))
    told = index(config, tmp_path / "run", *PLAIN)
    whole = index(config, tmp_path / "whole", *PLAIN)
    assert told["fingerprint"] == whole["fingerprint"]


HUB = """
import json, sys
import huggingface_hub
from equal_hf.cli import main
config, files, out = sys.argv[1:]
run = ["index", config, "--json", "--output_dir", out]
codes = [main(run)]
huggingface_hub.create_repo("tester/documents", repo_type="dataset", private=True)
huggingface_hub.upload_folder(repo_id="tester/documents", repo_type="dataset", folder_path=files)
# To push over documents is refused before the long work.
huggingface_hub.create_repo("tester/other", repo_type="dataset")
huggingface_hub.upload_folder(repo_id="tester/other", repo_type="dataset", folder_path=files)
codes.append(main([*run, "--hub_corpus_id", "tester/other", "--output_dir", out + "-refused"]))
codes += [main(["align", *run[1:]]), main(run), main(run)]
print(json.dumps(codes))
"""
PRIVATE = """
import sys
from equal_hf.errors import CorpusError
from equal_hf.cli.index_arguments import parse_index
from equal_hf.corpus.open_dataset import list_files
try:
    list_files(parse_index(sys.argv[1], [])[0])
except CorpusError as error:
    print(error)
"""


OPEN = """
import json
from sentence_transformers import SentenceTransformer
from equal_hf import ClusteredCorpus
from equal_hf.corpus import Embedder
corpus = ClusteredCorpus.from_hub("tester/clustered")
prints = [corpus.manifest["embedder"]["fingerprint"], corpus.open_embedder().fingerprint()]
prints.append(Embedder(SentenceTransformer("tester/embedder")).fingerprint())
print(json.dumps(prints))
"""


def test_a_missing_or_private_repository_is_told_and_one_on_the_hub_is_indexed_and_pushed(dataset, tmp_path):
    from recipes.tiny_models import build_embedder

    # In three dimensions pairs are not all found, so that alignment has something to mend.
    (tmp_path / "embedder").mkdir()
    build_embedder([row["text"] for row in dataset[1]], tmp_path / "embedder", seed=0, dimension=3)
    config = tmp_path / "index.yaml"
    config.write_text(
        f"corpus: tester/documents\nid_column: id\nembedder: {tmp_path / 'embedder'}\nsample_share: 0.3\nseed: 1\n"
        "extractor: explicit\ncorpus_map: false\nn_clusters: 8\nthreads: 1\nhub_corpus_id: tester/clustered\n"
        "hub_embedder_id: tester/embedder\n"
    )
    with HubServer(python_timeout_s=300) as hub:
        out = hub.python(HUB, config, dataset[0], tmp_path / "run", home=tmp_path / "home").splitlines()
        assert json.loads(out[-1]) == [1, 1, 0, 0, 0]  # the first found no repository
        assert not (tmp_path / "run-refused/index/documents").exists()
        aligned, told, again = (json.loads(line) for line in out if line.startswith('{"threads"'))
        assert told["documents"] == 200 and told["corpus_commit"].startswith(f"{hub.url}/datasets/tester/clustered/")
        assert sum(pieces["made"] for pieces in again["pieces"].values()) == 0
        assert again["corpus_commit"] == told["corpus_commit"]
        assert aligned["alignment"]["kept"] and told["embedder_commit"] == again["embedder_commit"]
        fingerprints = json.loads(hub.python(OPEN, home=tmp_path / "reader").splitlines()[-1])
        assert len(set(fingerprints)) == 1
        refused = hub.python(PRIVATE, config, home=tmp_path / "nobody", token=None)
        assert "the Hub has no dataset 'tester/documents' that this token may read" in refused
