"""A tiny Llama with random weights as a GGUF file, for a llama.cpp server that answers in milliseconds.

Nothing is downloaded and nothing is committed: the tokenizer is trained on a paragraph in this file and on the
extraction prompt, the weights are drawn from a seed, and both give the same bytes each time. One thing is not random:
the output layer leans towards words, and more towards double quotes, so that under a JSON grammar strings end and a
reply fits a few hundred tokens.

    python -m tests.servers.gguf_model /tmp/tiny.gguf
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

from equal_hf.extraction.prompts.template import DEFAULT_PROMPT

MAX_VOCABULARY = 2048
HIDDEN = 64
LAYERS = 2
HEADS = 4
FEED_FORWARD = 128
CONTEXT = 8192
# The bias lives in one hidden coordinate that every embedding shares and no layer writes to.
SHARED = 0
# `Ġ` stands for a leading space in byte-level BPE.
WORD = re.compile(r"Ġ?[!-~]+")

SPECIAL = ["<|im_end|>", "<|im_start|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = """
A question asks for something and an answer gives it. How many apples does Anna have if she buys three bags of twelve
and eats five? She buys 3 * 12 = 36 apples, eats 5 and keeps 31. The sum of two numbers is 40 and one of them is three
times the other; what are they? Let the smaller be x, then x + 3x = 40, so x = 10 and the numbers are 10 and 30. Solve
for y: 2y - 7 = 11, hence 2y = 18 and y = 9. "pairs": [{"question": "What is its area?", "answer": "24"}]
"""


def write_tiny_gguf(path: str | Path, *, seed: int = 8) -> Path:
    """Write the model.

    Args:
        path (`str` or `Path`): Where to write it; an existing file is replaced.
        seed (`int`, *optional*, defaults to `8`): Seed of the weights.

    Returns:
        `Path`: The file, about 1 MB.
    """
    import gguf

    path = Path(path)
    tokens, merges = _byte_level_bpe()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index(SPECIAL[0]))
    writer.add_eos_token_id(tokens.index(SPECIAL[0]))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, tensor in _weights(tokens, np.random.default_rng(seed)).items():
        writer.add_tensor(name, np.ascontiguousarray(tensor, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _byte_level_bpe() -> tuple[list[str], list[str]]:
    """Tokens in id order and merges in rank order."""
    import json

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        min_frequency=1,
        special_tokens=SPECIAL,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT, DEFAULT_PROMPT], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return tokens, merges


def _lean(token: str) -> float:
    """How much the output layer prefers a token."""
    if token.startswith('"'):
        return 0.75  # strings end
    if "[]" in token or not WORD.fullmatch(token):
        return -4.0  # no empty lists, no padding with blanks, no broken UTF-8
    return 0.0 if token.lstrip("Ġ").isalpha() else -1.0


def _weights(tokens: list[str], random: np.random.Generator) -> dict[str, np.ndarray]:
    def normal(*shape: int, scale: float) -> np.ndarray:
        return random.normal(0.0, scale, shape).astype(np.float32)

    embedding = normal(len(tokens), HIDDEN, scale=0.5)
    embedding[:, SHARED] = 4.0
    output = normal(len(tokens), HIDDEN, scale=0.2)
    # After the final norm the shared coordinate of a hidden state is about 4, so this adds 4 × the value to a logit.
    output[:, SHARED] = [_lean(token) for token in tokens]
    tensors = {
        "token_embd.weight": embedding,
        "output_norm.weight": np.ones(HIDDEN, dtype=np.float32),
        "output.weight": output,
    }
    for layer in range(LAYERS):
        block = {
            "attn_norm.weight": np.ones(HIDDEN, dtype=np.float32),
            "attn_q.weight": normal(HIDDEN, HIDDEN, scale=0.1),
            "attn_k.weight": normal(HIDDEN, HIDDEN, scale=0.1),
            "attn_v.weight": normal(HIDDEN, HIDDEN, scale=0.1),
            "attn_output.weight": normal(HIDDEN, HIDDEN, scale=0.1),
            "ffn_norm.weight": np.ones(HIDDEN, dtype=np.float32),
            "ffn_gate.weight": normal(FEED_FORWARD, HIDDEN, scale=0.1),
            "ffn_up.weight": normal(FEED_FORWARD, HIDDEN, scale=0.1),
            "ffn_down.weight": normal(HIDDEN, FEED_FORWARD, scale=0.1),
        }
        block["attn_output.weight"][SHARED] = 0.0
        block["ffn_down.weight"][SHARED] = 0.0
        tensors |= {f"blk.{layer}.{name}": tensor for name, tensor in block.items()}
    return tensors


if __name__ == "__main__":
    write_tiny_gguf(sys.argv[1])
