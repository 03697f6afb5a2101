"""A tiny real embedder and a small real corpus."""

from __future__ import annotations

import pytest

from tests.corpus.tiny import WINDOW, WORDS, make_model, make_texts


@pytest.fixture(scope="session", autouse=True)
def datasets_cache(tmp_path_factory):
    """What `load_dataset` caches stays out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


@pytest.fixture(scope="session")
def embedder():
    from equal_hf.corpus import Embedder

    return Embedder(make_model())


@pytest.fixture(scope="session")
def windowed(tmp_path_factory):
    """A tiny BERT that reads ten tokens at a time."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    folder = tmp_path_factory.mktemp("bert")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=WINDOW + 2,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=WINDOW + 2,
    )
    BertModel(config).save_pretrained(folder)
    transformer = Transformer(str(folder))
    pooling = Pooling(transformer.get_embedding_dimension())
    return SentenceTransformer(modules=[transformer, pooling], device="cpu")


@pytest.fixture(scope="session")
def rows():
    return make_texts(60)


@pytest.fixture(scope="session")
def corpus(rows, embedder, tmp_path_factory):
    """240 documents in 8 clusters and 3 files; read it, do not change it."""
    from datasets import Dataset

    from equal_hf.corpus import ClusteredCorpus

    return ClusteredCorpus.build(
        Dataset.from_list(rows),
        tmp_path_factory.mktemp("corpus") / "built",
        embedder=embedder,
        n_clusters=8,
        threads=1,
        max_shard_bytes=4000,
        show_progress=False,
    )
