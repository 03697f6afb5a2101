"""A shard whose embedding is stopped goes on where it was, and gets the bytes of one that was not stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from sentence_transformers import SentenceTransformer

from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.indexing import unfinished_shard
from equal_hf.corpus.run_corpus import open_corpus
from tests.corpus.tiny import make_texts
from tests.processes import digests

BATCHES = 10  # 40 texts, 4 at a time


@pytest.fixture(scope="module")
def settings(windowed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    windowed.save_pretrained(str(folder / "embedder"))
    rows = [row | {"text": row["text"][: 20 + 9 * place]} for place, row in enumerate(make_texts(10))]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return CorpusConfig(
        corpus=str(folder / "texts.jsonl"),
        embedder=str(folder / "embedder"),
        embedder_max_windows=1,
        embedder_batch_size=4,
        min_characters=1,
        n_clusters="4",
        threads=1,
    )


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """What a build leaves that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        made = counted(patch)
        open_corpus(settings, folder, 1)
    assert made == [4] * BATCHES
    return digests(folder)


def counted(monkeypatch, stop_at: int | None = None) -> list[int]:
    """Texts of each batch from now on; the one after so many of several texts is not made."""
    made, encode = [], SentenceTransformer.encode

    def watched(self, texts, **given):
        if len(texts) > 1 and len(made) == stop_at:
            raise KeyboardInterrupt
        if len(texts) > 1:
            made.append(len(texts))
        return encode(self, texts, **given)

    monkeypatch.setattr(SentenceTransformer, "encode", watched)
    return made


def stopped(settings, folder, after: int, monkeypatch) -> list[int]:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        made = counted(patch, after)
        open_corpus(settings, folder, 1)
    return made


def test_ctrl_c_while_embedding_loses_one_batch(settings, whole, tmp_path, monkeypatch):
    for after in (3, 4):
        stopped(settings, tmp_path / "run", after, monkeypatch)
    assert len(list((tmp_path / "run/index/embeddings").rglob("*.npy"))) == 2
    made = counted(monkeypatch)
    open_corpus(settings, tmp_path / "run", 1)
    assert len(made) == BATCHES - 3 - 4
    assert digests(tmp_path / "run") == whole


def test_kept_batches_that_are_damaged_or_of_other_settings_are_made_again(settings, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(unfinished_shard, "SAVE_EVERY_S", 0.0)  # a part a batch, as where a batch takes long
        stopped(settings, tmp_path / "run", 7, monkeypatch)
    victim = sorted((tmp_path / "run/index/embeddings").rglob("*.npy"))[4]
    victim.write_bytes(victim.read_bytes()[:-4] + b"\xff\xff\xff\xff")
    # Two batches are a part now, so the part after it no longer begins where it ends.
    assert stopped(settings, tmp_path / "run", 2, monkeypatch) == [4, 4]
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    made = counted(monkeypatch)
    open_corpus(settings, tmp_path / "run", 1)
    assert made == [4] * (BATCHES - 6) and digests(tmp_path / "run") == whole
    made.clear()
    open_corpus(replace(settings, embedder_batch_size=5), tmp_path / "other", 1)
    assert made == [5] * 8
