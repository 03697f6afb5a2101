"""Everything the quickstart needs that a user would name by Hub ids: a corpus, a target task, a model, an embedder.

The corpus is the docstrings of the Python packages that installation brought. The target task is mathematics: doctest
items of some sympy modules, split by document. Documents that items came from, and documents that repeat an item's
words, are not in the corpus; the rest of sympy is, among much that is no mathematics.

    python recipes/quickstart_assets.py --output_dir runs/quickstart_assets

    documents.parquet            id, text, source, license, package
    target/                      load_dataset(…): splits reference, validation and test; question, answer, …
    model/                       a byte-level BPE tokenizer with a chat template, and a tiny Llama with random weights
    embedder/                    a sentence-transformers model: latent semantic analysis of the corpus
    manifest.json                written last: what went in, what was dropped, a hash of every file

Same packages, same seed: same files. A folder that is complete for the same inputs is left as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import docstrings
import tiny_models

from equal_hf.errors import CorpusError, EqualError, MissingDependencyError, TargetError
from equal_hf.extraction.explicit import doctests
from equal_hf.extraction.explicit import extractor as explicit
from equal_hf.extraction.explicit import marked_pairs as marked
from equal_hf.filters import base, contaminated, duplicate, lengths, normalise
from equal_hf.types import Document, QAPair
from equal_hf.utils.files import write_file
from equal_hf.utils.hashing import file_hash

PACKAGES = (
    "sympy",
    "mpmath",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "networkx",
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "trl",
    "sentence-transformers",
    "huggingface_hub",
    "POT",
)
TARGET_MODULES = ("ntheory", "functions", "polys", "core", "simplify", "integrals", "series", "combinatorics")
# Items a split; filled in this order from documents in seeded-hash order, so every split is a random one.
SPLITS = {"test": 500, "validation": 200, "reference": 200}
ITEMS_PER_DOCUMENT = 3
MAX_QUESTION_CHARACTERS = 500
MAX_ANSWER_CHARACTERS = 250

# What the files depend on besides the documents: code, and the packages that write them.
CODE = (
    docstrings,
    tiny_models,
    explicit,
    doctests,
    marked,
    base,
    contaminated,
    duplicate,
    lengths,
    normalise,
)
TOOLS = ("numpy", "scipy", "scikit-learn", "tokenizers", "transformers", "sentence-transformers", "torch", "pyarrow")

Row = dict[str, str]


def build(
    output_dir: Path,
    *,
    seed: int = 42,
    max_documents: int = 12_000,
    packages: Sequence[str] = PACKAGES,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write the assets, unless they are there already, and return their manifest.

    Args:
        output_dir (`Path`): The folder; made if needed.
        seed (`int`, *optional*, defaults to `42`): Decides which documents become items, which stay, and the weights.
        max_documents (`int`, *optional*, defaults to `12000`): Most documents in the corpus.
        packages (`Sequence[str]`, *optional*): Distributions whose docstrings are read. `"sympy"` must be among them.
        report (`Callable[[str], None]`, *optional*, defaults to `print`): Gets a line a step.

    Returns:
        `dict[str, Any]`: The manifest.

    Raises:
        `MissingDependencyError`: If sympy is not installed.
        `TargetError`: If there are too few doctest items.
        `CorpusError`: If no document is left for the corpus.
    """
    output_dir = Path(output_dir)
    inputs = fingerprint(seed, max_documents, packages)
    found = complete_manifest(output_dir, inputs)
    if found is not None:
        report(f"{output_dir}: complete, nothing to do")
        return found
    if inputs["packages"].get("sympy") is None:
        raise MissingDependencyError("The quickstart's target task is sympy's doctests: `pip install sympy`.")
    step = begin(output_dir, report)
    rows, counts = docstrings.read_docstrings(packages)
    step(f"read {len(rows)} docstrings of {len(packages)} packages")
    target, passages = choose_target(rows, seed)
    corpus, repeating = choose_corpus(rows, passages, max_documents, seed)
    write_tables(output_dir, corpus, target, packages)
    composition = dict(Counter(row["package"] for row in corpus))
    step(f"{len(corpus)} documents, target " + ", ".join(f"{split} {len(items)}" for split, items in target.items()))

    texts = [row["text"] for row in corpus]
    tokenizer = tiny_models.build_tokenizer(texts, output_dir / "model")
    parameters = tiny_models.build_language_model(tokenizer, output_dir / "model", seed=seed)
    step(f"tokenizer of {len(tokenizer)} tokens, Llama of {parameters / 1e6:.1f} M parameters")
    items = [f"{item['question']}\n{item['answer']}" for item in target["reference"]]
    tiny_models.build_embedder(texts, output_dir / "embedder", items=items, seed=seed)
    step("embedder")

    manifest = {
        "inputs": inputs,
        "documents": composition,
        "target": {split: len(items) for split, items in target.items()},
        "counts": {**counts, "target_documents": len(passages), "contaminated": repeating},
        "parameters": parameters,
        "files": {path: file_hash(output_dir / path) for path in asset_files(output_dir)},
    }
    write_file(output_dir / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    return manifest


def begin(output_dir: Path, report: Callable[[str], None]) -> Callable[[str], None]:
    """Make the folder, or count what is in it as incomplete; gives what reports a step with the time it took."""
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "manifest.json").unlink(missing_ok=True)
    started = time.perf_counter()
    return lambda line: report(f"[{time.perf_counter() - started:4.0f} s] {line}")


