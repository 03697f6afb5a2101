"""A tokenizer, a language model and an embedder, small enough to make and train on a laptop's CPU.

They come from the corpus alone and are saved as ordinary folders: `AutoTokenizer`, `AutoModelForCausalLM` and
`SentenceTransformer` load them like anything from the Hub. Same texts, same seed: same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

BOS, TURN, ROLE, END, PAD = "<|bos|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>", "<|pad|>"
# ChatML with a token of its own after the role, as Phi-4 has it: no text touches a role's name, so the tokens of a
# prompt are always the first tokens of prompt and completion, which completion-only loss relies on.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)


def build_tokenizer(texts: Sequence[str], folder: Path, *, vocabulary: int = 2048) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, digits one by one, and save it with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, TURN, ROLE, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[TURN, ROLE],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return fast


def build_language_model(tokenizer: PreTrainedTokenizerFast, folder: Path, *, seed: int) -> int:
    """Save a Llama with random weights for that tokenizer, and return how many parameters it has."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=640,
        num_hidden_layers=2,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model.num_parameters()


def build_embedder(
    texts: Sequence[str],
    folder: Path,
    *,
    items: Sequence[str] = (),
    seed: int,
    dimension: int = 128,
    vocabulary: int = 20_000,
) -> None:
    """Save a `StaticEmbedding` model made by latent semantic analysis of the texts.

    A token's vector is its inverse document frequency times its row in the leading right singular vectors of the
    TF-IDF matrix, so the mean over a text's tokens is the text's projection, up to length, which normalising removes
    (Deerwester et al. 1990, "Indexing by latent semantic analysis"). A token that stands in every one of `items`,
    questions with their answers, weighs nothing: it belongs to how questions are put, not to what they are about.
    """
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    tokenizer = word_tokenizer(texts, vocabulary)
    counts = token_counts(tokenizer, texts)
    present = np.asarray((counts > 0).sum(axis=0)).ravel()
    weights = np.log((1 + len(texts)) / (1 + present))
    if items:
        template = np.asarray((token_counts(tokenizer, items) > 0).sum(axis=0)).ravel() == len(items)
        weights[template] = 0
    vectors = lsa_vectors(counts, weights, dimension, seed)
    static = StaticEmbedding(tokenizer, embedding_weights=torch.from_numpy(vectors))
    model = SentenceTransformer(modules=[static, Normalize()], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)


def word_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of the most frequent lower-case words, numbers and runs of marks; all others are one unknown token.

    Marks tell code and formulas from prose.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True
    )
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocabulary, min_frequency=3, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def token_counts(tokenizer: Tokenizer, texts: Sequence[str]) -> csr_matrix:
    """How often each token (columns) stands in each text (rows); the unknown token, column 0, is never counted."""
    import numpy as np
    from scipy.sparse import csr_matrix

    ids = [np.asarray(encoding.ids, dtype=np.int32) for encoding in tokenizer.encode_batch_fast(list(texts))]
    rows = np.repeat(np.arange(len(ids), dtype=np.int32), [len(row) for row in ids])
    columns = np.concatenate(ids)
    known = columns > 0
    shape = (len(ids), tokenizer.get_vocab_size())
    counts = csr_matrix((np.ones(known.sum(), dtype=np.float32), (rows[known], columns[known])), shape=shape)
    counts.sum_duplicates()
    return counts


def lsa_vectors(counts: csr_matrix, weights: np.ndarray, dimension: int, seed: int) -> np.ndarray:
    """Token vectors (vocabulary, dimension), float32, from counts (texts, vocabulary) and weights (vocabulary,)."""
    import numpy as np
    from sklearn.preprocessing import normalize
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    weighted = normalize(counts.multiply(weights).tocsr())
    # One thread: the order in which threads add up changes the last bits.
    with threadpool_limits(1):
        _, _, components = randomized_svd(weighted, dimension + 1, n_iter=4, random_state=seed)
    # The first direction is what all texts have in common.
    return np.ascontiguousarray((components[1:] * weights).T, dtype=np.float32)
