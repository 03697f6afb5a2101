"""What `quickstart_llm.yaml` names: some documents, a target task, a pre-trained model and an embedder.

Documents are docstrings of the installed packages, as in the first quickstart: they are on every machine. The target
task is prose this time, which a model that extracts can write pairs for: what functions and classes of sympy's
mathematical modules do, in the first sentence of their docstrings. Documents that items came from, and documents that
repeat an item's words, are not in the corpus.

    python recipes/quickstart_llm_assets.py --output_dir runs/quickstart_llm_assets

    documents.parquet            id, text, source, license, package
    target/                      load_dataset(…): splits reference, validation and test; question, answer, …
    model/                       SmolLM2-135M-Instruct in float32, its tokenizer and chat template
    embedder/                    all-MiniLM-L6-v2
    manifest.json                written last: what went in, and a hash of every file

A folder that is complete for the same inputs is left as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import docstrings
import quickstart_assets as first
import real_models

from equal_hf.errors import EqualError, TargetError
from equal_hf.utils.files import write_file
from equal_hf.utils.hashing import file_hash

MAX_DOCUMENTS = 400
# Longer ones would be extracted in parts, and take minutes on a processor.
MAX_CHARACTERS = 3_000
# Items a split; filled in this order from documents in seeded-hash order, so every split is a random one.
SPLITS = {"test": 100, "validation": 100, "reference": 100}
ANSWER_CHARACTERS = range(30, 251)

Row = dict[str, str]


def build(
    output_dir: Path,
    *,
    seed: int = 42,
    max_documents: int = MAX_DOCUMENTS,
    packages: Sequence[str] = first.PACKAGES,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write the assets, unless they are there already, and return their manifest.

    Args:
        output_dir (`Path`): The folder; made if needed.
        seed (`int`, *optional*, defaults to `42`): Decides which docstrings become items, and which stay.
        max_documents (`int`, *optional*, defaults to `400`): Most documents in the corpus.
        packages (`Sequence[str]`, *optional*): Distributions whose docstrings are read. `"sympy"` must be among them.
        report (`Callable[[str], None]`, *optional*, defaults to `print`): Gets a line a step.

    Returns:
        `dict[str, Any]`: The manifest.

    Raises:
        `MissingDependencyError`: If the packages of the models are not installed.
        `TargetError`: If there are too few items.
        `CorpusError`: If no document is left for the corpus.
    """
    for weights in (real_models.smollm2_gguf, real_models.minilm_zip):
        weights()  # an error, if there is one, comes before anything that takes time
    inputs = first.fingerprint(seed, max_documents, packages) | {
        "models": real_models.INSTALL,
        "own_code": [file_hash(Path(path)) for path in (__file__, real_models.__file__)],
    }
    found = first.complete_manifest(output_dir, inputs)
    if found is not None:
        report(f"{output_dir}: complete, nothing to do")
        return found
    step = first.begin(output_dir, report)
    rows, counts = docstrings.read_docstrings(packages)
    step(f"read {len(rows)} docstrings of {len(packages)} packages")
    target, passages = choose_target(rows, seed)
    short = [row for row in rows if len(row["text"]) <= MAX_CHARACTERS]
    corpus, repeating = first.choose_corpus(short, passages, max_documents, seed)
    first.write_tables(output_dir, [titled(row) for row in corpus], target, packages)
    step(f"{len(corpus)} documents, target " + ", ".join(f"{split} {len(items)}" for split, items in target.items()))

    real_models.write_embedder(output_dir / "embedder")
    step("embedder: all-MiniLM-L6-v2")
    parameters = real_models.write_language_model(output_dir / "model")
    step(f"model: SmolLM2-135M-Instruct, {parameters / 1e6:.1f} M parameters in float32")

    manifest = {
        "inputs": inputs,
        "documents": dict(Counter(row["package"] for row in corpus)),
        "target": {split: len(items) for split, items in target.items()},
        "counts": {**counts, "too_long": len(rows) - len(short), "contaminated": repeating},
        "parameters": parameters,
        "files": {path: file_hash(output_dir / path) for path in first.asset_files(output_dir)},
    }
    write_file(output_dir / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    return manifest


def choose_target(rows: Sequence[Row], seed: int) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """Items of the target modules by split, one a document, and by document id the passage that its item came from."""
    modules = tuple(f"sympy.{module}." for module in first.TARGET_MODULES)
    candidates = iter(first.in_hash_order((row for row in rows if row["id"].startswith(modules)), seed))
    target: dict[str, list[Row]] = {}
    passages: dict[str, str] = {}
    seen: set[str] = set()
    for split, wanted in SPLITS.items():
        items = target[split] = []
        for row in candidates:
            answer = first_sentence(row["text"])
            if answer is None or answer in seen:
                continue
            seen.add(answer)
            passages[row["id"]] = answer
            items.append(item_of(row, answer))
            if len(items) == wanted:
                break
        else:
            raise TargetError(
                f"sympy gives {len(items)} of {wanted} items for `{split}`: install another version of sympy."
            )
    return {split: target[split] for split in ("reference", "validation", "test")}, passages


def first_sentence(text: str) -> str | None:
    """The first sentence of a docstring in one line, if it is neither too short nor too long.

    >>> first_sentence("Return True if n is\\na prime number, else False. Negative\\nnumbers are not.\\n\\nMore.")
    'Return True if n is a prime number, else False.'
    >>> first_sentence("Helper.") is None
    True
    """
    paragraph = " ".join(text.partition("\n\n")[0].split())
    sentence = re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0]
    return sentence if len(sentence) in ANSWER_CHARACTERS and sentence.endswith(".") else None


def titled(row: Row) -> Row:
    """A document that begins with what it documents, which a docstring does not say; the prompt goes by that line."""
    return row | {"text": f"# {row['id']}\n\n{row['text']}"}


def item_of(row: Row, answer: str) -> Row:
    return {
        "question": f"What does `{row['id']}` do?",
        "answer": answer,
        "document_id": row["id"],
        "source": row["source"],
        "license": row["license"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare the second quickstart's documents, target and real models.")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/quickstart_llm_assets"))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--max_documents", type=int, default=MAX_DOCUMENTS)
    parser.add_argument(
        "--packages", nargs="+", default=first.PACKAGES, help="distributions whose docstrings are read"
    )
    args = parser.parse_args(arguments)
    if args.max_documents < 1:
        parser.error(f"--max_documents is {args.max_documents}: at least 1 is needed")
    # Read when transformers is imported: its bars for a model of one file say little.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        build(args.output_dir, seed=args.seed, max_documents=args.max_documents, packages=tuple(args.packages))
    except EqualError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
