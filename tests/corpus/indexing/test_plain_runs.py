"""The corpus of a run without an index: killed and resumed, on one rank and on two."""

from __future__ import annotations

import itertools
import json
import logging
import re
import sys
from types import SimpleNamespace

import pytest

from equal_hf.corpus import ClusteredCorpus, Embedder
from equal_hf.corpus.indexing.config import IndexConfig
from equal_hf.corpus.indexing.pipeline import run_index
from equal_hf.corpus.run_corpus import open_corpus
from equal_hf.errors import ResumeError
from equal_hf.utils import progress
from tests.corpus.tiny import make_model, make_texts
from tests.processes import digests, run

CHAIN = ["-m", "tests.corpus.indexing.chain"]


def embedded(output: str, rank: int | str = "[01]") -> list[int]:
    return [int(count) for count in re.findall(rf"^embedded (\d+) on {rank}$", output, re.MULTILINE)]


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """One rank, never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    output = run([*CHAIN, str(config), "--plain", "--output_dir", str(folder / "run")], folder / "log")
    return folder / "run", output


def test_only_the_corpus_is_left(whole):
    folder, output = whole
    # A lock that were removed could be held twice: by who still has it open, and by who makes it anew.
    assert sorted(path.name for path in folder.iterdir()) == [".corpus.lock", "corpus"]
    assert sum(embedded(output)) == 200
    assert "embedding: 200 documents in" in output


@pytest.mark.parametrize(("ranks", "kills"), [(1, 40), (2, 25)])
def test_kills_cost_a_shard_each_and_leave_the_same_bytes(whole, config, tmp_path, ranks, kills):
    arguments = [*CHAIN, str(config), "--plain", "--ranks", str(ranks), "--kill-every", str(kills)]
    output = run([*arguments, "--output_dir", str(tmp_path / "run")], tmp_path / "log")
    assert digests(tmp_path / "run/corpus") == digests(whole[0] / "corpus")
    killed = int(output.splitlines()[-1].split()[1])
    assert killed >= 2
    assert sum(embedded(output)) <= 200 + 20 * ranks * killed  # 20 documents a shard


def test_both_ranks_embed(whole, config, tmp_path):
    arguments = [*CHAIN, str(config), "--plain", "--ranks", "2", "--output_dir", str(tmp_path / "run")]
    output = run(arguments, tmp_path / "log")
    assert [sum(embedded(output, rank)) for rank in (0, 1)] == [100, 100]
    assert output.count("embedding on rank 0 of 2: 100 documents in") == 1


def test_a_log_has_a_line_every_half_minute_with_what_is_left(tmp_path, caplog, monkeypatch):
    now = itertools.count(0, 12.0)  # seconds from one look at the clock to the next
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with caplog.at_level(logging.INFO, "equal_hf"):
        build(tmp_path, 5)
    lines = [line for line in caplog.messages if line.startswith("embedding: ")]
    assert len(lines) == 4
    for line in lines[:-1]:
        assert re.fullmatch(r"embedding: \d+ of 48 documents, [\d.]+ a second, (\d+ min )?\d+ s left", line)
    assert lines[-1].startswith("embedding: 48 documents in ")


def test_a_terminal_has_a_bar_and_no_lines(tmp_path, caplog, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with caplog.at_level(logging.INFO, "equal_hf"):
        build(tmp_path, 5)
    assert re.search(r"embedding: 100%.*48", capsys.readouterr().err)
    assert not [line for line in caplog.messages if line.startswith("embedding")]


def build(folder, batch_size: int) -> None:
    embedder = Embedder(make_model(), batch_size=batch_size)
    ClusteredCorpus.build(make_texts(12), folder / "corpus", embedder=embedder, n_clusters=2, threads=1)


def test_what_others_keep_in_the_folder_of_the_work_stays(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/notes.txt").write_text("mine")
    make_model().save_pretrained(str(tmp_path / "model"))
    (tmp_path / "files.jsonl").write_text("\n".join(json.dumps(row) for row in make_texts(12)))
    settings = {"corpus": str(tmp_path / "files.jsonl"), "embedder": str(tmp_path / "model"), "n_clusters": "2"}
    config = IndexConfig(**settings, index_dir=str(tmp_path / "work"), corpus_map=False)
    open_corpus(config, tmp_path / "run", 1)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["notes.txt"]
    run_index(config, tmp_path / "indexed", 1)
    left = digests(tmp_path / "work")
    open_corpus(config, tmp_path / "again", 1)  # from what an index has left there, which later revisions need
    with pytest.raises(ResumeError, match="holds another index: `min_characters` was 50, is 10"):
        open_corpus(IndexConfig(**vars(config) | {"min_characters": 10}), tmp_path / "other", 1)
    assert {path.partition("/")[0] for path in left} == {path.partition("/")[0] for path in digests(tmp_path / "work")}
