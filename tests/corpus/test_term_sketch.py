"""Sketches of terms: what they tell apart, and how a corpus keeps them."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from equal_hf import ClusteredCorpus
from equal_hf.corpus.term_sketch import TermSketch
from equal_hf.errors import CorpusError

SUMS = [f"{n} + {n + 1} = {2 * n + 1}. Work out {n} + 7." for n in range(30)]
SEA = [f"The sea at the coast of island {n} is calm, and ships lie in the bay." for n in range(30)]


def test_documents_of_the_same_words_are_near_and_length_is_told():
    sketch = TermSketch.fit(SUMS + SEA, dimensions=8)
    sums, sea = (sketch.transform(texts).astype(np.float32)[:, :-1] for texts in (SUMS, SEA))
    assert (sums @ sums.T).mean() > 5 * (sums @ sea.T).mean()
    short, long = sketch.transform([SEA[0], SEA[0] * 20])[:, -1]
    assert long > short


@pytest.mark.parametrize("texts", [["one"], ["a b", "c d"], ["same same"] * 4, ["", "  "]])
def test_a_corpus_of_hardly_anything_has_a_sketch(texts):
    told = TermSketch.fit(texts).transform(texts)
    assert len(told) == len(texts) and np.isfinite(told).all()


def test_a_corpus_keeps_them_in_the_order_of_its_documents(world):
    corpus = ClusteredCorpus.load(world / "corpus")
    assert corpus.has_terms
    texts = [document.text for document in corpus.draw(0, int(corpus.sizes[0]))]
    terms = corpus.terms(0)
    assert terms.shape[0] == corpus.sizes[0]
    lengths = np.argsort([len(text) for text in texts], kind="stable")
    assert (np.diff(terms[lengths, -1]) >= 0).all()
    kept = corpus.profiles.sample_terms[0]
    np.testing.assert_array_equal(kept, terms[: len(kept)])


def test_one_that_is_damaged_is_told(world, tmp_path):
    ClusteredCorpus.load(world / "corpus").save(tmp_path / "copy")
    (path,) = sorted((tmp_path / "copy" / "terms").glob("*.safetensors"))[:1]
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    corpus = ClusteredCorpus.load(tmp_path / "copy")
    with pytest.raises(CorpusError, match=r"terms/clusters-.* cannot be read"):
        corpus.terms(corpus.n_clusters - 1)


def test_a_corpus_without_them_is_read_as_before(world, tmp_path, caplog):
    """As an earlier version wrote it."""
    from safetensors.numpy import load_file, save_file

    from equal_hf.corpus.manifest import MANIFEST_FILE
    from equal_hf.utils.files import describe_file

    folder = tmp_path / "old"
    ClusteredCorpus.load(world / "corpus").save(folder)
    tensors = load_file(folder / "profiles.safetensors")
    del tensors["sample_terms"]
    save_file(tensors, folder / "profiles.safetensors")
    pq.write_table(pq.read_table(folder / "index.parquet").drop_columns(["terms_crc32"]), folder / "index.parquet")
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    for name in [name for name in manifest["files"] if name.startswith("terms/")]:
        del manifest["files"][name]
        (folder / name).unlink()
    for name in ("profiles.safetensors", "index.parquet"):
        manifest["files"][name] = describe_file(folder / name)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    corpus = ClusteredCorpus.load(folder)
    assert not corpus.has_terms and len(corpus.draw(0, 2)) == 2 and len(corpus.embeddings(0)) == corpus.sizes[0]
    with pytest.raises(CorpusError, match="without sketches of terms"):
        corpus.terms(0)
