from __future__ import annotations

import numpy as np
import pytest

from equal_hf.corpus import Embedder
from equal_hf.errors import ConfigError
from tests.corpus.tiny import WINDOW, WORDS, make_model


def words(count: int, seed: int = 0) -> list[str]:
    return np.random.default_rng(seed).choice(WORDS, count).tolist()


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_embeddings_are_unit_vectors_of_the_model(embedder):
    model = make_model()
    texts = [" ".join(words(length, length)) for length in (1, 3, 50, 1000)]
    vectors = embedder.encode(texts)
    assert vectors.shape == (4, embedder.dimension) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, unit(model.encode(texts)), atol=1e-6)
    assert embedder.encode([]).shape == (0, embedder.dimension)


def test_a_text_without_a_known_token_is_all_zeros(embedder):
    vectors = embedder.encode(["nothing known here", "sum"])
    assert not vectors[0].any() and vectors[1].any()


def test_a_long_text_is_the_mean_of_windows_of_equal_length(windowed):
    embedder = Embedder(windowed)
    short, edge, long = words(3), words(WINDOW), words(2 * WINDOW + 2)
    vectors, beyond = embedder.encode_documents([" ".join(text) for text in (short, long, edge)])
    windows = [" ".join(long[start : start + 6]) for start in (0, 6, 12)]
    expected = unit(unit(windowed.encode(windows)).mean(axis=0))
    np.testing.assert_allclose(vectors[1], expected, atol=1e-5)
    np.testing.assert_allclose(vectors[[0, 2]], unit(windowed.encode([" ".join(short), " ".join(edge)])), atol=1e-5)
    cut = unit(windowed.encode([" ".join(long)]))[0]
    assert np.abs(vectors[1] - cut).max() > 0.01
    assert not beyond.any()


def test_no_token_of_a_window_is_cut_off_by_the_prompt(windowed):
    from sentence_transformers import SentenceTransformer

    prompted = SentenceTransformer(
        modules=list(windowed), device="cpu", prompts={"d": "sum add "}, default_prompt_name="d"
    )
    text = words(2 * (WINDOW - 2))
    windows = [" ".join(text[:6]), " ".join(text[6:])]
    expected = unit(unit(windowed.encode([f"sum add {window}" for window in windows])).mean(axis=0))
    np.testing.assert_allclose(Embedder(prompted).encode([" ".join(text)])[0], expected, atol=1e-5)


def test_very_long_texts_are_sampled_evenly_and_counted(windowed):
    embedder = Embedder(windowed, max_windows=3)
    text = words(9 * WINDOW)
    (vector, _), beyond = embedder.encode_documents([" ".join(text), "sum"])
    windows = [" ".join(text[start * WINDOW : (start + 1) * WINDOW]) for start in (0, 4, 8)]
    np.testing.assert_allclose(vector, unit(unit(windowed.encode(windows)).mean(axis=0)), atol=1e-5)
    assert beyond.tolist() == [True, False]


def test_an_empty_text_has_a_window_too(windowed):
    assert Embedder(windowed).encode(["", " ".join(words(20))]).shape == (2, 16)


def test_the_fingerprint_is_that_of_what_is_computed(windowed, tmp_path):
    for model in (make_model(), windowed):
        before = Embedder(model)
        fingerprint = before.fingerprint()
        before.encode([" ".join(words(30))])
        assert Embedder(model).fingerprint() == fingerprint
        folder = tmp_path / type(model[0]).__name__
        model.save_pretrained(str(folder))
        loaded = Embedder(str(folder), device="cpu")
        assert loaded.fingerprint() == fingerprint
        assert loaded.name == str(folder)
    assert Embedder(make_model(seed=1)).fingerprint() != Embedder(make_model()).fingerprint()
    assert Embedder(windowed, max_windows=2).fingerprint() != Embedder(windowed).fingerprint()


def test_a_model_that_is_not_there_names_the_setting(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"`embedder`: no sentence-transformers model .*empty"):
        Embedder(str(tmp_path / "empty"))


def test_long_texts_that_cannot_be_split_are_refused(windowed, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, ByT5Tokenizer

    full = " ".join(words(WINDOW))
    prompted = SentenceTransformer(modules=list(windowed), device="cpu", prompts={"d": full}, default_prompt_name="d")
    with pytest.raises(ConfigError, match="prompt fills the whole window of 10 tokens"):
        Embedder(prompted).encode(["sum"])

    ByT5Tokenizer(model_max_length=10).save_pretrained(tmp_path)
    BertModel(
        BertConfig(vocab_size=400, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path)
    transformer = Transformer(str(tmp_path))
    slow = SentenceTransformer(modules=[transformer, Pooling(8)], device="cpu")
    with pytest.raises(ConfigError, match="reads 10 tokens at a time and its tokenizer is not a fast one"):
        Embedder(slow).encode(["sum"])


def test_a_model_that_opens_files_is_refused():
    class ImageToo(type(make_model()[0])):
        modalities = ("text", "image")

    model = make_model()
    model[0].__class__ = ImageToo
    with pytest.raises(ConfigError, match="also takes image"):
        Embedder(model)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="`max_windows`"):
        Embedder(make_model(), max_windows=0)
