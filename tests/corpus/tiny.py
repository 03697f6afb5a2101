"""Texts of four topics, and a sentence-transformers model that tells them apart."""

from __future__ import annotations

from typing import Any

import numpy as np

TOPICS = {
    "sums": "sum add plus total number digit carry count more less",
    "shapes": "circle square angle radius line area corner side edge height",
    "cooking": "flour butter oven salt bake stir bowl sugar spoon heat",
    "ships": "sail harbour mast deck anchor captain wind storm cargo rope",
}
WORDS = " ".join(TOPICS.values()).split()
WINDOW = 8  # tokens of text that the windowed model reads, beside [CLS] and [SEP]


def make_texts(per_topic: int, words: int = 20, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with a text of one topic each, topics taking turns."""
    rng = np.random.default_rng(seed)
    return [
        {"text": " ".join(rng.choice(vocabulary.split(), words)), "topic": topic, "number": number}
        for number in range(per_topic)
        for topic, vocabulary in TOPICS.items()
    ]


def make_model(dimension: int = 16, seed: int = 0):
    """A `StaticEmbedding` model: one random vector a word of the topics, words of one topic leaning the same way,
    and zeros for any other word."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    rng = np.random.default_rng(seed)
    vocabulary = {"[UNK]": 0}
    weights = [np.zeros(dimension)]
    for words in TOPICS.values():
        topic = rng.normal(size=dimension)
        for word in words.split():
            vocabulary[word] = len(vocabulary)
            weights.append(topic + 0.5 * rng.normal(size=dimension))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    module = StaticEmbedding(tokenizer, embedding_weights=np.asarray(weights, dtype=np.float32))
    return SentenceTransformer(modules=[module], device="cpu")