def write_tables(
    output_dir: Path, corpus: Sequence[Row], target: Mapping[str, Sequence[Row]], packages: Sequence[str]
) -> None:
    """Write the documents, and the target task by split.

    Raises:
        `CorpusError`: If no document is left for the corpus.
    """
    if not corpus:
        raise CorpusError(f"No document of `packages` {list(packages)} is left for the corpus: name more packages.")
    write_parquet(corpus, output_dir / "documents.parquet")
    for split, items in target.items():
        # The Hub's own naming: `load_dataset` takes the split from it, whatever the split is called.
        write_parquet(items, output_dir / "target" / "data" / f"{split}-00000-of-00001.parquet")


def fingerprint(seed: int, max_documents: int, packages: Sequence[str]) -> dict[str, Any]:
    """Everything the files depend on: settings, versions of the packages read and of those that write, code."""

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    return {
        "seed": seed,
        "max_documents": max_documents,
        "packages": {name: version(name) for name in packages},
        "tools": {name: version(name) for name in TOOLS},
        "code": {Path(path).name: file_hash(Path(path)) for path in (__file__, *(str(m.__file__) for m in CODE))},
    }


def complete_manifest(output_dir: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest in a folder, if it is of these inputs and every file it names is as it was written."""
    try:
        manifest = json.loads((output_dir / "manifest.json").read_text(encoding="utf-8"))
        same = manifest["inputs"] == inputs
        whole = same and all(file_hash(output_dir / path) == digest for path, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole else None


def choose_target(rows: Sequence[Row], seed: int) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """Doctest items of the target modules by split, and by document id the passage that its items were read from.

    No document gives items to two splits, and no item repeats 13 words of an item of a split filled before.
    """
    modules = tuple(f"sympy.{module}." for module in TARGET_MODULES)
    candidates = in_hash_order((row for row in rows if row["id"].startswith(modules)), seed)
    extractor = explicit.ExplicitExtractor(kinds=("doctest",))
    documents = {row["id"]: Document(row["id"], row["text"]) for row in candidates}
    offered = zip(candidates, extractor.extract(list(documents.values())), strict=True)
    small = lengths.LengthFilter(MAX_QUESTION_CHARACTERS, MAX_ANSWER_CHARACTERS)  # what a tiny model can be asked
    unseen = duplicate.DuplicateFilter()
    target: dict[str, list[Row]] = {}
    passages: dict[str, str] = {}
    for split, wanted in SPLITS.items():
        before = [item for items in target.values() for item in items]
        apart = contaminated.ContaminationFilter(
            [item["question"] for item in before], [item["answer"] for item in before]
        )
        items: list[Row] = []
        for row, extraction in offered:
            new, _ = base.apply_filters(extraction.pairs, documents, [small, apart, unseen])
            taken = new[: min(ITEMS_PER_DOCUMENT, wanted - len(items))]
            if taken:
                items += [item_of(pair, row) for pair in taken]
                starts, ends = zip(*(pair.span for pair in taken if pair.span), strict=True)
                passages[row["id"]] = row["text"][min(starts) : max(ends)]
            if len(items) == wanted:
                break
        else:
            raise TargetError(
                f"sympy gives {len(items)} of {wanted} doctest items for `{split}`: install another version of sympy."
            )
        target[split] = items
    return {split: target[split] for split in ("reference", "validation", "test")}, passages


def choose_corpus(
    rows: Sequence[Row], passages: dict[str, str], max_documents: int, seed: int
) -> tuple[list[Row], int]:
    """A seeded sample of the documents that neither gave an item nor repeat one, in the order they were read.

    Returns it with the number of documents rejected because they repeat an item.
    """
    decontaminator = contaminated.Decontaminator(passages.values())
    kept: set[str] = set()
    repeating = 0
    for row in in_hash_order(rows, seed):
        if len(kept) == max_documents:
            break
        if row["id"] in passages:
            continue
        if decontaminator.shares_ngram(row["text"]):
            repeating += 1
        else:
            kept.add(row["id"])
    return [row for row in rows if row["id"] in kept], repeating


def in_hash_order(rows: Iterable[Row], seed: int) -> list[Row]:
    """Rows in an order that the seed and each row's own id decide, so other rows coming or going do not change it."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}:{row['id']}".encode()).digest())


def item_of(pair: QAPair, row: Row) -> Row:
    return {
        "question": pair.question,
        "answer": pair.answer,
        "document_id": row["id"],
        "source": row["source"],
        "license": row["license"],
    }


def write_parquet(rows: Sequence[Row], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, compression="zstd")


def asset_files(output_dir: Path) -> list[str]:
    """Paths of the files that were written, relative to the folder, sorted."""
    made = ("target", "model", "embedder")
    nested = (path for folder in made for path in (output_dir / folder).rglob("*") if path.is_file())
    return sorted(path.relative_to(output_dir).as_posix() for path in [output_dir / "documents.parquet", *nested])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare the quickstart's corpus, target task, model and embedder.")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/quickstart_assets"))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--max_documents", type=int, default=12_000)
    parser.add_argument("--packages", nargs="+", default=PACKAGES, help="distributions whose docstrings are read")
    args = parser.parse_args(arguments)
    if args.max_documents < 1:
        parser.error(f"--max_documents is {args.max_documents}: at least 1 is needed")
    # Read when transformers is imported: its bar for writing a 5 MB model says nothing.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        manifest = build(
            args.output_dir, seed=args.seed, max_documents=args.max_documents, packages=tuple(args.packages)
        )
    except EqualError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    documents = manifest["documents"]
    print(f"{sum(documents.values())} documents: " + ", ".join(f"{name} {n}" for name, n in documents.items()))


if __name__ == "__main__":
    main()
