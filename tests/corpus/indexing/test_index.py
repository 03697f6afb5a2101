"""A whole index: the same bytes on one rank or two, killed or not; incremental; stage by stage."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from equal_hf.alignment.run import STAGES as ALIGN_STAGES
from equal_hf.cli import align as align_command
from equal_hf.cli import index as index_command
from equal_hf.cli.index_arguments import parse_index
from equal_hf.corpus import ClusteredCorpus
from equal_hf.corpus.indexing.config import STAGES
from equal_hf.corpus.open_dataset import list_files, read_file
from equal_hf.corpus.read_documents import ReadReport
from equal_hf.errors import ConfigError, CorpusError, EqualError, ResumeError
from tests.processes import digests, run


def index(config, output, *flags: str, stage: str | None = None) -> dict:
    return index_command.index(*parse_index(str(config), ["--output_dir", str(output), *flags]), stage)


def align(config, output, *flags: str, stage: str | None = None) -> dict:
    return align_command.align(*parse_index(str(config), ["--output_dir", str(output), *flags]), stage)


@pytest.fixture(scope="session")
def reference(config, tmp_path_factory):
    """One rank, never stopped, alignment included."""
    folder = tmp_path_factory.mktemp("reference")
    arguments = ["-m", "tests.corpus.indexing.chain", str(config), "--output_dir", str(folder / "run")]
    out = run(arguments, folder / "log")
    told = json.loads(next(line for line in out.splitlines() if line.startswith('{"threads"')))
    return folder / "run", told


def test_every_document_is_there_once_and_what_is_not_is_counted(reference, dataset):
    folder, told = reference
    corpus = ClusteredCorpus.load(folder / "corpus")
    found = {d.id: d.text for cluster in range(corpus.n_clusters) for d in corpus.draw(cluster, 10**6)}
    assert found == {row["id"]: row["text"] for row in dataset[1]}
    assert corpus.sizes.sum() == len(found) == told["documents"]
    assert corpus.manifest["read"]["dropped"] == {"null": 4, "duplicate": 1, "duplicate_id": 1}
    assert corpus.manifest["clustering"]["threads"] == 1
    assert len(list((folder / "corpus/data").iterdir())) > 1
    card = (folder / "corpus/README.md").read_text()
    assert "![Clusters" in card and "Largest clusters" in card
    assert (folder / "corpus/map/map.png").read_bytes().startswith(b"\x89PNG")
    assert told["extraction"]["pairs"] > 0 and told["alignment"] == corpus.manifest["alignment"]
    assert {"recall_at_10", "mrr"} <= set(told["alignment"]["before"]) & set(told["alignment"]["after"])


@pytest.mark.parametrize(("ranks", "kills"), [(2, 6), (1, 9)])
def test_ranks_and_kills_leave_the_same_bytes(reference, config, tmp_path, ranks, kills):
    arguments = ["-m", "tests.corpus.indexing.chain", str(config), "--ranks", str(ranks)]
    out = run([*arguments, "--kill-every", str(kills), "--output_dir", str(tmp_path / "run")], tmp_path / "log")
    assert digests(tmp_path / "run/corpus") == digests(reference[0] / "corpus")
    assert int(out.splitlines()[-1].split()[1]) >= 3


def test_a_second_run_makes_nothing(reference, config):
    for command, stages in ((align, ALIGN_STAGES), (index, STAGES)):
        told = command(config, reference[0])
        assert {stage: pieces["made"] for stage, pieces in told["pieces"].items()} == dict.fromkeys(stages, 0)
    assert told["fingerprint"] == reference[1]["fingerprint"]


def test_what_is_damaged_is_made_again(reference, config, tmp_path):
    shutil.copytree(reference[0], tmp_path / "run")
    victim = next((tmp_path / "run/index/embeddings").rglob("*.arrow"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    shutil.rmtree(tmp_path / "run/corpus")
    told = index(config, tmp_path / "run")
    assert told["pieces"]["embed"]["made"] == 1 and told["pieces"]["assign"]["made"] == 0
    assert digests(tmp_path / "run/corpus") == digests(reference[0] / "corpus")


def test_a_corpus_that_is_damaged_is_written_again_and_what_else_lies_there_stays(config, tmp_path):
    flags = ["--align", "False", "--corpus_map", "False"]
    index(config, tmp_path, *flags)
    folder = tmp_path / "corpus"
    whole = digests(folder)
    (folder / "mine").mkdir()
    (folder / "mine/notes.txt").write_text("mine")
    data, embeddings = next((folder / "data").iterdir()), next((folder / "embeddings").iterdir())
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    for path, damaged in ((data, bytes(content)), (embeddings, embeddings.read_bytes()[:-10])):
        path.write_bytes(damaged)
        told = index(config, tmp_path, *flags)
        assert told["pieces"]["write"]["made"] > 0 and told["pieces"]["assign"]["made"] == 0
        found = digests(folder)
        assert found.pop("mine/notes.txt") and found == whole
    os.replace(folder, tmp_path / ".corpus.old")  # as a kill between the two renames leaves it
    index(config, tmp_path, *flags)
    assert (folder / "mine/notes.txt").read_text() == "mine" and not (tmp_path / ".corpus.old").exists()
    manifest = json.loads((folder / "corpus.json").read_text())
    del manifest["index"]  # as `ClusteredCorpus.build` writes it
    (folder / "corpus.json").write_text(json.dumps(manifest))
    before = digests(folder)
    with pytest.raises(CorpusError, match=r"was not made by `equal-hf index`.*`corpus_dir`"):
        index(config, tmp_path, *flags, "--max_shard_bytes", "10000")
    (folder / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match=r"`corpus_dir`: .* move what is there away"):
        index(config, tmp_path, *flags)
    assert {**before, "corpus.json": ""} == {**digests(folder), "corpus.json": ""}


def test_stages_can_be_run_one_by_one_and_say_what_they_lack(reference, config, tmp_path):
    flags = ["--align", "False"]
    for stage in ("embed", "write"):
        with pytest.raises(ConfigError, match=rf"`--stage {stage}` needs the stage 'read'"):
            index(config, tmp_path, *flags, stage=stage)
    for stage in STAGES:
        told = index(config, tmp_path, *flags, stage=stage)
        assert list(told["seconds"])[-1] == stage
    index(config, tmp_path / "whole", *flags)
    assert told["pieces"]["write"]["complete"] == 1
    assert digests(tmp_path / "corpus") == digests(tmp_path / "whole/corpus")


def test_the_corpus_itself_is_not_pushed_over(config):
    with pytest.raises(ConfigError, match=r"`hub_corpus_id` is 'You/Texts', the `corpus` itself"):
        parse_index(str(config), ["--corpus", "you/texts", "--hub_corpus_id", "You/Texts"])


def test_another_corpus_wants_another_folder(reference, config):
    with pytest.raises(ResumeError, match="`text_column` was 'text', is 'source'"):
        index(config, reference[0], "--text_column", "source")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--text_column", "source", "--min_characters", "1"], "`text_column` was 'text', is 'source'"),
        (["--n_clusters", "5"], "`n_clusters` was '8', is '5'"),
        (["--corpus", "FILE"], "`corpus` was 'files', is 'train-00000.parquet'"),
    ],
)
def test_the_corpus_of_another_index_is_not_replaced(dataset, config, tmp_path, flags, message):
    plain = ["--align", "False", "--corpus_map", "False"]
    index(config, tmp_path, *plain)
    before = digests(tmp_path / "corpus")
    elsewhere = [*plain, "--index_dir", str(tmp_path / "other")]
    changed = [flag.replace("FILE", str(dataset[0] / "train-00000.parquet")) for flag in flags]
    for _ in range(2):  # the refused start leaves nothing that lets the next one through
        with pytest.raises(ConfigError, match=rf"{message}.*Set `corpus_dir`"):
            index(config, tmp_path, *elsewhere, *changed)
    assert digests(tmp_path / "corpus") == before
    shutil.rmtree(tmp_path / "other")
    index(config, tmp_path, *elsewhere)  # of the same
    assert digests(tmp_path / "corpus") == before


def places(folder) -> dict[str, int]:
    """The cluster of every document."""
    corpus = ClusteredCorpus.load(folder)
    return {d.id: cluster for cluster in range(corpus.n_clusters) for d in corpus.draw(cluster, 10**6)}


def test_a_new_revision_takes_over_what_has_not_changed(dataset, config, tmp_path):
    files = tmp_path / "files"
    shutil.copytree(dataset[0], files)
    flags = ["--corpus", str(files), "--align", "False"]
    first = index(config, tmp_path / "run", *flags)
    before = places(tmp_path / "run/corpus")
    part = pd.read_parquet(files / "train-00001.parquet")
    news = [
        {**part.iloc[0].to_dict(), "id": f"new-{n}", "text": f"News {n} of the sum and the mast. " * 9}
        for n in range(7)
    ]
    pd.concat([part.iloc[1:], pd.DataFrame(news)]).to_parquet(files / "train-00001.parquet")
    told = index(config, tmp_path / "run", *flags)
    after = ClusteredCorpus.load(tmp_path / "run/corpus")
    assert told["pieces"]["read"] == {"complete": 3, "made": 2}  # one file, and the search for duplicates
    assert told["pieces"]["cluster"] == {"complete": 1, "made": 0}
    assert told["pieces"]["assign"]["complete"] > told["pieces"]["assign"]["made"] > 0
    assert told["documents"] == first["documents"] + 6
    assert told["drift"]["new_documents"] == 7
    cosines = {
        d.id: float(vector @ after.centroids[cluster])
        for cluster in range(after.n_clusters)
        for d, vector in zip(after.draw(cluster, 10**6), after.embeddings(cluster), strict=True)
    }
    new = [cosine for id_, cosine in cosines.items() if id_.startswith("new-")]
    assert told["drift"]["similarity"] == pytest.approx(np.mean(new), abs=1e-3)
    assert told["drift"]["similarity"] < told["drift"]["training_similarity"]
    assert after.manifest["drift"] == told["drift"]
    # What stayed lies where it lay: arms are still the same arms.
    now = places(tmp_path / "run/corpus")
    assert len(before.keys() & now.keys()) == 199
    assert [id_ for id_ in before if now.get(id_, before[id_]) != before[id_]] == []
    # Where a cluster has lost all its documents the others close up, and are known by their centroids.
    for path in files.iterdir():
        part = pd.read_parquet(path)
        part[[now.get(id_) != 0 for id_ in part["id"]]].to_parquet(path)
    told = index(config, tmp_path / "run", *flags, "--embedder_batch_size", "32")
    left = ClusteredCorpus.load(tmp_path / "run/corpus")
    assert left.n_clusters == after.n_clusters - 1
    assert left.centroid_numbers.tolist() == after.centroid_numbers[1:].tolist()
    assert (left.centroids == after.centroids[1:]).all()
    closed_up = {id_: cluster - 1 for id_, cluster in now.items() if cluster}
    assert places(tmp_path / "run/corpus") == closed_up
    assert told["drift"]["new_documents"] == len([id_ for id_ in closed_up if id_.startswith("new-")])
    fresh = index(config, tmp_path / "run", *flags, "--recluster", "True")
    assert fresh["pieces"]["cluster"]["made"] == 1 and fresh["drift"] is None


def test_the_number_of_clusters_may_be_left_to_the_corpus(config, tmp_path):
    told = index(config, tmp_path, "--align", "False", "--n_clusters", "auto")
    assert told["n_clusters"] == 5  # 200 documents, 40 a cluster at least
    assert np.sum(ClusteredCorpus.load(tmp_path / "corpus").sizes) == 200


@pytest.mark.parametrize("what", ["documents/*.arrow", "runs/*-rows.arrow", "centroids.safetensors", "sample.parquet"])
def test_any_damaged_piece_is_made_again(reference, config, tmp_path, what):
    """What came out of it stays, unless it is no longer proven: nothing damaged is taken for whole."""
    shutil.copytree(reference[0], tmp_path / "run")
    victim = sorted((tmp_path / "run/index").glob(what))[0]
    victim.write_bytes(victim.read_bytes()[:-40])
    shutil.rmtree(tmp_path / "run/corpus")
    align(config, tmp_path / "run")
    index(config, tmp_path / "run")
    assert digests(tmp_path / "run/corpus") == digests(reference[0] / "corpus")
    assert digests(tmp_path / "run/index/documents") == digests(reference[0] / "index/documents")


def test_after_a_new_clustering_the_next_revision_keeps_it(config, tmp_path):
    flags = ["--align", "False"]
    index(config, tmp_path, *flags)
    assert index(config, tmp_path, *flags, "--recluster", "True")["pieces"]["cluster"]["made"] == 0  # nothing is new
    told = index(config, tmp_path, *flags, "--min_characters", "50")
    assert told["pieces"]["cluster"] == {"complete": 1, "made": 0}


def test_files_are_read_by_name_and_as_their_dataset_says(tmp_path):
    """A name may look like a pattern, and a dataset may have a separator of its own."""
    files = tmp_path / "files"
    files.mkdir()
    rows = [{"text": f"Note {n} on the soil of the hedge and the roses of the garden beside it."} for n in range(40)]
    for name, part in (("train-a", rows[:20]), ("train-[a]", rows[20:])):
        pd.DataFrame(part).to_csv(files / f"{name}.csv", sep=";", index=False)
    (files / "README.md").write_text(
        '---\nconfigs:\n- config_name: default\n  data_files: "*.csv"\n  sep: ";"\n---\n', encoding="utf-8"
    )
    args, _, _ = parse_index(str(write_yaml(tmp_path, files)), [])
    report = ReadReport()
    texts = [document.text for file in list_files(args) for document in read_file(file, args, report)]
    assert sorted(texts) == sorted(row["text"] for row in rows)


def write_yaml(folder, files):
    path = folder / "index.yaml"
    path.write_text(f"corpus: {files}\nembedder: none\nextractor: explicit\n")
    return path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--n_clusters", "300"], "`n_clusters` is 300, but only 200 documents are usable"),
        (["--embedder_dtype", "float8"], "`embedder_dtype` is 'float8'"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_paid_for(config, tmp_path, flags, message):
    with pytest.raises(EqualError, match=message):
        index(config, tmp_path, *flags)
    with pytest.raises(EqualError, match=message):
        align(config, tmp_path, *flags)
    assert not (tmp_path / "index/embeddings").exists() and not (tmp_path / "index/pairs.json").exists()


def test_an_alignment_is_used_only_where_it_was_made_from_the_same(reference, config, tmp_path):
    shutil.copytree(reference[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run/corpus")
    record = tmp_path / "run/embedder.json"
    content = json.loads(record.read_text())
    for change, message in (
        ({"embedder": "other"}, "`embedder` was 'other'"),
        ({"corpus": "other"}, "`corpus` was 'other'"),
        ({"model": "other"}, "the model has changed"),
    ):
        record.write_text(json.dumps(content | {"facts": content["facts"] | change}))
        with pytest.raises(ConfigError, match=rf"{message}.*run `equal-hf align CONFIG` again"):
            index(config, tmp_path / "run")
    record.unlink()
    with pytest.raises(ConfigError, match=r"`align` is true, but .* run `equal-hf align CONFIG` first"):
        index(config, tmp_path / "run", "--align", "True")
    plain = index(config, tmp_path / "run", "--align", "False")
    assert "alignment" not in ClusteredCorpus.load(plain["corpus"]).manifest
    (tmp_path / "run/embedder").mkdir(exist_ok=True)
    (tmp_path / "run/embedder/mine.txt").write_text("mine")
    (tmp_path / "run/index/align.started").unlink()
    with pytest.raises(ConfigError, match="no `equal-hf align` made it: move it away"):
        align(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="`align` is false"):
        align(config, tmp_path / "run", "--align", "False")


def test_stages_of_an_alignment_are_no_stages_of_an_index(config):
    with pytest.raises(ConfigError, match="`--stage extract` is a stage of `equal-hf align`"):
        index_command.run(argparse.Namespace(stage="extract"))
    with pytest.raises(ConfigError, match="`--stage` is 'all': choose from read, embed"):
        index(config, "unused", stage="all")


def test_the_trainer_of_an_alignment_ends_with_who_started_it():
    child = subprocess.Popen([sys.executable, "-m", "equal_hf.alignment.run"], stdin=subprocess.PIPE, text=True)
    child.stdin.write("{}\n")
    child.stdin.close()  # as the system does when the other end is killed
    assert child.wait(60) == 1
