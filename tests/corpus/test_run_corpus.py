"""A run's corpus: built once, kept, and used only where it was made from the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from equal_hf.corpus import ClusteredCorpus
from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.run_corpus import open_corpus
from equal_hf.errors import ConfigError, CorpusError
from tests.corpus.tiny import make_model, make_texts


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two embedders, of the same shape."""
    folder = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        make_model(seed=seed).save_pretrained(str(folder / str(seed)))
    return folder


@pytest.fixture(scope="module")
def built(models, tmp_path_factory):
    """A folder of two files, and the corpus of it."""
    folder = tmp_path_factory.mktemp("run")
    rows = [{**row, "name": f"n{place}", "body": row["text"][::-1]} for place, row in enumerate(make_texts(15))]
    (folder / "files").mkdir()
    for name, part in (("a", rows[:30]), ("b", rows[30:])):
        (folder / f"files/{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    open_corpus(settings(folder, models), folder / "run", 1)
    return folder


def settings(folder, models, **changes) -> CorpusConfig:
    given = {"corpus": str(folder / "files"), "embedder": str(models / "0"), "n_clusters": "4", "threads": 1}
    return CorpusConfig(**given | changes)


@pytest.fixture
def run(built, tmp_path):
    """A copy of both that a test may change."""
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_same_is_used_again_wherever_it_lies_now(run, models, monkeypatch):
    before = (run / "run/corpus/corpus.json").read_bytes()
    monkeypatch.setattr("equal_hf.corpus.run_corpus.build_corpus", None)
    monkeypatch.chdir(run)
    again = open_corpus(settings(run, models, corpus="files"), "run", 1)
    (run / "files").rename(run / "moved")
    assert open_corpus(settings(run, models, corpus="moved"), "run", 1).fingerprint == again.fingerprint
    (models / "same").mkdir(exist_ok=True)
    shutil.copytree(models / "0", models / "same", dirs_exist_ok=True)
    open_corpus(settings(run, models, corpus="moved", embedder=str(models / "same")), "run", 1)
    assert (run / "run/corpus/corpus.json").read_bytes() == before
    assert str(run) not in before.decode()  # a manifest is published


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_column": "body"}, "`text_column` was 'text', is 'body'"),
        ({"id_column": "name"}, "`id_column` was None, is 'name'"),
        ({"metadata_columns": ["topic"]}, r"`metadata_columns` was None, is \['topic'\]"),
        ({"min_characters": 5}, "`min_characters` was 50, is 5"),
        ({"n_clusters": "5"}, "`n_clusters` was '4', is '5'"),
        ({"n_clusters": "auto"}, "`n_clusters` was '4', is 'auto'"),
        ({"embedder": "1"}, "`embedder` was .*0', is .*1'"),
        ({"embedder_max_windows": 2}, "`embedder_max_windows` was 8, is 2"),
        ({"kmeans_iterations": 3}, "`kmeans_iterations` was 25, is 3"),
        ({"giant_factor": 2.0}, "`giant_factor` was 10.0, is 2.0"),
        ({"corpus": "files/a.jsonl"}, "`corpus` was 'files', is 'a.jsonl'"),
        ({"corpus_split": "train[:20]"}, "the documents of `corpus` 'files' have changed"),
    ],
)
def test_another_setting_is_refused_with_what_it_was(built, models, changes, message):
    for name, folder in (("embedder", models), ("corpus", built)):
        if name in changes:
            changes = changes | {name: str(folder / changes[name])}
    with pytest.raises(ConfigError, match=rf"made from something else: {message}.*Set `corpus_dir`"):
        open_corpus(settings(built, models, **changes), built / "run", 1)
    with pytest.raises(ConfigError, match="`seed` was 1, is 2"):
        open_corpus(settings(built, models), built / "run", 2)


def change_in_place(files):
    """As a copy that keeps size and time does."""
    path, text = files / "b.jsonl", (files / "b.jsonl").read_text()
    facts = path.stat()
    path.write_text(text.replace("anchor", "chorna"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        change_in_place,
        lambda files: (files / "c.txt").write_text("One more document about the sum and the mast. " * 3),
        lambda files: (files / "a.jsonl").unlink(),
        lambda files: (files / "a.jsonl").rename(files / "z.jsonl"),  # another order, in which others are duplicates
    ],
)
def test_documents_that_have_changed_are_refused(run, models, change):
    change(run / "files")
    with pytest.raises(ConfigError, match="the documents of `corpus` 'files' have changed"):
        open_corpus(settings(run, models), run / "run", 1)
    # Named itself it is used as it is.
    open_corpus(settings(run, models, corpus=str(run / "run/corpus")), run / "run", 1)


def test_documents_that_are_gone_are_no_reason_to_stop(run, models, caplog):
    shutil.rmtree(run / "files")
    open_corpus(settings(run, models), run / "run", 1)
    assert "Whether `corpus` has changed cannot be told" in caplog.text
    with pytest.raises(ConfigError, match="`corpus` was 'files', is 'other'"):
        open_corpus(settings(run, models, corpus=str(run / "other")), run / "run", 1)


def test_a_model_that_was_replaced_under_its_name_is_refused(run, models):
    shutil.copytree(models / "0", run / "model")
    config = settings(run, models, embedder=str(run / "model"), corpus_dir=str(run / "own"))
    open_corpus(config, run / "run", 1)
    shutil.copytree(models / "1", run / "model", dirs_exist_ok=True)
    with pytest.raises(CorpusError, match="is not the model that"):
        open_corpus(config, run / "run", 1).open_embedder()


def test_of_two_starts_that_build_one_corpus_the_second_waits_and_uses_it(run, models):
    """The second is a real process; this one holds the lock, as a build does."""
    program = (
        "import sys, logging; logging.basicConfig()\n"
        "from equal_hf.corpus.config import CorpusConfig\n"
        "from equal_hf.corpus.run_corpus import open_corpus\n"
        "out, files, embedder, corpus_dir = sys.argv[1:]\n"
        "config = CorpusConfig(corpus=files, embedder=embedder, n_clusters='4', threads=1, corpus_dir=corpus_dir)\n"
        "print(open_corpus(config, out, 1).fingerprint)\n"
    )
    log, shared = run / "log", run / "shared"
    arguments = [sys.executable, "-c", program, run / "second", run / "files", models / "0", shared]
    with log.open("w") as out, FileLock(run / ".shared.lock"):
        second = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 90
        while "Another process is building the corpus" not in log.read_text():
            assert time.monotonic() < deadline and second.poll() is None, log.read_text()
            time.sleep(0.1)
        assert not shared.exists()
        shutil.copytree(run / "run/corpus", shared)
    assert second.wait(90) == 0
    assert log.read_text().split()[-1] == ClusteredCorpus.load(shared).fingerprint
    assert not (run / "second/index").exists()
